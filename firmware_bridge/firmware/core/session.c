#include "session.h"

#include "build.h"
#include "generated/dictionary.h"

static uint32_t period(uint32_t hz) { return hal_tick_hz() / hz; }

void session_init(struct session *s, uint32_t boot_id, enum cause cause) {
    memset(s, 0, sizeof *s);
    uint32_t now = hal_ticks();
    s->boot_id = boot_id;
    safety_init(&s->safety, boot_id, cause, now);
    image_init(&s->image);
    s->due_telemetry = s->due_stats = s->due_stopped = s->due_beacon = now;
    s->last_turn = now;
}

/* --- out ------------------------------------------------------------------------------------------------------------ */

static bool send(struct session *s, uint8_t id, const uint8_t *payload) {
    uint8_t frame[FRAME_OUT_MAX];
    uint8_t *seq = &s->tx_seq[msg_index(id)];
    size_t len = frame_encode(id, *seq, payload, frame);
    ++*seq; /* also when dropped: the host shall see the gap */
    if (hal_uart_room(HAL_UART_HOST) < len) {
        s->dropped++;
        return false;
    }
    return hal_uart_write(HAL_UART_HOST, frame, len) == (int)len;
}

static void send_welcome(struct session *s, uint32_t nonce) {
    struct msg_welcome m = {MSG_PROTOCOL, BUILD_PORT, MSG_SCHEMA_HASH, nonce, s->boot_id, hal_tick_hz()};
    uint8_t payload[MSG_PAYLOAD_MAX];
    msg_welcome_pack(&m, payload);
    send(s, MSG_WELCOME, payload);
}

static void send_about(struct session *s) {
    struct msg_about m = {
        .version = BUILD_VERSION,
        .build = BUILD_ID,
        .capabilities = CAPABILITY_MOTOR | CAPABILITY_FORCE | CAPABILITY_WATCHDOG,
        .reset_cause = (uint8_t)hal_reset_cause(),
        .slot = (uint8_t)hal_flash_running(),
        .dictionary_size = DICTIONARY_SIZE,
    };
    if (hal_flash_size(HAL_FLASH_SLOT_A) > 0) m.capabilities |= CAPABILITY_FLASH;
    uint8_t payload[MSG_PAYLOAD_MAX];
    msg_about_pack(&m, payload);
    send(s, MSG_ABOUT, payload);
}

static void send_reply(struct session *s, uint8_t command_seq) {
    struct msg_reply m = {command_seq, s->answers[command_seq % SESSION_WINDOW].status, s->answers[command_seq % SESSION_WINDOW].detail};
    uint8_t payload[MSG_PAYLOAD_MAX];
    msg_reply_pack(&m, payload);
    send(s, MSG_REPLY, payload);
}

static void send_stopped(struct session *s) {
    const struct safety *f = &s->safety;
    struct msg_stopped m = {f->t_food, f->t_stop, f->stop_count, f->cause, f->token, f->detail};
    uint8_t payload[MSG_PAYLOAD_MAX];
    msg_stopped_pack(&m, payload);
    send(s, MSG_STOPPED, payload);
}

static void send_dictionary(struct session *s, uint16_t offset) {
    struct msg_dictionary_data m = {.offset = offset, .length = 0};
    if (offset < DICTIONARY_SIZE) {
        uint32_t left = DICTIONARY_SIZE - offset;
        m.length = (uint8_t)(left < sizeof m.data ? left : sizeof m.data);
        memcpy(m.data, DICTIONARY + offset, m.length);
    }
    uint8_t payload[MSG_PAYLOAD_MAX];
    msg_dictionary_data_pack(&m, payload);
    send(s, MSG_DICTIONARY_DATA, payload);
}

static void send_telemetry(struct session *s, uint32_t now) {
    const struct safety *f = &s->safety;
    struct motor_sample axes[HAL_AXES] = {motor_sample(HAL_AXIS_PAN), motor_sample(HAL_AXIS_TILT)};
    struct force_sample force = force_sample();
    unsigned faults = 0;
    for (unsigned axis = 0; axis < HAL_AXES; axis++) {
        faults |= (axes[axis].valid ? 0u : 1u) << axis;
        faults |= (axes[axis].fault == MOTOR_OK ? 0u : 4u) << axis;
    }
    faults |= (force.valid ? 0u : 16u) | (force.fault == FORCE_OK ? 0u : 32u);
    struct msg_telemetry m = {
        .t_ticks = now,
        .pan_cdeg = axes[0].position_cdeg,
        .tilt_cdeg = axes[1].position_cdeg,
        .pan_ddeg_s = (int16_t)(axes[0].speed_cdeg_s / 10),
        .tilt_ddeg_s = (int16_t)(axes[1].speed_cdeg_s / 10),
        .pan_goal_cdeg = (int16_t)(f->slewed[0] / 1024),
        .tilt_goal_cdeg = (int16_t)(f->slewed[1] / 1024),
        .force_cn = force.force_cn,
        .force_seq = force.seq,
        .state = (uint8_t)f->state,
        .cause = f->cause,
        .device_faults = (uint8_t)faults,
        .setpoint_seq = f->seq_executed,
    };
    uint8_t payload[MSG_PAYLOAD_MAX];
    msg_telemetry_pack(&m, payload);
    send(s, MSG_TELEMETRY, payload);
}

