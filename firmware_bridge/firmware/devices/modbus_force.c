#include "modbus_force.h"

#include <string.h>

#include "line.h"

enum { QUESTION_LEN = 8, EXCEPTION_LEN = 5, FRAME_EXTRA = 5, VALUE_REGISTERS = 3, EXCEPTION_BIT = 0x80 };

static struct {
    struct force_map map;
    struct line line;
    uint8_t tag;             /* so many more registers are asked for; changes after each time-out */
    uint8_t missed;          /* questions in a row without an answer, at most FORCE_MISSED_MIN */
    bool silent;
    uint32_t last_raw;
    uint32_t period, retry;  /* ticks */
    uint32_t since;          /* the last question */
    uint32_t silence, heard; /* the last sample, or boot */
    struct force_sample sample;
    struct force_state state;
} cell;

uint16_t modbus_crc(const uint8_t *data, size_t len)
{
    uint16_t crc = 0xFFFF;
    for (size_t i = 0; i < len; i++) {
        crc = (uint16_t)(crc ^ data[i]);
        for (unsigned bit = 0; bit < 8u; bit++) {
            crc = (uint16_t)((crc & 1u) != 0u ? crc >> 1 ^ 0xA001u : crc >> 1);
        }
    }
    return crc;
}

void force_configure(const struct force_map *map)
{
    const struct force_map kept = *map; /* it may be our own */
    memset(&cell, 0, sizeof cell);
    cell.map = kept;
    cell.map.spare = kept.spare > FORCE_SPARE_MAX ? FORCE_SPARE_MAX : kept.spare;
    const uint32_t baud = hal_uart_baud(HAL_UART_FORCE);
    uint32_t quiet_us = 38500000u / (baud < 2400u ? 2400u : baud); /* 3.5 characters of 11 bits */
    quiet_us = quiet_us < FORCE_QUIET_MIN_US ? FORCE_QUIET_MIN_US : quiet_us;
    line_init(&cell.line, HAL_UART_FORCE, FORCE_TIMEOUT_US, quiet_us);
    cell.period = line_ticks(FORCE_PERIOD_US);
    cell.retry = hal_tick_hz() / 1000u * FORCE_RETRY_MS;
    cell.silence = hal_tick_hz() / 1000u * FORCE_SILENT_MS;
    cell.heard = hal_ticks();
    cell.since = cell.heard - cell.period;
}

void force_init(void)
{
    static const struct force_map map = {.unit = 1, .function = 4, .first = 0, .format = FORCE_INT32, .spare = FORCE_SPARE_MAX};
    force_configure(&map);
}

static uint8_t registers(void)
{
    return (uint8_t)(VALUE_REGISTERS + cell.tag);
}

static void ask(void)
{
    uint8_t question[QUESTION_LEN] = {cell.map.unit, cell.map.function, (uint8_t)(cell.map.first >> 8), (uint8_t)cell.map.first, 0, registers(), 0, 0};
    const uint16_t crc = modbus_crc(question, QUESTION_LEN - 2);
    question[6] = (uint8_t)crc;
    question[7] = (uint8_t)(crc >> 8);
    (void)line_ask(&cell.line, question, sizeof question);
}

/* --- values -------------------------------------------------------------------------------------------------------- */

/* The integer nearest to a binary32, saturated; false for an infinity or no number. No floating point: the M3 has none. */
static bool float_to_int(uint32_t bits, int32_t *value)
{
    const int exponent = (int)(bits >> 23 & 0xFFu) - 127;
    const uint32_t mantissa = (bits & 0x7FFFFFu) | 0x800000u;
    int32_t magnitude = 0;
    if (exponent == 128) {
        return false;
    }
    if (exponent >= 30) {
        magnitude = INT32_MAX;
    } else if (exponent >= 23) {
        magnitude = (int32_t)(mantissa << (exponent - 23));
    } else if (exponent >= -1) {
        magnitude = (int32_t)((mantissa + (1u << (22 - exponent))) >> (23 - exponent));
    }
    *value = (bits >> 31) != 0u ? -magnitude : magnitude;
    return true;
}

