/* The servo bus: Feetech STS3215 servos for pan and tilt. Its contract with the core is `motor_*` in hal.h.
 *
 * The wire. A packet is FF FF id len instruction parameters checksum, with len = parameters + 2 and the checksum the inverted sum from id on.
 * A status packet has the error byte in the place of the instruction. Multi-byte registers are little endian; positions and speeds are
 * sign and magnitude. Registers and example packets: Feetech's "Smart bus servo communication protocol manual" and memory table of the STS.
 *
 * How the driver uses it:
 *  - the axes take turns, one slot of 5 ms each, so each is asked at 100 Hz. A slot is an optional SYNC WRITE of one servo, which is never
 *    answered, followed by a READ, which is. An absent servo costs its own slots only, and few of them.
 *  - torque, acceleration, goal and speed go out in one packet, so a servo never gets torque with an old goal. Letting go writes the torque
 *    register alone, since writing a goal switches the torque on in some servos' firmware.
 *  - a change is written in every slot until the servo's own registers, read back every fifth slot, show it. A lost packet costs 10 ms.
 *  - an echo of our own bytes needs no option: a SYNC WRITE carries the broadcast id, and a READ is four long where answers are longer.
 *  - an answer that comes after its time-out is not taken for the next one: the length asked for goes round STS_TAGS values, one further after
 *    each time-out. An answer would have to be 100 ms late, and by luck of the right length, to pass for a new one.
 *  - a servo that was silent, or whose torque went off by itself, keeps no old goal: it is caught where it stands, and only a goal given
 *    afterwards moves it. After a missed answer the driver reads before it writes, so that it notices.
 *  - letting go is written even to a servo that does not answer: it may hear us all the same.
 *  - a servo that is not in position mode gets no goal: there a goal would be a speed. It reports MOTOR_SENSOR and no sample.
 *
 * Known weakness: an 8-bit checksum lets 1 in 256 garbled answers through. A position outside the range is refused; one inside it lives
 * for 10 ms.
 */
#ifndef INNERVATE_STS_H
#define INNERVATE_STS_H

#include "hal.h"

#define STS_ID_FIRST 1u               /* pan 1, tilt 2 */
#define STS_SLOT_US 5000u
#define STS_TIMEOUT_US 20000u         /* a real servo answers within 1 ms; an emulated one shares a busy machine */
#define STS_QUIET_US 200u
#define STS_SILENT_MS 100u            /* without an answer, of which */
#define STS_MISSED_MIN 2u             /* questions at least: a processor that stood still for a while says nothing about the bus */
#define STS_RETRY_MS 50u              /* a silent servo is asked this often */
#define STS_REPORT_MS 200u            /* a lost torque is reported for this long, so that the core cannot miss it */
#define STS_VERIFY_EVERY 5u
#define STS_CENTRE 2048               /* step of angle 0 */
#define STS_STEPS 4096                /* per turn */
#define STS_SPEED_STEPS_S 1707u       /* 150 deg/s: the servo's own limit, under the core's */
#define STS_ACCELERATION 170u         /* x 100 steps/s2: 1494 deg/s2 */
#define STS_TAGS 4u
#define STS_OFF_RANGE_MAX 3u          /* one such angle is a garbled answer, three in a row a broken sensor */
#define STS_HOT_C 70u                 /* the servo's factory limit; at 80 it is damaged */

enum sts_identity { STS_UNKNOWN = 0, STS_FIT = 1, STS_WRONG_MODE = 2 };

/* What is known of an axis, for diagnosis. Counters count up and wrap. */
struct sts_state {
    enum sts_identity identity;
    uint16_t model;          /* 777 is an STS3215 */
    uint8_t status;          /* error bits: 1 voltage, 2 sensor, 4 temperature, 8 current, 32 overload */
    uint8_t voltage_dv;      /* 0.1 V */
    uint8_t temperature_c;
    bool torque;             /* as the servo last said */
    bool confirmed;          /* the servo's registers showed the newest command */
    uint32_t answers;
    uint32_t timeouts;
    uint32_t bad_checksums;
    uint32_t wrong_packets;  /* valid packets of another id or length: late, misaddressed */
    uint32_t torque_losses;  /* torque that went off without our word */
    uint32_t stray_bytes;    /* of the whole bus */
};

/* The state of axis 0 or 1; all zero for another one. */
struct sts_state sts_state(unsigned axis);

#endif
