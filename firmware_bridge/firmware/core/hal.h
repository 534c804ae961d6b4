/* What a port gives to the core and to the devices: the only way to touch hardware.
 *
 * Rules that every port keeps:
 *  - nothing blocks: a call returns at once with what could be done; a hardware wait has a counted bound;
 *  - no heap; buffers belong to the caller;
 *  - time is a free-running 32-bit counter that wraps. Differences are taken in uint32_t (`now - then`), never compared by `<`;
 *    only spans below half a wrap (about 2^31 ticks) mean anything. Counting interrupts for time is wrong: they coalesce.
 *  - everything but what an interrupt fills runs in one main loop, so the core and the devices need no locks.
 *
 * Ports: host (a shared library with simulated time and serial lines), stm32f405 (a real board and QEMU's netduinoplus2 from one ELF),
 * mps2_an385 (QEMU, for its watchdog that resets).
 */
#ifndef INNERVATE_HAL_H
#define INNERVATE_HAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* --- serial lines -------------------------------------------------------------------------------------------------- */

/* Logical ports; a port of the firmware maps them to USARTs and sets their line rates before main runs. */
enum {
    HAL_UART_HOST = 0,  /* the link to the host, 1 Mbit/s 8N1 */
    HAL_UART_SERVO = 1, /* Feetech STS bus, 1 Mbit/s 8N1, half duplex through an adapter: what is written may be echoed back */
    HAL_UART_FORCE = 2, /* Modbus RTU load-cell transmitter, 115200 8N1 */
    HAL_UART_COUNT = 3
};

/* Queue bytes for sending. Returns how many were taken, 0..len (the queue holds at least 256 bytes); -1 for no such port.
 * Never waits. A caller whose frame must go out whole asks hal_uart_room first. */
int hal_uart_write(unsigned port, const uint8_t *data, size_t len);

/* Bytes that hal_uart_write would take now. */
size_t hal_uart_room(unsigned port);

/* Take received bytes, at most cap; returns how many came, 0 when none. Oldest first. */
size_t hal_uart_read(unsigned port, uint8_t *data, size_t cap);

/* Received bytes that were lost because the queue was full, framing or noise errors included; counts up, wraps. */
uint32_t hal_uart_lost(unsigned port);

/* Bits per second of a line as configured: a Modbus client needs it for its 3.5-character silence. */
uint32_t hal_uart_baud(unsigned port);

/* --- time ---------------------------------------------------------------------------------------------------------- */

/* The free-running counter. */
uint32_t hal_ticks(void);

/* Its rate in Hz, measured at boot against SysTick (or fixed, on the host port). Constant until reset. Always in 1e5..2e8. */
uint32_t hal_tick_hz(void);

/* --- safety -------------------------------------------------------------------------------------------------------- */

/* The independent watchdog starts at boot and bites after HAL_WATCHDOG_MS without a kick. Only the main loop kicks it, once per turn,
 * after the safety step, and the check of an image, while nothing moves: devices never do. */
#define HAL_WATCHDOG_MS 200u
void hal_watchdog_kick(void);

/* Mask interrupts; returns the state to give back to hal_critical_exit. Keep it to a few instructions. */
uint32_t hal_critical_enter(void);
void hal_critical_exit(uint32_t state);

/* Why the processor last started. */
enum hal_reset_cause { HAL_RESET_POWER = 0, HAL_RESET_SOFTWARE = 1, HAL_RESET_WATCHDOG = 2, HAL_RESET_UNKNOWN = 3 };
enum hal_reset_cause hal_reset_cause(void);

/* Restart the processor. On the host port it returns and the port starts the firmware anew at its next step. */
void hal_reset(void);

/* A number that differs from boot to boot with good chance (uninitialised RAM, unique id, counters mixed): seeds boot_id. */
uint32_t hal_entropy(void);

/* --- flash --------------------------------------------------------------------------------------------------------- */

/* Areas: two image slots and two journal pages. Addresses are offsets from the start of the area. Erased bytes read 0xFF;
 * programming only clears bits and works in whole, aligned HAL_FLASH_WORD units. Power may go at any byte. */
enum { HAL_FLASH_SLOT_A = 0, HAL_FLASH_SLOT_B = 1, HAL_FLASH_JOURNAL_0 = 2, HAL_FLASH_JOURNAL_1 = 3, HAL_FLASH_AREAS = 4 };
#define HAL_FLASH_WORD 8u
uint32_t hal_flash_size(unsigned area);                                                        /* bytes; 0 where the port has no flash */
bool hal_flash_erase(unsigned area);                                                           /* the whole area, to 0xFF */
bool hal_flash_program(unsigned area, uint32_t at, const uint8_t *data, size_t len);           /* false: refused or failed verify */
bool hal_flash_read(unsigned area, uint32_t at, uint8_t *data, size_t len);
unsigned hal_flash_running(void);                                                              /* the slot that this code runs from */

/* --- devices ------------------------------------------------------------------------------------------------------- */

/* What the core asks of the devices on the other lines (firmware/devices/). Each device is one statically allocated object; `poll` is
 * called every turn of the main loop (at least every millisecond), does a bounded amount of work and returns. The core alone decides what
 * is safe: devices carry out and report. Angles are centidegrees (0.01 degree), forces centinewtons (0.01 N). */

enum { HAL_AXIS_PAN = 0, HAL_AXIS_TILT = 1, HAL_AXES = 2 };

enum motor_fault {
    MOTOR_OK = 0,
    MOTOR_SILENT = 1,      /* no valid answer for 100 ms */
    MOTOR_OVERLOAD = 2,    /* the servo reports overload or overcurrent */
    MOTOR_HOT = 3,
    MOTOR_VOLTAGE = 4,
    MOTOR_SENSOR = 5       /* the servo reports its angle sensor broken, or a position outside its range */
};

struct motor_sample {
    uint32_t t_ticks;      /* when the servo's answer's first byte was taken from the line */
    int16_t position_cdeg; /* 0 straight ahead; pan left and tilt up positive */
    int16_t speed_cdeg_s;
    uint8_t fault;         /* enum motor_fault */
    bool valid;            /* false until the first answer, and again after MOTOR_SILENT */
};

/* devices/sts.c. Servo ids are 1 (pan) and 2 (tilt). `motor_target` only notes the newest goal, which the next poll sends;
 * `motor_torque(false)` lets the axes go limp (release), true holds. `motor_sample` gives the newest answer of an axis. */
void motor_init(void);
void motor_poll(void);
void motor_target(unsigned axis, int16_t position_cdeg);
void motor_torque(bool on);
struct motor_sample motor_sample(unsigned axis);

enum force_fault { FORCE_OK = 0, FORCE_SILENT = 1, FORCE_EXCEPTION = 2, FORCE_OVERLOAD = 3 };

struct force_sample {
    uint32_t t_ticks;  /* when the answer's first byte was taken from the line */
    int16_t force_cn;  /* centinewtons, grip positive */
    uint8_t seq;       /* counts up with every new sample, wraps */
    uint8_t fault;     /* enum force_fault; FORCE_SILENT after 100 ms without a valid answer */
    bool valid;
};

/* devices/modbus_force.c. Polls the transmitter at about 100 Hz. */
void force_init(void);
void force_poll(void);
struct force_sample force_sample(void);

#endif
