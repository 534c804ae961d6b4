/* What may move, and when it must not.
 *
 * States (enum state of the schema)
 *   unconfigured --configure--> stopped --arm--> ready --setpoint--> moving --rest--> ready
 *   ready, moving --any fault, stop frame, new session--> stopped         nothing but arm leads out of stopped
 *
 * Rules
 *  - Only a setpoint that passes every check feeds the deadman. Frames, pings, commands and setpoints that are refused feed nothing.
 *  - The deadman counts from the reception of the last valid setpoint, not from its execution, and what waits for its time is dropped by a
 *    stop: scheduling ahead buys no time to a dead host.
 *  - A stop keeps its first cause and its stamps until arm. A stop frame while stopped is noted by its token.
 *  - arm names the boot and the stop that it ends; a repeated or late arm frame cannot end a newer stop.
 *  - The goal that reaches the motors moves no faster than the configured rates, whatever the host asks.
 *  - An axis whose servo is silent is led no further. `servo_missing_ms` only lets a silence pass that ends in time, any other fault stops at once.
 *  - When a setpoint's time is over and no newer one came, the axes stay where they are on their way.
 */
#ifndef INNERVATE_SAFETY_H
#define INNERVATE_SAFETY_H

#include "generated/messages.h"
#include "hal.h"

#define SETPOINT_AHEAD_MS 100u /* execute_at further ahead is refused: two ticks of an 80 ms loop never need more */
#define SETPOINT_SPAN_MS 1000u /* valid_until may follow execute_at by this much */
#define SETPOINT_QUEUE 8u      /* waiting for their time; more are refused and counted as future */

struct safety {
    enum state state;
    uint8_t cause;
    uint8_t token;
    uint16_t stop_count;
    int32_t detail;
    uint32_t t_food, t_stop;
    uint32_t boot_id;
    bool configured;
    bool stop_news; /* a stopped message is due at once */
    struct msg_configure limits;
    struct waiting {
        uint32_t execute_at, valid_until;
        int16_t goal[HAL_AXES];
        uint8_t seq;
    } queue[SETPOINT_QUEUE];
    uint8_t queued;
    bool seq_known;
    uint8_t seq_newest;   /* of accepted setpoints */
    uint8_t seq_executed;
    int16_t goal[HAL_AXES];
    int32_t slewed[HAL_AXES]; /* centidegrees * 1024 */
    uint32_t goal_until;
    bool goal_alive;
    uint32_t t_slew;
    int16_t force_value;      /* for the stuck check */
    uint32_t t_force_change;
    uint32_t t_force_seen, t_axis_seen[HAL_AXES]; /* newest samples; never further back than SEEN_SPAN */
    uint32_t accepted, executed;
    uint16_t late, future, range, wrong_state, stale;
};

void safety_init(struct safety *s, uint32_t boot_id, enum cause cause, uint32_t now);
void safety_stop(struct safety *s, enum cause cause, int32_t detail, uint32_t now);
/* These return enum status and set *detail. */
uint8_t safety_configure(struct safety *s, const struct msg_configure *m, uint32_t *detail);
uint8_t safety_arm(struct safety *s, const struct msg_arm *m, uint32_t now, uint32_t *detail);
uint8_t safety_rest(struct safety *s, uint32_t *detail);
/* Accept or refuse one setpoint; `allowed` is false while the session may not move anything. */
void safety_setpoint(struct safety *s, const struct msg_setpoint *m, uint8_t seq, bool allowed, uint32_t now);
/* Once per turn: checks, due setpoints, deadman, slew, output to the motors. */
void safety_step(struct safety *s, uint32_t now);

#endif
