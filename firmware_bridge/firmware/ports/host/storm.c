/* Setpoints through a storm: `storm FRAMES SEED [FLIP] [LOSS]` sends that many setpoint frames, each bit flipped with probability FLIP (1e-3) and each
 * byte lost with probability LOSS (0.1), through the firmware's own reader, session and safety, and looks at every setpoint that is executed.
 *
 * A setpoint is wrong when it was never sent. What was sent is told by the goal: tilt is a hash of pan and of both times, so that a
 * changed frame that passes the CRC shows (but for 1 in 18001, the number of tilts). Stops, re-arming and time go on as in a real session: on a clean
 * second line of the same session, since a storm that prevents arming would prove nothing.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "host.h"

static uint64_t state;

static uint64_t next(void) { /* xorshift64*, S. Vigna 2016 */
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return state * 2685821657736338717ull;
}

static double uniform(void) { return (double)(next() >> 11) * 0x1p-53 + 0x1p-54; }

/* How many bits or bytes are spared before the next one is hit: one random number per hit, not one per bit. */
static uint64_t spared(double probability) {
    return probability <= 0.0 ? UINT64_MAX : (uint64_t)(log(uniform()) / log1p(-probability));
}

static int16_t tilt_for(int16_t pan, uint32_t at, uint32_t until) {
    uint32_t h = ((uint32_t)(uint16_t)pan * 2654435761u) ^ (at * 2246822519u) ^ (until * 3266489917u);
    h ^= h >> 15;
    return (int16_t)((int)(h * 2654435761u >> 8) % 9000 - 0);
}

static void clean(uint8_t id, uint8_t seq, const uint8_t *payload) {
    uint8_t frame[FRAME_OUT_MAX], zero = 0;
    size_t len = frame_encode(id, seq, payload, frame);
    host_feed(HAL_UART_HOST, &zero, 1);
    host_feed(HAL_UART_HOST, frame, (uint32_t)len);
    host_advance(HOST_TURN_TICKS);
}

int main(int argc, char **argv) {
    uint64_t frames = argc > 1 ? strtoull(argv[1], NULL, 10) : 100000;
    state = (argc > 2 ? strtoull(argv[2], NULL, 10) : 1) * 0x9e3779b97f4a7c15ull | 1u;
    double flip = argc > 3 ? atof(argv[3]) : 1e-3, loss = argc > 4 ? atof(argv[4]) : 0.1;
    uint8_t payload[MSG_PAYLOAD_MAX], command = 0, sink[4096];
    uint64_t wrong = 0, executed = 0, rearmed = 0, bits = spared(flip), bytes = spared(loss);
    host_power_on(7);
    struct msg_hello hello = {MSG_PROTOCOL, MSG_SCHEMA_HASH, 1};
    msg_hello_pack(&hello, payload);
    clean(MSG_HELLO, 0, payload);
    struct msg_configure limits = {-9000, 9000, -9000, 9000, 7200, 7200, 100, SAFE_HOLD, 0, 0, 0, 0};
    msg_configure_pack(&limits, payload);
    clean(MSG_CONFIGURE, command++, payload);
    const struct session *session = host_session();
    uint32_t seen = 0;
    for (uint64_t i = 0; i < frames; i++) {
        if (session->safety.state == STATE_STOPPED) {
            struct msg_arm arm = {session->boot_id, session->safety.stop_count};
            msg_arm_pack(&arm, payload);
            clean(MSG_ARM, command++, payload);
            rearmed++;
        }
        struct msg_setpoint m = {host_now(), host_now() + 100000u, (int16_t)((int)(next() % 18001u) - 9000), 0};
        m.tilt_cdeg = tilt_for(m.pan_cdeg, m.execute_at_ticks, m.valid_until_ticks);
        uint8_t frame[FRAME_OUT_MAX], out[FRAME_OUT_MAX];
        msg_setpoint_pack(&m, payload);
        size_t len = frame_encode(MSG_SETPOINT, (uint8_t)i, payload, frame), kept = 0;
        for (size_t at = 0; at < len; at++) {
            while (bits < 8) {
                frame[at] ^= (uint8_t)(1u << bits);
                bits += 1 + spared(flip);
            }
            bits -= 8;
            if (bytes-- == 0)
                bytes = spared(loss);
            else
                out[kept++] = frame[at];
        }
        host_feed(HAL_UART_HOST, out, (uint32_t)kept);
        host_advance(HOST_TURN_TICKS);
        if (session->safety.executed != seen) {
            seen = session->safety.executed;
            executed++;
            const struct safety *s = &session->safety;
            uint32_t until = s->goal_until, at = until - 100000u;
            if (s->goal[1] != tilt_for(s->goal[0], at, until)) wrong++;
        }
        if (i % 64 == 0) host_take(HAL_UART_HOST, sink, sizeof sink);
    }
    const struct reader *r = &session->reader;
    printf("{\"frames\": %llu, \"flip\": %g, \"loss\": %g, \"executed\": %llu, \"wrong\": %llu, \"rearmed\": %llu, \"bad_crc\": %u, \"bad_length\": %u, \"unknown\": %u}\n",
           (unsigned long long)frames, flip, loss, (unsigned long long)executed, (unsigned long long)wrong, (unsigned long long)rearmed, r->bad_crc,
           r->bad_length, r->unknown);
    return wrong != 0;
}
