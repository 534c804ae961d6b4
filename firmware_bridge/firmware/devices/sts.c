#include "sts.h"

#include <string.h>

#include "line.h"

enum { INSTRUCTION_READ = 0x02, INSTRUCTION_SYNC_WRITE = 0x83, BROADCAST = 0xFE };

/* Registers, and the blocks that are read of them. */
enum { REG_MODEL = 3, REG_MODE = 33, REG_TORQUE = 40, REG_POSITION = 56, REG_VOLTAGE = 62, REG_TEMPERATURE = 63 };
enum { IDENTITY_LEN = REG_MODE - REG_MODEL + 1, COMMAND_LEN = 8, SHORT_LEN = 11, LONG_LEN = REG_POSITION - REG_TORQUE + SHORT_LEN };
enum { PACKET_MIN = 6, PACKET_MAX = IDENTITY_LEN + (int)STS_TAGS - 1 + PACKET_MIN };
enum { STATUS_VOLTAGE = 1, STATUS_SENSOR = 2, STATUS_HOT = 4, STATUS_CURRENT = 8, STATUS_OVERLOAD = 32 };

/* What an axis is to do. CATCH becomes GOAL, at the position where the servo is, with the next answer. */
enum want { WANT_NOTHING, WANT_LIMP, WANT_CATCH, WANT_GOAL };

struct axis {
    enum want want;
    uint16_t goal;          /* steps */
    bool noted;             /* a goal came since the axis went limp */
    bool torque_seen;       /* the servo has confirmed torque since we asked for it */
    bool suspect;           /* an answer was missed: read before writing */
    bool silent;
    bool reporting;         /* a lost torque, until report_since + STS_REPORT_MS */
    uint8_t missed;         /* questions in a row without an answer, at most STS_MISSED_MIN */
    uint8_t off_range;      /* angles in a row that lie outside the range, at most STS_OFF_RANGE_MAX */
    uint8_t tag;            /* so many more registers are asked for; changes after each time-out */
    uint8_t turn;           /* counts slots, for the long reads */
    uint32_t heard;         /* last valid answer, or boot */
    uint32_t asked;
    uint32_t report_since;
    struct motor_sample sample;
    struct sts_state state;
};

static struct {
    struct line line;
    struct axis axes[HAL_AXES];
    unsigned now;           /* the axis whose slot it is */
    uint8_t first, len;     /* the block that was asked for */
    uint32_t slot, slot_since;
    uint32_t silent, retry, report;
} bus;

static uint32_t ms_ticks(uint32_t ms)
{
    return hal_tick_hz() / 1000u * ms;
}

void motor_init(void)
{
    memset(&bus, 0, sizeof bus);
    line_init(&bus.line, HAL_UART_SERVO, STS_TIMEOUT_US, STS_QUIET_US);
    bus.slot = line_ticks(STS_SLOT_US);
    bus.silent = ms_ticks(STS_SILENT_MS);
    bus.retry = ms_ticks(STS_RETRY_MS);
    bus.report = ms_ticks(STS_REPORT_MS);
    bus.slot_since = hal_ticks() - bus.slot;
    bus.now = HAL_AXES - 1u; /* so that axis 0 is the first */
    for (unsigned i = 0; i < HAL_AXES; i++) {
        bus.axes[i].heard = hal_ticks();
        bus.axes[i].asked = hal_ticks() - bus.retry;
    }
}

/* --- units --------------------------------------------------------------------------------------------------------- */

static int32_t divide_rounded(int32_t value, int32_t by)
{
    return (value >= 0 ? value + by / 2 : value - by / 2) / by;
}

/* 36000 / 4096 = 1125 / 128. */
static uint16_t steps_of(int16_t cdeg)
{
    const int32_t steps = STS_CENTRE + divide_rounded((int32_t)cdeg * 128, 1125);
    return (uint16_t)(steps < 0 ? 0 : steps >= STS_STEPS ? STS_STEPS - 1 : steps);
}

static int16_t saturated(int32_t value)
{
    return (int16_t)(value > INT16_MAX ? INT16_MAX : value < INT16_MIN ? INT16_MIN : value);
}

static int16_t cdeg_of(int32_t steps)
{
    return saturated(divide_rounded(steps * 1125, 128));
}

