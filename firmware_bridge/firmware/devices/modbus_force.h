/* The force sensor: a load-cell transmitter that speaks Modbus RTU. Its contract with the core is `force_*` in hal.h.
 *
 * The wire. Question: unit, function (3 holding, 4 input registers), first register, count, CRC-16/MODBUS low byte first. Answer: unit, function,
 * byte count, registers big endian, CRC; or unit, function + 128, exception code, CRC. Source: "MODBUS over serial line", V1.02, 2.5.1.
 *
 * How the driver uses it:
 *  - asked every 10 ms, and every 50 ms after FORCE_MISSED_MIN questions in a row without an answer; between an answer and the next question lie 3.5 characters, at least 1.75 ms (the fixed value above 19200 baud).
 *  - an answer counts when unit, function, length and CRC are right; gaps inside it are not measured, since a port's queue hides them.
 *  - an answer that comes after its time-out is not taken for the next one: the number of registers asked for goes round 1 + `spare` values,
 *    one further after each time-out. With three spare registers an answer would have to be 100 ms late to pass for a new one; with none, any may.
 *  - an echo of the question is skipped: it is eight long, and an answer's third byte is its length.
 *  - a value that never changes, or one out of bounds, is the core's business: the sample carries a number that counts.
 */
#ifndef INNERVATE_MODBUS_FORCE_H
#define INNERVATE_MODBUS_FORCE_H

#include "hal.h"

#define FORCE_PERIOD_US 10000u
#define FORCE_TIMEOUT_US 20000u
#define FORCE_QUIET_MIN_US 1750u
#define FORCE_RETRY_MS 50u
#define FORCE_SPARE_MAX 3u
#define FORCE_SILENT_MS 100u
#define FORCE_MISSED_MIN 2u /* questions: a processor that stood still for a while says nothing about the line */

/* Bits of the status register. */
#define FORCE_STATUS_OVERLOAD 1u /* the cell is beyond its range */
#define FORCE_STATUS_BROKEN 2u   /* the bridge or its cable is open: no force can be told */

enum force_format { FORCE_INT32 = 0, FORCE_FLOAT32 = 1 }; /* both in units of 0.01 N, high word first */

/* Where a transmitter keeps what we need: two registers of force and behind them the status. */
struct force_map {
    uint8_t unit;
    uint8_t function;      /* 3 or 4 */
    uint16_t first;
    enum force_format format;
    uint8_t spare;         /* so many registers more, at most 3, may be read behind the status */
};

/* For diagnosis. Counters count up and wrap. */
struct force_state {
    uint16_t status;
    uint8_t exception;       /* code of the last exception, 0 for none since the last sample */
    uint32_t answers;
    uint32_t timeouts;       /* questions without a usable answer: missing samples */
    uint32_t bad_crcs;
    uint32_t exceptions;
    uint32_t not_numbers;    /* answers whose float is no finite number, or whose status says broken */
    uint32_t unchanged;      /* answers in a row with the same raw value */
    uint32_t stray_bytes;
};

/* Use another map than the default (unit 1, function 4, register 0, int32, spare); starts afresh. */
void force_configure(const struct force_map *map);
struct force_state force_state(void);

/* CRC-16/MODBUS; 0x4B37 for "123456789". */
uint16_t modbus_crc(const uint8_t *data, size_t len);

#endif
