/* Frames: COBS, CRC seeded per message, 8-bit sequence. The rules stand at the head of firmware_bridge/wire.py; this is the same in C. */
#ifndef INNERVATE_WIRE_H
#define INNERVATE_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "generated/messages.h"

#define FRAME_HEADER 2u /* id, seq */
#define FRAME_MAX 160u  /* wire bytes without the delimiter that a reader holds */
#define FRAME_OUT_MAX (FRAME_HEADER + MSG_PAYLOAD_MAX + 4u + 2u)

uint16_t crc16_ccitt(uint16_t start, const uint8_t *data, size_t len);
uint32_t crc32_ieee(uint32_t start, const uint8_t *data, size_t len); /* register start; final xor included */

/* len <= 253 in, len + 1 out, no delimiter; returns the length. */
size_t cobs_encode(const uint8_t *in, size_t len, uint8_t *out);
/* Returns the decoded length, or -1 for broken COBS. out holds at least len bytes and may be `in`. */
int cobs_decode(const uint8_t *in, size_t len, uint8_t *out);

/* The entry for id, or NULL. */
const struct msg_info *msg_info(uint8_t id);

/* The place of a known id in the schema, 0..MSG_COUNT-1. */
unsigned msg_index(uint8_t id);

/* Writes a whole frame, delimiter included, to out[FRAME_OUT_MAX]; returns its length. id must be known. */
size_t frame_encode(uint8_t id, uint8_t seq, const uint8_t *payload, uint8_t *out);

enum frame_result { FRAME_NONE, FRAME_GOOD, FRAME_BAD_COBS, FRAME_BAD_LENGTH, FRAME_BAD_CRC, FRAME_UNKNOWN };

struct reader {
    uint8_t held[FRAME_MAX];
    uint8_t len;
    bool overrun;
    uint32_t good, bad_crc, bad_length; /* broken COBS counts as bad_length */
    uint16_t unknown;
};

/* Take one byte. FRAME_GOOD: info, seq and payload (inside the reader, until the next push) are set. */
enum frame_result reader_push(struct reader *r, uint8_t byte, const struct msg_info **info, uint8_t *seq, const uint8_t **payload);

#endif