static int32_t sign_and_magnitude(const uint8_t *data)
{
    const int32_t magnitude = data[0] | (data[1] & 0x7F) << 8;
    return (data[1] & 0x80) != 0 ? -magnitude : magnitude;
}

/* --- commands ------------------------------------------------------------------------------------------------------ */

static void command(struct axis *axis, enum want want, uint16_t goal)
{
    if (axis->want == want && axis->goal == goal) {
        return;
    }
    axis->want = want;
    axis->goal = goal;
    axis->state.confirmed = false;
}

void motor_target(unsigned axis, int16_t position_cdeg)
{
    if (axis >= HAL_AXES) {
        return;
    }
    struct axis *a = &bus.axes[axis];
    const uint16_t goal = steps_of(position_cdeg);
    if (a->want == WANT_CATCH || a->want == WANT_GOAL) {
        command(a, WANT_GOAL, goal);
    } else {
        a->goal = goal;
        a->noted = true;
    }
}

void motor_torque(bool on)
{
    for (unsigned i = 0; i < HAL_AXES; i++) {
        struct axis *a = &bus.axes[i];
        const bool held = a->want == WANT_CATCH || a->want == WANT_GOAL;
        if (!on && a->want != WANT_LIMP) {
            command(a, WANT_LIMP, a->goal);
            a->noted = false;
            a->torque_seen = false;
        } else if (on && !held) {
            command(a, a->noted ? WANT_GOAL : WANT_CATCH, a->goal);
            a->torque_seen = false;
        }
    }
}

/* --- packets ------------------------------------------------------------------------------------------------------- */

static uint8_t checksum(const uint8_t *from_id, size_t count)
{
    unsigned sum = 0;
    for (size_t i = 0; i < count; i++) {
        sum += from_id[i];
    }
    return (uint8_t)~sum;
}

/* Close the packet of `body` bytes (id to last parameter) behind its FF FF at `at`; returns its whole length. */
static size_t closed(uint8_t *at, size_t body)
{
    at[0] = 0xFF;
    at[1] = 0xFF;
    at[3] = (uint8_t)(body - 1u); /* len counts instruction, parameters and checksum */
    at[2 + body] = checksum(at + 2, body);
    return body + 3u;
}

/* The registers from REG_TORQUE on of an axis that holds or moves: torque, acceleration, goal, time (unused), speed. */
static void put_block(uint8_t *at, uint16_t goal)
{
    const uint8_t block[COMMAND_LEN] = {1, STS_ACCELERATION, (uint8_t)goal, (uint8_t)(goal >> 8), 0, 0, (uint8_t)STS_SPEED_STEPS_S,
                                        (uint8_t)(STS_SPEED_STEPS_S >> 8)};
    memcpy(at, block, sizeof block);
}

static size_t put_write(uint8_t *at, const struct axis *axis, uint8_t id)
{
    at[2] = BROADCAST;
    at[4] = INSTRUCTION_SYNC_WRITE;
    at[5] = REG_TORQUE;
    at[7] = id;
    if (axis->want == WANT_LIMP) {
        at[6] = 1;
        at[8] = 0;
        return closed(at, 7);
    }
    at[6] = COMMAND_LEN;
    put_block(at + 8, axis->goal);
    return closed(at, 6 + COMMAND_LEN);
}

static size_t put_read(uint8_t *at, uint8_t id, uint8_t first, uint8_t len)
{
    at[2] = id;
    at[4] = INSTRUCTION_READ;
    at[5] = first;
    at[6] = len;
    return closed(at, 5);
}

/* Letting go is safe for any servo in any state, so it is written blind: our questions may arrive where the answers do not. */
static bool has_command(const struct axis *axis)
{
    const bool known = axis->state.identity == STS_FIT && !axis->suspect;
    return !axis->state.confirmed && (axis->want == WANT_LIMP || (axis->want == WANT_GOAL && known));
}

static void begin(struct axis *axis, uint32_t now)
{
    uint8_t question[LINE_TX_MAX];
    const uint8_t id = (uint8_t)(STS_ID_FIRST + bus.now);
    size_t len = 0;
    if (has_command(axis)) {
        len = put_write(question, axis, id);
    }
    axis->turn++;
    const bool whole = axis->suspect || axis->turn % STS_VERIFY_EVERY == 0u;
    if (axis->state.identity != STS_FIT) {
        bus.first = REG_MODEL;
        bus.len = IDENTITY_LEN;
    } else {
        bus.first = whole ? REG_TORQUE : REG_POSITION;
        bus.len = whole ? LONG_LEN : SHORT_LEN;
    }
    bus.len = (uint8_t)(bus.len + axis->tag);
    len += put_read(question + len, id, bus.first, bus.len);
    axis->asked = now;
    (void)line_ask(&bus.line, question, len);
}

