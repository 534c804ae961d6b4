#include "safety.h"

#define SLEW_ONE 1024
#define SEEN_SPAN 0x80000000u /* half a wrap of the counter, longer than any check: who was never seen was seen that long ago */

/* Spans stay far below half a wrap: 60 s at 84 MHz is the longest check, so they are taken in 64 bits where they are made and capped. */
static uint32_t ms_to_ticks(uint32_t ms) {
    uint64_t ticks = (uint64_t)ms * hal_tick_hz() / 1000u;
    return ticks > 0x7fffffffu ? 0x7fffffffu : (uint32_t)ticks;
}

static bool after(uint32_t a, uint32_t b) { return (int32_t)(a - b) > 0; }

void safety_init(struct safety *s, uint32_t boot_id, enum cause cause, uint32_t now) {
    memset(s, 0, sizeof *s);
    s->state = STATE_UNCONFIGURED;
    s->cause = (uint8_t)cause;
    s->boot_id = boot_id;
    s->t_food = s->t_stop = s->t_slew = s->t_force_change = now;
    s->t_force_seen = now - SEEN_SPAN;
    for (unsigned axis = 0; axis < HAL_AXES; axis++) s->t_axis_seen[axis] = now - SEEN_SPAN;
    s->stop_count = 1;
    s->stop_news = true;
    motor_torque(true);
}

void safety_stop(struct safety *s, enum cause cause, int32_t detail, uint32_t now) {
    s->stop_news = true;
    s->queued = 0;
    s->goal_alive = false;
    if (s->state != STATE_READY && s->state != STATE_MOVING) return; /* the first cause stays */
    s->state = STATE_STOPPED;
    s->cause = (uint8_t)cause;
    s->detail = detail;
    s->stop_count++;
    for (unsigned axis = 0; axis < HAL_AXES; axis++) {
        struct motor_sample sample = motor_sample(axis);
        if (sample.valid) s->slewed[axis] = sample.position_cdeg * SLEW_ONE;
        s->goal[axis] = (int16_t)(s->slewed[axis] / SLEW_ONE);
        motor_target(axis, s->goal[axis]);
    }
    motor_torque(s->limits.safe != SAFE_RELEASE);
    s->t_stop = hal_ticks();
    (void)now;
}

uint8_t safety_configure(struct safety *s, const struct msg_configure *m, uint32_t *detail) {
    if (s->state == STATE_READY || s->state == STATE_MOVING) {
        *detail = s->state;
        return STATUS_STATE;
    }
    int bad = msg_configure_check(m);
    if (bad < 0 && m->pan_min_cdeg > m->pan_max_cdeg) bad = 0;
    if (bad < 0 && m->tilt_min_cdeg > m->tilt_max_cdeg) bad = 2;
    if (bad >= 0) {
        *detail = (uint32_t)bad;
        return STATUS_RANGE;
    }
    s->limits = *m;
    s->configured = true;
    s->state = STATE_STOPPED;
    return STATUS_OK;
}

uint8_t safety_arm(struct safety *s, const struct msg_arm *m, uint32_t now, uint32_t *detail) {
    if (s->state != STATE_STOPPED) {
        *detail = s->state;
        return STATUS_STATE;
    }
    if (m->boot_id != s->boot_id || m->stop_count != s->stop_count) {
        *detail = s->stop_count;
        return STATUS_BOOT;
    }
    for (unsigned axis = 0; axis < HAL_AXES; axis++) { /* from where it is, so that arming moves nothing */
        struct motor_sample sample = motor_sample(axis);
        if (sample.valid) s->slewed[axis] = sample.position_cdeg * SLEW_ONE;
        s->goal[axis] = (int16_t)(s->slewed[axis] / SLEW_ONE);
        motor_target(axis, s->goal[axis]);
    }
    motor_torque(true);
    s->state = STATE_READY;
    s->cause = CAUSE_NONE;
    s->detail = 0;
    s->queued = 0;
    s->seq_known = false;
    s->goal_alive = false;
    s->t_food = s->t_slew = s->t_force_change = now;
    return STATUS_OK;
}

uint8_t safety_rest(struct safety *s, uint32_t *detail) {
    if (s->state != STATE_MOVING && s->state != STATE_READY) {
        *detail = s->state;
        return STATUS_STATE;
    }
    s->state = STATE_READY;
    s->queued = 0;
    s->goal_alive = false;
    return STATUS_OK;
}

static bool inside(const struct safety *s, const struct msg_setpoint *m) {
    const struct msg_configure *l = &s->limits;
    return m->pan_cdeg >= l->pan_min_cdeg && m->pan_cdeg <= l->pan_max_cdeg && m->tilt_cdeg >= l->tilt_min_cdeg &&
           m->tilt_cdeg <= l->tilt_max_cdeg;
}

