/* The firmware's end of the session: frames in, frames out, commands exactly once and in order.
 *
 *   no session --hello(nonce)--> session(nonce, matched or not) --hello(other nonce)--> session(other nonce)
 *
 * Rules
 *  - Without a session only hello, ping and stop are heard, and welcome with nonce 0 is sent four times a second.
 *  - hello with the nonce of the running session is answered again and changes nothing; with another nonce it ends the session: in mid-motion
 *    that is a stop.
 *  - Commands are numbered from 0 in each session. The expected number is carried out and answered; one of the last SESSION_WINDOW is answered
 *    again from memory; any other is dropped (the host sends it again). The host keeps at most SESSION_WINDOW unanswered.
 *  - A schema mismatch leaves telemetry, stop, the dictionary, tests and the image update; it refuses whatever moves or arms.
 *  - Output that does not fit the port's queue is dropped and counted: the main loop never waits for the host.
 */
#ifndef INNERVATE_SESSION_H
#define INNERVATE_SESSION_H

#include "image.h"
#include "safety.h"
#include "wire.h"

#define SESSION_WINDOW 8u
#define SESSION_BYTES_PER_TURN 256u
#define TELEMETRY_HZ 200u
#define STATS_HZ 1u
#define STOPPED_HZ 10u
#define BEACON_HZ 4u
#define RESET_AFTER_MS 20u /* the reply leaves first */

struct session {
    struct reader reader;
    struct safety safety;
    struct image_update image;
    bool live, matched;
    bool reset_due;
    uint32_t reset_asked;
    uint32_t nonce, boot_id;
    uint8_t expected;
    struct { uint8_t status; uint32_t detail; } answers[SESSION_WINDOW];
    uint8_t answered; /* how many of the answers are of this session, at most SESSION_WINDOW */
    uint8_t tx_seq[MSG_COUNT];
    uint8_t rx_seq[2];  /* ping, setpoint */
    bool rx_known[2];
    uint32_t due_telemetry, due_stats, due_stopped, due_beacon;
    uint32_t last_turn, turn_max;
    uint16_t gaps, repeated, dropped;
};

void session_init(struct session *s, uint32_t boot_id, enum cause cause);
/* One turn of the main loop: input, safety, output. */
void session_turn(struct session *s);

#endif