/* --- answers ------------------------------------------------------------------------------------------------------- */

/* The servo moved or let go by itself, or was away: forget the goal, catch it where it stands. */
static void forget_goal(struct axis *axis)
{
    axis->noted = false;
    axis->torque_seen = false;
    if (axis->want == WANT_GOAL) {
        command(axis, WANT_CATCH, axis->goal);
    }
}

static void take_identity(struct axis *axis, const uint8_t *data)
{
    axis->state.model = (uint16_t)(data[0] | data[1] << 8);
    axis->state.identity = data[REG_MODE - REG_MODEL] == 0u ? STS_FIT : STS_WRONG_MODE;
    axis->suspect = true; /* its registers are unknown: look before writing */
    if (axis->state.identity == STS_WRONG_MODE) {
        axis->sample.fault = MOTOR_SENSOR;
    }
}

/* Compare the registers from REG_TORQUE on with what we wanted them to be. */
static void take_command(struct axis *axis, const uint8_t *data, uint32_t now)
{
    const bool torque = data[0] != 0u;
    axis->state.torque = torque;
    axis->suspect = false;
    if (axis->want == WANT_GOAL) {
        if (torque) {
            axis->torque_seen = true;
        } else if (axis->torque_seen) {
            axis->state.torque_losses++;
            axis->reporting = true;
            axis->report_since = now;
            forget_goal(axis);
            return;
        }
        uint8_t block[COMMAND_LEN];
        put_block(block, axis->goal);
        axis->state.confirmed = memcmp(block, data, sizeof block) == 0;
    } else if (axis->want == WANT_LIMP) {
        axis->state.confirmed = !torque;
    }
}

static uint8_t fault_of(const struct axis *axis)
{
    const uint8_t status = axis->state.status;
    if ((status & STATUS_SENSOR) != 0 || axis->off_range >= STS_OFF_RANGE_MAX) {
        return MOTOR_SENSOR;
    }
    if ((status & (STATUS_OVERLOAD | STATUS_CURRENT)) != 0) {
        return MOTOR_OVERLOAD;
    }
    if ((status & STATUS_HOT) != 0 || axis->state.temperature_c >= STS_HOT_C) {
        return MOTOR_HOT;
    }
    return (status & STATUS_VOLTAGE) != 0 || axis->reporting ? MOTOR_VOLTAGE : MOTOR_OK;
}

/* Registers from REG_POSITION on. */
static void take_sample(struct axis *axis, const uint8_t *data, uint32_t t_ticks)
{
    const int32_t steps = sign_and_magnitude(data);
    axis->state.voltage_dv = data[REG_VOLTAGE - REG_POSITION];
    axis->state.temperature_c = data[REG_TEMPERATURE - REG_POSITION];
    if (steps >= 0 && steps < STS_STEPS) {
        axis->off_range = 0;
    } else if (axis->off_range < STS_OFF_RANGE_MAX) {
        axis->off_range++;
    }
    axis->sample.fault = fault_of(axis);
    if (axis->off_range != 0u) {
        axis->sample.valid = axis->sample.valid && axis->off_range < STS_OFF_RANGE_MAX;
        return; /* the last good angle stays, and ages */
    }
    axis->sample.t_ticks = t_ticks;
    axis->sample.position_cdeg = cdeg_of(steps - STS_CENTRE);
    axis->sample.speed_cdeg_s = cdeg_of(sign_and_magnitude(data + 2));
    axis->sample.valid = true;
    if (axis->want == WANT_CATCH) {
        command(axis, WANT_GOAL, (uint16_t)steps);
    }
}

static void take(struct axis *axis, const uint8_t *packet, uint32_t t_ticks)
{
    const uint8_t *data = packet + 5;
    axis->state.answers++;
    axis->state.status = packet[4];
    axis->heard = t_ticks;
    axis->silent = false;
    axis->missed = 0;
    if (bus.first == REG_MODEL) {
        take_identity(axis, data);
        return;
    }
    if (bus.first == REG_TORQUE) {
        take_command(axis, data, t_ticks);
        data += REG_POSITION - REG_TORQUE;
    }
    take_sample(axis, data, t_ticks);
}