static void send_stats(struct session *s) {
    const struct safety *f = &s->safety;
    uint32_t turn_us = (uint32_t)((uint64_t)s->turn_max * 1000000u / hal_tick_hz());
    struct msg_stats m = {
        .frames_good = s->reader.good,
        .frames_bad_crc = s->reader.bad_crc,
        .frames_bad_length = s->reader.bad_length,
        .frames_unknown = s->reader.unknown,
        .bytes_lost = (uint16_t)hal_uart_lost(HAL_UART_HOST),
        .setpoints_accepted = f->accepted,
        .setpoints_executed = f->executed,
        .refused_late = f->late,
        .refused_future = f->future,
        .refused_range = f->range,
        .refused_state = f->wrong_state,
        .refused_stale = f->stale,
        .stream_gaps = s->gaps,
        .commands_repeated = s->repeated,
        .turn_us_max = (uint16_t)(turn_us > 0xffffu ? 0xffffu : turn_us),
        .output_dropped = s->dropped,
    };
    uint8_t payload[MSG_PAYLOAD_MAX];
    msg_stats_pack(&m, payload);
    send(s, MSG_STATS, payload);
}

/* --- in ------------------------------------------------------------------------------------------------------------- */

static void hear_hello(struct session *s, const struct msg_hello *m, uint32_t now) {
    if (msg_hello_check(m) >= 0) return;
    if (!s->live || m->nonce != s->nonce) {
        safety_stop(&s->safety, CAUSE_SESSION, 0, now);
        s->live = true;
        s->nonce = m->nonce;
        s->expected = 0;
        s->answered = 0;
        memset(s->tx_seq, 0, sizeof s->tx_seq);
        s->rx_known[0] = s->rx_known[1] = false;
        s->due_telemetry = s->due_stats = s->due_stopped = now;
    }
    s->matched = m->protocol == MSG_PROTOCOL && m->schema_hash == MSG_SCHEMA_HASH;
    send_welcome(s, m->nonce);
}

static void count_gap(struct session *s, unsigned stream, uint8_t seq) {
    if (s->rx_known[stream]) {
        uint8_t step = (uint8_t)(seq - s->rx_seq[stream]);
        if (step == 0 || step > 127) return; /* repeated or overtaken: no news about losses */
        s->gaps = (uint16_t)(s->gaps + step - 1);
    }
    s->rx_known[stream] = true;
    s->rx_seq[stream] = seq;
}

static uint8_t act(struct session *s, uint8_t id, const uint8_t *payload, uint32_t now, uint32_t *detail) {
    struct safety *f = &s->safety;
    bool needs_match = id == MSG_CONFIGURE || id == MSG_ARM || id == MSG_REST;
    if (needs_match && !s->matched) return STATUS_SCHEMA;
    switch (id) {
    case MSG_CONFIGURE: {
        struct msg_configure m;
        msg_configure_unpack(&m, payload);
        return safety_configure(f, &m, detail);
    }
    case MSG_ARM: {
        struct msg_arm m;
        msg_arm_unpack(&m, payload);
        if (image_busy(&s->image)) return STATUS_IMAGE;
        return safety_arm(f, &m, now, detail);
    }
    case MSG_REST:
        return safety_rest(f, detail);
    case MSG_RESET: {
        struct msg_reset m;
        msg_reset_unpack(&m, payload);
        if (m.boot_id != s->boot_id) {
            *detail = s->boot_id;
            return STATUS_BOOT;
        }
        safety_stop(f, CAUSE_HOST_REQUEST, 0, now);
        s->reset_due = true;
        s->reset_asked = now;
        return STATUS_OK;
    }
    case MSG_DICTIONARY: {
        struct msg_dictionary m;
        msg_dictionary_unpack(&m, payload);
        send_dictionary(s, m.offset);
        return STATUS_OK;
    }
    case MSG_PROBE:
    case MSG_BULK:
        return STATUS_OK;
    case MSG_IMAGE_BEGIN: {
        struct msg_image_begin m;
        msg_image_begin_unpack(&m, payload);
        safety_stop(f, CAUSE_UPDATE, 0, now);
        return image_begin(&s->image, m.size, detail);
    }
    case MSG_IMAGE_DATA: {
        struct msg_image_data m;
        msg_image_data_unpack(&m, payload);
        return image_data(&s->image, m.offset, m.data, m.length, detail);
    }
    case MSG_IMAGE_END:
        return image_end(&s->image, detail);
    case MSG_IMAGE_CONFIRM: {
        struct msg_image_confirm m;
        msg_image_confirm_unpack(&m, payload);
        if (m.boot_id != s->boot_id) {
            *detail = s->boot_id;
            return STATUS_BOOT;
        }
        return image_confirm(detail);
    }
    default:
        return STATUS_UNSUPPORTED;
    }
}