void safety_setpoint(struct safety *s, const struct msg_setpoint *m, uint8_t seq, bool allowed, uint32_t now) {
    if (!allowed || (s->state != STATE_READY && s->state != STATE_MOVING)) {
        s->wrong_state++;
        return;
    }
    if (s->seq_known && (int8_t)(uint8_t)(seq - s->seq_newest) <= 0) {
        s->stale++;
        return;
    }
    if (msg_setpoint_check(m) >= 0 || !inside(s, m) || m->valid_until_ticks - m->execute_at_ticks > ms_to_ticks(SETPOINT_SPAN_MS)) {
        s->range++;
        return;
    }
    if (after(now, m->valid_until_ticks)) {
        s->late++;
        return;
    }
    if (after(m->execute_at_ticks, now + ms_to_ticks(SETPOINT_AHEAD_MS)) || s->queued == SETPOINT_QUEUE) {
        s->future++;
        return;
    }
    s->queue[s->queued++] =
        (struct waiting){m->execute_at_ticks, m->valid_until_ticks, {m->pan_cdeg, m->tilt_cdeg}, seq};
    s->seq_known = true;
    s->seq_newest = seq;
    s->accepted++;
    s->t_food = now;
    s->state = STATE_MOVING;
}

/* Due setpoints in order of arrival (= of sequence): the newest due one wins. */
static void execute_due(struct safety *s, uint32_t now) {
    uint8_t kept = 0;
    for (uint8_t i = 0; i < s->queued; i++) {
        struct waiting *w = &s->queue[i];
        if (after(w->execute_at, now)) {
            s->queue[kept++] = *w;
            continue;
        }
        if (after(now, w->valid_until)) {
            s->late++;
            continue;
        }
        memcpy(s->goal, w->goal, sizeof s->goal);
        s->goal_until = w->valid_until;
        s->goal_alive = true;
        s->seq_executed = w->seq;
        s->executed++;
    }
    s->queued = kept;
}

static void slew(struct safety *s, uint32_t now) {
    uint32_t dt = now - s->t_slew;
    if (dt < ms_to_ticks(1)) return;
    s->t_slew = now;
    if (dt > ms_to_ticks(20)) dt = ms_to_ticks(20); /* a long turn must not become a jump */
    const uint16_t rates[HAL_AXES] = {s->limits.pan_rate_ddeg_s, s->limits.tilt_rate_ddeg_s};
    for (unsigned axis = 0; axis < HAL_AXES; axis++) {
        if (s->goal_alive && motor_sample(axis).valid) {
            int32_t step = (int32_t)((uint64_t)rates[axis] * 10u * SLEW_ONE * dt / hal_tick_hz());
            int32_t left = s->goal[axis] * SLEW_ONE - s->slewed[axis];
            s->slewed[axis] += left > step ? step : left < -step ? -step : left;
        }
        motor_target(axis, (int16_t)(s->slewed[axis] / SLEW_ONE));
    }
}

/* A long silence is dragged along with the counter, which would otherwise come round to it. */
static void note_seen(uint32_t *seen, bool valid, uint32_t at, uint32_t now) {
    if (valid)
        *seen = at;
    else if (now - *seen > SEEN_SPAN)
        *seen = now - SEEN_SPAN;
}

static void note_devices(struct safety *s, uint32_t now) {
    for (unsigned axis = 0; axis < HAL_AXES; axis++) {
        struct motor_sample sample = motor_sample(axis);
        note_seen(&s->t_axis_seen[axis], sample.valid, sample.t_ticks, now);
    }
    struct force_sample force = force_sample();
    note_seen(&s->t_force_seen, force.valid, force.t_ticks, now);
}

static void check_devices(struct safety *s, uint32_t now) {
    for (unsigned axis = 0; axis < HAL_AXES; axis++) {
        struct motor_sample sample = motor_sample(axis);
        uint8_t fault = !sample.valid && sample.fault == MOTOR_OK ? (uint8_t)MOTOR_SILENT : sample.fault;
        bool may_return = fault == MOTOR_SILENT && now - s->t_axis_seen[axis] <= ms_to_ticks(s->limits.servo_missing_ms);
        if (fault != MOTOR_OK && !may_return) safety_stop(s, CAUSE_MOTOR, (int32_t)(axis * 256u + fault), now);
    }
    struct force_sample force = force_sample();
    const struct msg_configure *l = &s->limits;
    if (force.force_cn != s->force_value) {
        s->force_value = force.force_cn;
        s->t_force_change = now;
    }
    int32_t size = force.force_cn < 0 ? -force.force_cn : force.force_cn;
    if (l->force_max_cn > 0 && ((force.valid && size > l->force_max_cn) || force.fault == FORCE_OVERLOAD))
        safety_stop(s, CAUSE_FORCE_OVER, force.force_cn, now);
    if (l->force_missing_ms > 0 && now - s->t_force_seen > ms_to_ticks(l->force_missing_ms))
        safety_stop(s, CAUSE_FORCE_MISSING, force.fault, now);
    if (l->force_stuck_ms > 0 && now - s->t_force_change > ms_to_ticks(l->force_stuck_ms))
        safety_stop(s, CAUSE_FORCE_STUCK, force.force_cn, now);
}

void safety_step(struct safety *s, uint32_t now) {
    note_devices(s, now);
    if (s->state == STATE_READY || s->state == STATE_MOVING) check_devices(s, now);
    if (s->state == STATE_MOVING) {
        uint32_t hungry = now - s->t_food;
        if (hungry > ms_to_ticks(s->limits.deadman_ms))
            safety_stop(s, CAUSE_DEADMAN, (int32_t)((uint64_t)hungry * 1000u / hal_tick_hz()), now);
        else
            execute_due(s, now);
        if (s->goal_alive && after(now, s->goal_until)) s->goal_alive = false;
    }
    if (s->state == STATE_READY || s->state == STATE_MOVING) slew(s, now);
}