static bool is_ours(const uint8_t *packet)
{
    return packet[2] == BROADCAST || (packet[3] == 4u && packet[4] == INSTRUCTION_READ && packet[5] == bus.first && packet[6] == bus.len);
}

/* Look for the answer among the bytes that came. `last`: nothing more will come, so half a packet is none. */
static bool find_answer(struct axis *axis, bool last)
{
    struct line *line = &bus.line;
    while (line->rx_len >= PACKET_MIN) {
        const uint8_t *rx = line->rx;
        const size_t whole = (size_t)rx[3] + 4u;
        if (rx[0] != 0xFF || rx[1] != 0xFF || rx[2] == 0xFF || whole < PACKET_MIN || whole > PACKET_MAX) {
            line->stray++;
            line_drop(line, 1);
        } else if (whole > line->rx_len) {
            if (!last) {
                return false;
            }
            line->stray++;
            line_drop(line, 1);
        } else if (rx[whole - 1u] != checksum(rx + 2, whole - 3u)) {
            axis->state.bad_checksums++;
            line->stray++;
            line_drop(line, 1); /* its FF FF may be the tail of noise: the answer may begin inside it */
        } else if (rx[2] == STS_ID_FIRST + bus.now && whole == (size_t)bus.len + PACKET_MIN) {
            take(axis, rx, line->first);
            line_drop(line, whole);
            return true;
        } else {
            axis->state.wrong_packets += is_ours(rx) ? 0u : 1u;
            line_drop(line, whole);
        }
    }
    return false;
}

/* --- the loop ------------------------------------------------------------------------------------------------------ */

static void missed(struct axis *axis)
{
    axis->state.timeouts++;
    axis->suspect = true;
    axis->missed = (uint8_t)(axis->missed < STS_MISSED_MIN ? axis->missed + 1u : axis->missed);
    axis->tag = (uint8_t)((axis->tag + 1u) % STS_TAGS);
}

/* Flags that depend on time are set here, every turn, so that no span ever comes near the counter's wrap. */
static void watch(struct axis *axis, uint32_t now)
{
    if (axis->reporting && now - axis->report_since >= bus.report) {
        axis->reporting = false;
    }
    if (!axis->silent && axis->missed >= STS_MISSED_MIN && now - axis->heard >= bus.silent) {
        axis->silent = true;
        axis->state.identity = STS_UNKNOWN; /* it may be another servo that comes back */
        axis->sample.valid = false;
        axis->sample.fault = MOTOR_SILENT;
        forget_goal(axis);
    }
}

/* The axis whose slot comes now: the other one, unless that is silent and was asked a moment ago. */
static bool choose(uint32_t now)
{
    for (unsigned i = 1; i <= HAL_AXES; i++) {
        const unsigned next = (bus.now + i) % HAL_AXES;
        const struct axis *a = &bus.axes[next];
        if (!a->silent || now - a->asked >= bus.retry) {
            bus.now = next;
            return true;
        }
    }
    return false;
}

void motor_poll(void)
{
    struct axis *axis = &bus.axes[bus.now];
    const enum line_event event = line_poll(&bus.line);
    if (event != LINE_NOTHING) {
        if (find_answer(axis, event == LINE_LATE)) {
            if (event == LINE_BYTES) {
                line_answered(&bus.line);
            }
        } else if (event == LINE_LATE) {
            missed(axis);
        }
    }
    const uint32_t now = hal_ticks();
    for (unsigned i = 0; i < HAL_AXES; i++) {
        watch(&bus.axes[i], now);
    }
    if (bus.line.state == LINE_IDLE && now - bus.slot_since >= bus.slot && choose(now)) {
        bus.slot_since = now;
        begin(&bus.axes[bus.now], now);
    }
}

struct motor_sample motor_sample(unsigned axis)
{
    const struct motor_sample none = {.fault = MOTOR_SILENT};
    return axis < HAL_AXES ? bus.axes[axis].sample : none;
}

struct sts_state sts_state(unsigned axis)
{
    struct sts_state state = {.identity = STS_UNKNOWN};
    if (axis < HAL_AXES) {
        state = bus.axes[axis].state;
        state.stray_bytes = bus.line.stray;
    }
    return state;
}