static void take_registers(const uint8_t *data, uint32_t t_ticks)
{
    const uint32_t raw = (uint32_t)data[0] << 24 | (uint32_t)data[1] << 16 | (uint32_t)data[2] << 8 | data[3];
    int32_t force = (int32_t)raw;
    cell.state.answers++;
    cell.state.status = (uint16_t)(data[4] << 8 | data[5]);
    const bool number = cell.map.format == FORCE_INT32 || float_to_int(raw, &force);
    if (!number || (cell.state.status & FORCE_STATUS_BROKEN) != 0u) {
        cell.state.not_numbers++;
        cell.sample.fault = FORCE_EXCEPTION;
        return; /* no sample: the last one stays, and ages until FORCE_SILENT */
    }
    const bool beyond = force > INT16_MAX || force < INT16_MIN;
    cell.state.unchanged = cell.sample.valid && raw == cell.last_raw ? cell.state.unchanged + 1u : 0u;
    cell.state.exception = 0;
    cell.last_raw = raw;
    cell.heard = t_ticks;
    cell.silent = false;
    cell.sample.t_ticks = t_ticks;
    cell.sample.force_cn = (int16_t)(force > INT16_MAX ? INT16_MAX : force < INT16_MIN ? INT16_MIN : force);
    cell.sample.seq++;
    cell.sample.fault = beyond || (cell.state.status & FORCE_STATUS_OVERLOAD) != 0u ? FORCE_OVERLOAD : FORCE_OK;
    cell.sample.valid = true;
}

/* --- frames -------------------------------------------------------------------------------------------------------- */

static bool crc_ok(const uint8_t *frame, size_t len)
{
    return modbus_crc(frame, len - 2u) == (frame[len - 2u] | frame[len - 1u] << 8);
}

/* Look for the answer among the bytes that came. `last`: nothing more will come, so half a frame is none. Frames have no mark where they
 * begin: one is known by unit, function and length, proven by its CRC, and looked for at every byte. */
static bool find_answer(bool last)
{
    struct line *line = &cell.line;
    const uint8_t bytes = (uint8_t)(2u * registers());
    while (line->rx_len >= EXCEPTION_LEN) {
        const uint8_t *rx = line->rx;
        const bool exception = rx[0] == cell.map.unit && rx[1] == (cell.map.function | EXCEPTION_BIT);
        const bool values = rx[0] == cell.map.unit && rx[1] == cell.map.function && rx[2] == bytes;
        const size_t whole = exception ? EXCEPTION_LEN : (size_t)bytes + FRAME_EXTRA;
        if (values && whole > line->rx_len && !last) {
            return false;
        }
        if ((exception || values) && whole <= line->rx_len) {
            if (crc_ok(rx, whole)) {
                if (exception) {
                    cell.state.exceptions++;
                    cell.state.exception = rx[2];
                    cell.sample.fault = FORCE_EXCEPTION;
                } else {
                    take_registers(rx + 3, line->first);
                }
                line_drop(line, whole);
                return true;
            }
            cell.state.bad_crcs++;
        }
        line->stray++;
        line_drop(line, 1);
    }
    return false;
}

/* --- the loop ------------------------------------------------------------------------------------------------------ */

void force_poll(void)
{
    const enum line_event event = line_poll(&cell.line);
    if (event != LINE_NOTHING) {
        if (find_answer(event == LINE_LATE)) {
            cell.missed = 0;
            if (event == LINE_BYTES) {
                line_answered(&cell.line);
            }
        } else if (event == LINE_LATE) {
            cell.state.timeouts++;
            cell.sample.fault = cell.silent ? FORCE_SILENT : cell.sample.fault;
            cell.tag = (uint8_t)((cell.tag + 1u) % (1u + cell.map.spare));
            cell.missed = (uint8_t)(cell.missed < FORCE_MISSED_MIN ? cell.missed + 1u : cell.missed);
        }
    }
    const uint32_t now = hal_ticks();
    /* a transmitter that answers with exceptions gives no samples either, and the exception says more */
    const bool refusing = cell.sample.fault == FORCE_EXCEPTION;
    if (!cell.silent && (refusing || cell.missed >= FORCE_MISSED_MIN) && now - cell.heard >= cell.silence) {
        cell.silent = true;
        cell.sample.valid = false;
        cell.sample.fault = refusing ? FORCE_EXCEPTION : FORCE_SILENT;
    }
    if (cell.line.state == LINE_IDLE && now - cell.since >= (cell.missed < FORCE_MISSED_MIN ? cell.period : cell.retry)) {
        cell.since = now;
        ask();
    }
}

struct force_sample force_sample(void)
{
    return cell.sample;
}

struct force_state force_state(void)
{
    struct force_state state = cell.state;
    state.stray_bytes = cell.line.stray;
    return state;
}