static void hear_command(struct session *s, uint8_t id, uint8_t seq, const uint8_t *payload, uint32_t now) {
    uint8_t age = (uint8_t)(s->expected - seq); /* 0: the expected one; 1..window: answered before */
    if (age > s->answered) return;
    if (age == 0) {
        uint8_t slot = seq % SESSION_WINDOW;
        uint32_t detail = 0;
        s->answers[slot].status = act(s, id, payload, now, &detail);
        s->answers[slot].detail = detail;
        s->expected++;
        if (s->answered < SESSION_WINDOW) s->answered++;
    } else {
        s->repeated++;
    }
    send_reply(s, seq);
}

static void hear(struct session *s, const struct msg_info *info, uint8_t seq, const uint8_t *payload) {
    uint32_t now = hal_ticks();
    if (info->id == MSG_STOP) {
        struct msg_stop m;
        msg_stop_unpack(&m, payload);
        s->safety.token = m.token;
        safety_stop(&s->safety, msg_stop_check(&m) < 0 ? (enum cause)m.cause : CAUSE_HOST_REQUEST, 0, now);
    } else if (info->id == MSG_HELLO) {
        struct msg_hello m;
        msg_hello_unpack(&m, payload);
        hear_hello(s, &m, now);
    } else if (info->id == MSG_PING) {
        struct msg_ping m;
        msg_ping_unpack(&m, payload);
        count_gap(s, 0, seq);
        struct msg_pong answer = {m.token, now, hal_ticks()};
        uint8_t out[MSG_PAYLOAD_MAX];
        msg_pong_pack(&answer, out);
        send(s, MSG_PONG, out);
    } else if (!s->live || info->id >= 0x80) {
        return;
    } else if (info->id == MSG_SETPOINT) {
        struct msg_setpoint m;
        msg_setpoint_unpack(&m, payload);
        count_gap(s, 1, seq);
        safety_setpoint(&s->safety, &m, seq, s->matched, now);
    } else if (info->delivery == CLASS_COMMAND) {
        hear_command(s, info->id, seq, payload, now);
    }
}

/* --- the turn ------------------------------------------------------------------------------------------------------- */

/* True once per period. A late turn does not catch up: one message, and the next a period after now. */
static bool due(uint32_t *at, uint32_t every, uint32_t now) {
    if ((int32_t)(now - *at) < 0) return false;
    *at += every;
    if ((int32_t)(now - *at) >= 0) *at = now + every;
    return true;
}

void session_turn(struct session *s) {
    uint8_t bytes[32];
    size_t left = SESSION_BYTES_PER_TURN, got;
    while (left > 0 && (got = hal_uart_read(HAL_UART_HOST, bytes, left < sizeof bytes ? left : sizeof bytes)) > 0) {
        left -= got;
        for (size_t i = 0; i < got; i++) {
            const struct msg_info *info;
            const uint8_t *payload;
            uint8_t seq;
            if (reader_push(&s->reader, bytes[i], &info, &seq, &payload) == FRAME_GOOD) hear(s, info, seq, payload);
        }
    }
    motor_poll();
    force_poll();
    uint32_t now = hal_ticks();
    safety_step(&s->safety, now);
    hal_watchdog_kick();
    if (!s->live) {
        if (due(&s->due_beacon, period(BEACON_HZ), now)) send_welcome(s, 0);
    } else {
        if (s->safety.stop_news || (s->safety.state <= STATE_STOPPED && due(&s->due_stopped, period(STOPPED_HZ), now))) {
            s->safety.stop_news = false;
            send_stopped(s);
        }
        if (due(&s->due_telemetry, period(TELEMETRY_HZ), now)) send_telemetry(s, now);
        if (due(&s->due_stats, period(STATS_HZ), now)) {
            send_about(s);
            send_stats(s);
        }
    }
    if (s->reset_due && now - s->reset_asked > period(1000u / RESET_AFTER_MS)) hal_reset();
    uint32_t turn = hal_ticks() - s->last_turn;
    if (turn > s->turn_max) s->turn_max = turn;
    s->last_turn = hal_ticks();
}
