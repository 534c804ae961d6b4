/* The firmware as a library: simulated time, serial lines, flash and devices. For tests and fuzzing; several copies of the library are several
 * microcontrollers. What it does not imitate: the rate of a line (bytes arrive when they are fed), interrupts, the time that code takes. */
#ifndef INNERVATE_HOST_H
#define INNERVATE_HOST_H

#include "core/session.h"

#define HOST_TICK_HZ 1000000u
#define HOST_TURN_TICKS 250u

/* Cold start: RAM cleared, slot chosen, firmware begun. seed makes boot_id. Returns the slot, or -1 when none starts. */
int host_power_on(uint32_t seed);
/* Let time pass, one turn of the main loop every HOST_TURN_TICKS; a reset that the firmware asked for happens between turns. */
void host_advance(uint32_t ticks);
/* The main loop hangs for so long: time passes, no turn is made. Past the watchdog's limit the processor restarts. */
void host_hang(uint32_t ticks);
void host_set_ticks(uint32_t now);
uint32_t host_now(void);
int host_feed(unsigned port, const uint8_t *data, uint32_t len);
uint32_t host_take(unsigned port, uint8_t *data, uint32_t cap);
const struct session *host_session(void);
int host_state(void);

/* Devices: the axes follow their targets perfectly unless frozen; the force is what was set, sampled every 10 ms unless silent. */
void host_axis(unsigned axis, int valid, int fault);
void host_force(int force_cn, int valid, int fault, int silent);
int host_target(unsigned axis);
int host_torque(void);
void host_devices_init(void);

/* Flash: off (as in QEMU), or erased and on. After `operations` more words the power goes: -1 never. */
void host_flash_format(int on);
void host_flash_cut_after(int64_t operations);
int host_flash_was_cut(void);
void host_flash_write(unsigned area, uint32_t at, const uint8_t *data, uint32_t len);
uint32_t host_flash_peek(unsigned area, uint32_t at, uint8_t *data, uint32_t len);
int64_t host_flash_operations(void);
int host_check_image(unsigned slot);
/* Refused late, future, range, state, stale; accepted, executed. */
void host_counters(uint32_t out[7]);
/* The number of the next command. */
int host_expected(void);

#endif
