/* A serial line on which we ask and one device at a time answers: what the servo bus and the Modbus line have in common.
 *
 * Rules:
 *  - one question at a time; a question goes out whole or not at all;
 *  - every wait ends: sending and answering share one time-out, and the wait for silence afterwards has a bound of its own;
 *  - what lies in the queue when a question starts belongs to an older one and is thrown away;
 *  - after an answer or a time-out the next question waits until the line has been silent for `quiet`. A line that never falls silent
 *    is asked again all the same after LINE_CHATTER_US, so that noise costs answers but never the poll.
 */
#ifndef INNERVATE_LINE_H
#define INNERVATE_LINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LINE_TX_MAX 32u          /* the longest question: a write of one servo and a read, 25 bytes */
#define LINE_RX_MAX 96u          /* room for the echo of a question, the longest answer (37 bytes) and some noise */
#define LINE_CHATTER_US 20000u   /* ten times the longest silence that a protocol here asks for */
#define LINE_READS_MAX 8u        /* reads of the queue in one poll: 8 x 32 bytes, more than a millisecond carries at 1 Mbit/s */

enum line_state { LINE_IDLE, LINE_SENDING, LINE_WAITING, LINE_SETTLING };
enum line_event {
    LINE_NOTHING, /* no news */
    LINE_BYTES,   /* new bytes lie in rx: look for the answer, then call line_answered or go on */
    LINE_LATE     /* time is up: look at rx once more, there will be no further bytes. The line settles by itself */
};

struct line {
    unsigned port;
    enum line_state state;
    uint32_t timeout, quiet, chatter;    /* ticks */
    uint32_t since;                      /* when this state began */
    uint32_t heard;                      /* when the last byte came */
    uint32_t first;                      /* when the bytes in rx began to come */
    size_t tx_len, rx_len;
    uint32_t stray;                      /* bytes thrown away outside an answer; counts up, wraps */
    uint8_t tx[LINE_TX_MAX], rx[LINE_RX_MAX];
};

/* Ticks in `us`, which is at most 20000 (longer spans would overflow at 200 MHz). At least 1. */
uint32_t line_ticks(uint32_t us);

/* Times in microseconds, at most 20000 each. */
void line_init(struct line *line, unsigned port, uint32_t timeout_us, uint32_t quiet_us);

/* Ask: copies `len` (at most LINE_TX_MAX) bytes. Only when the state is LINE_IDLE; false, and nothing happens, otherwise. */
bool line_ask(struct line *line, const uint8_t *question, size_t len);

/* Move on by what has happened. Bounded work, never waits. */
enum line_event line_poll(struct line *line);

/* Drop the oldest `count` bytes of rx. `first` stays while bytes are kept: it is never later than the truth. */
void line_drop(struct line *line, size_t count);

/* The answer is in: settle, then be idle. */
void line_answered(struct line *line);

#endif
