/* Firmware images: their format, how one arrives, and which of the two slots starts.
 *
 * An image, as it lies in a slot:
 *   header 64 bytes   magic "INVF", u8 format 1, u8 target (enum port), u8 slot it is linked for (255 any), u8 0, u32 version, u32 size of the
 *                     code, u32 CRC-32 of the code, 32 bytes SHA-256 of the code, 12 bytes 0
 *   signature 64      Ed25519 over the header
 *   zeros             up to IMAGE_CODE_AT (a vector table wants alignment)
 *   code
 *
 * The journal says which slot starts. It is a log of 16-byte records in two pages; the newest whole record counts.
 *   keep S        slot S starts
 *   try S         S was written and checked; it has not started yet
 *   trying S      S was started once; when the next boot finds this record, S never confirmed itself: back to the other slot
 *
 * Invariants, whatever moment the power goes
 *  - The running slot is never erased or written; the other one is only while the journal says `keep running`.
 *  - A record counts only whole (its own CRC); a page is erased only when the newest record is in the other one.
 *  - A slot starts only if its code has the CRC of its header. Signature, SHA-256, target and version are checked before `try` is written.
 * So old or new always starts. A factory board has no journal: slot A starts.
 *
 * Known weakness: the version check keeps a signed older image out over the link; whoever can write flash with a probe can do anything.
 */
#ifndef INNERVATE_IMAGE_H
#define INNERVATE_IMAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "generated/messages.h"

#define IMAGE_HEADER_BYTES 64u
#define IMAGE_SIGNATURE_BYTES 64u
#define IMAGE_CODE_AT 512u

struct image_header {
    uint8_t target, slot;
    uint32_t version, size, crc;
    uint8_t sha[32];
};

struct image_update {
    bool busy;
    uint32_t size, at; /* bytes announced, bytes written */
    uint8_t pending[8];
    uint8_t pended;
};

void image_init(struct image_update *u);
bool image_busy(const struct image_update *u);
/* These return enum status; *detail is enum image where the status says image. */
uint8_t image_begin(struct image_update *u, uint32_t size, uint32_t *detail);
uint8_t image_data(struct image_update *u, uint32_t offset, const uint8_t *data, uint8_t length, uint32_t *detail);
uint8_t image_end(struct image_update *u, uint32_t *detail);
uint8_t image_confirm(uint32_t *detail);

/* False unless the 64 bytes are a header. */
bool image_header_read(struct image_header *h, const uint8_t raw[IMAGE_HEADER_BYTES]);
/* Whether the code in slot has the size and CRC of its header. */
bool image_whole(unsigned slot);

#endif
