/* The libFuzzer target: whatever a host line brings, in whatever rhythm.
 *
 * The input is a program: an opcode byte, then what it takes. Raw bytes, whole frames with a right CRC around fuzzed payloads (so that the search
 * gets past the CRC), time, device faults, hangs. After each step the invariants of safety.h must hold:
 *   - moving: the last valid setpoint is no older than the deadman and one turn
 *   - stopped or unconfigured: the motors' targets do not change, and released means no torque
 *   - ready or moving: limits are configured; targets stay inside them, or on the way from outside
 *   - the stop count never goes back without a restart; no command is answered that was not expected
 * and the sanitizers must have nothing to say.
 */
#include <stdlib.h>

#include "host.h"

#define CHECK(what) do { if (!(what)) abort(); } while (0)
#define STEPS_MAX 400

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t take(const uint8_t **data, size_t *size, uint8_t *out, size_t want) {
    size_t got = want < *size ? want : *size;
    memset(out, 0, want);
    memcpy(out, *data, got);
    *data += got;
    *size -= got;
    return got;
}

static void frame(const uint8_t **data, size_t *size, uint8_t which, uint8_t *command) {
    static const uint8_t IDS[] = {MSG_HELLO, MSG_PING, MSG_SETPOINT, MSG_STOP, MSG_CONFIGURE, MSG_ARM, MSG_REST, MSG_RESET, MSG_DICTIONARY, MSG_PROBE,
                                  MSG_BULK, MSG_IMAGE_BEGIN, MSG_IMAGE_DATA, MSG_IMAGE_END, MSG_IMAGE_CONFIRM, MSG_WELCOME, MSG_TELEMETRY};
    uint8_t id = IDS[which % sizeof IDS], payload[MSG_PAYLOAD_MAX], out[FRAME_OUT_MAX], seq;
    const struct session *s = host_session();
    take(data, size, &seq, 1);
    take(data, size, payload, msg_info(id)->payload > 24 ? 24 : msg_info(id)->payload);
    if (msg_info(id)->delivery == CLASS_COMMAND && (seq & 1u)) seq = *command = s->expected;
    /* What a search would need years to guess is given to it now and then. */
    if (id == MSG_HELLO && (seq & 2u)) {
        struct msg_hello m = {MSG_PROTOCOL, MSG_SCHEMA_HASH, 1u + (seq >> 6)};
        msg_hello_pack(&m, payload);
    } else if (id == MSG_ARM && (payload[0] & 1u)) {
        struct msg_arm m = {s->boot_id, s->safety.stop_count};
        msg_arm_pack(&m, payload);
    } else if (id == MSG_RESET && (payload[0] & 1u)) {
        msg_put(payload, s->boot_id, 4);
    } else if (id == MSG_SETPOINT && (payload[0] & 1u)) {
        msg_put(payload, host_now() + payload[1] * 1000u, 4);
        msg_put(payload + 4, host_now() + payload[1] * 1000u + payload[2] * 1000u, 4);
    } else if (id == MSG_CONFIGURE && (payload[0] & 1u)) {
        struct msg_configure m = {-9000, (int16_t)(payload[1] * 30), -4500, 4500, 1200, 600, 100, payload[2] & 1u, 2000, 1000, 500,
                                  (uint16_t)(payload[2] & 2u ? 300 : 0)};
        msg_configure_pack(&m, payload);
    } else if (id == MSG_IMAGE_BEGIN && (payload[0] & 1u)) {
        msg_put(payload, 600u + payload[1], 4);
    } else if (id == MSG_IMAGE_DATA && (payload[0] & 1u)) {
        msg_put(payload, s->image.at, 4);
        payload[4] = 128;
    }
    size_t len = frame_encode(id, seq, payload, out);
    host_feed(HAL_UART_HOST, out, (uint32_t)len);
}

static void check(const struct safety *before, uint32_t boot_before, const int16_t targets[HAL_AXES]) {
    const struct session *s = host_session();
    const struct safety *f = &s->safety;
    if (host_state() < 0) return;
    CHECK(f->state <= STATE_MOVING && f->queued <= SETPOINT_QUEUE);
    if (s->boot_id == boot_before) CHECK((uint16_t)(f->stop_count - before->stop_count) < STEPS_MAX);
    if (f->state == STATE_MOVING) CHECK(host_now() - f->t_food <= (f->limits.deadman_ms + 1u) * 1000u);
    if (f->state >= STATE_READY) CHECK(f->configured && msg_configure_check(&f->limits) < 0 && f->cause == CAUSE_NONE);
    if (f->goal_alive) CHECK(f->goal[0] >= f->limits.pan_min_cdeg && f->goal[0] <= f->limits.pan_max_cdeg);
    if (f->goal_alive) CHECK(f->goal[1] >= f->limits.tilt_min_cdeg && f->goal[1] <= f->limits.tilt_max_cdeg);
    if (f->state == STATE_STOPPED && before->state == STATE_STOPPED && f->stop_count == before->stop_count && s->boot_id == boot_before)
        for (unsigned axis = 0; axis < HAL_AXES; axis++) CHECK(host_target(axis) == targets[axis]);
    if (f->state == STATE_STOPPED && f->stop_count > 1 && f->limits.safe == SAFE_RELEASE && before->state >= STATE_READY) CHECK(!host_torque());
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    uint8_t op, bytes[256], command = 0, sink[4096];
    host_flash_format((int)(size & 1u));
    if (size & 1u) { /* a factory image: header and code, no signature */
        uint8_t raw[IMAGE_CODE_AT + 64] = "INVF\x01";
        raw[6] = 255;
        raw[8] = 1;
        raw[12] = 64;
        msg_put(raw + 16, crc32_ieee(0xffffffffu, raw + IMAGE_CODE_AT, 64), 4);
        host_flash_write(HAL_FLASH_SLOT_A, 0, raw, sizeof raw);
    }
    for (unsigned axis = 0; axis < HAL_AXES; axis++) host_axis(axis, 1, 0);
    host_force(100, 1, 0, 0);
    host_set_ticks(0xfffe0000u); /* the wrap comes within 131 ms */
    if (host_power_on(1) < 0) return 0;
    for (unsigned step = 0; step < STEPS_MAX && size > 0; step++) {
        struct safety before = host_session()->safety;
        uint32_t boot = host_session()->boot_id;
        int16_t targets[HAL_AXES] = {(int16_t)host_target(0), (int16_t)host_target(1)};
        take(&data, &size, &op, 1);
        switch (op >> 5) {
        case 0: /* raw bytes */
            take(&data, &size, bytes, op & 31u);
            host_feed(HAL_UART_HOST, bytes, op & 31u);
            break;
        case 1: case 2: case 3:
            frame(&data, &size, op & 31u, &command);
            break;
        case 4:
            host_advance((op & 31u) * 250u);
            break;
        case 5:
            host_advance((op & 31u) * 8000u);
            break;
        case 6:
            take(&data, &size, bytes, 2);
            if (op & 1u)
                host_axis((op >> 1) & 1u, bytes[0] & 1, (bytes[0] >> 1) & 7);
            else
                host_force((int16_t)(bytes[0] | bytes[1] << 8), op & 2, (op >> 2) & 3, op & 16);
            break;
        default:
            host_hang((op & 31u) * 16000u);
            break;
        }
        host_advance(HOST_TURN_TICKS);
        check(&before, boot, targets);
        host_take(HAL_UART_HOST, sink, sizeof sink);
    }
    return 0;
}
