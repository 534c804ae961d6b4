/* QEMU's mps2-an385: the port whose watchdog bites. There is no such board of ours; the port exists to prove that the firmware kicks its watchdog
 * when it should, and that it comes back stopped, with the cause, when it did not.
 *
 * Lines     CMSDK UART 0, 1, 2.      Time      CMSDK timer 0, counting down from 2^32 - 1 at 25 MHz.
 * Watchdog  CMSDK: an interrupt (NMI) after half its time, which changes nothing, and a reset after the other half.
 * Hang      the bytes "HANG" on the force line put the main loop into an endless loop. No other port has such a thing.
 */
#include "port.h"

#include "core/hal.h"

#define REG(address) (*(volatile uint32_t *)(address))
#define CLOCK_HZ 25000000u
#define TIMER_CTRL REG(0x40000000u)
#define TIMER_VALUE REG(0x40000004u)
#define TIMER_RELOAD REG(0x40000008u)
#define WDOG_LOAD REG(0x40008000u)
#define WDOG_CONTROL REG(0x40008008u)
#define WDOG_INTCLR REG(0x4000800cu)
#define WDOG_LOCK REG(0x40008c00u)
#define SYST_CSR REG(0xe000e010u)
#define SYST_RVR REG(0xe000e014u)
#define SYST_CVR REG(0xe000e018u)
#define NVIC_ISER0 REG(0xe000e100u)
#define SCB_AIRCR REG(0xe000ed0cu)
#define TX_WAIT_MAX 10000u

struct uart { volatile uint32_t data, state, ctrl, irq, bauddiv; };
static struct uart *const UARTS[HAL_UART_COUNT] = {(struct uart *)0x40004000u, (struct uart *)0x40005000u, (struct uart *)0x40006000u};

#define RING 512u
static struct ring {
    uint8_t data[RING];
    volatile uint16_t head, tail;
    volatile uint32_t lost;
} rx[HAL_UART_COUNT];

#define SOFTWARE_MARK 0x50f7e5e7u
#define ALIVE_MARK 0xa11fe000u
__attribute__((section(".noinit"))) static uint32_t reset_mark, alive_mark, boot_count;
static enum hal_reset_cause cause;

void port_begin(void) {
    cause = alive_mark != ALIVE_MARK ? HAL_RESET_POWER : reset_mark == SOFTWARE_MARK ? HAL_RESET_SOFTWARE : HAL_RESET_WATCHDOG;
    alive_mark = ALIVE_MARK;
    reset_mark = 0;
    boot_count++;
    TIMER_RELOAD = 0xffffffffu;
    TIMER_VALUE = 0xffffffffu;
    TIMER_CTRL = 1u;
    for (unsigned port = 0; port < HAL_UART_COUNT; port++) {
        UARTS[port]->bauddiv = CLOCK_HZ / 1000000u;
        UARTS[port]->ctrl = 1u | 2u | 8u;
    }
    SYST_RVR = CLOCK_HZ / 1000u - 1u;
    SYST_CVR = 0;
    SYST_CSR = 7u;
    NVIC_ISER0 = (1u << 0) | (1u << 2) | (1u << 4);
    WDOG_LOCK = 0x1acce551u;
    WDOG_LOAD = CLOCK_HZ / 1000u * HAL_WATCHDOG_MS / 2u;
    WDOG_CONTROL = 3u;
    __asm volatile("cpsie i");
}

uint32_t hal_ticks(void) { return 0xffffffffu - TIMER_VALUE; }
uint32_t hal_tick_hz(void) { return CLOCK_HZ; }

static void receive(unsigned port) {
    struct ring *r = &rx[port];
    UARTS[port]->irq = 2u;
    if ((UARTS[port]->state & 2u) == 0) return;
    uint8_t byte = (uint8_t)UARTS[port]->data;
    if ((uint16_t)(r->head - r->tail) >= RING) {
        r->lost++;
        return;
    }
    r->data[r->head % RING] = byte;
    r->head++;
}

void port_rx0(void) { receive(0); }
void port_rx1(void) { receive(1); }
void port_rx2(void) { receive(2); }
void port_systick(void) {}
void port_nmi(void) {} /* the watchdog's warning */

int hal_uart_write(unsigned port, const uint8_t *data, size_t len) {
    if (port >= HAL_UART_COUNT) return -1;
    size_t done = 0;
    for (; done < len; done++) {
        for (uint32_t i = 0; i < TX_WAIT_MAX && (UARTS[port]->state & 1u); i++) {}
        if (UARTS[port]->state & 1u) break;
        UARTS[port]->data = data[done];
    }
    return (int)done;
}
size_t hal_uart_room(unsigned port) { return port < HAL_UART_COUNT ? RING : 0; }

size_t hal_uart_read(unsigned port, uint8_t *data, size_t cap) {
    static const uint8_t WORD[4] = {'H', 'A', 'N', 'G'};
    static unsigned spelt;
    struct ring *r = &rx[port];
    size_t got = 0;
    while (got < cap && r->tail != r->head) {
        data[got] = r->data[r->tail % RING];
        r->tail++;
        if (port == HAL_UART_FORCE) {
            spelt = data[got] == WORD[spelt] ? spelt + 1 : 0;
            while (spelt == sizeof WORD) {}
        }
        got++;
    }
    return got;
}

uint32_t hal_uart_lost(unsigned port) { return rx[port].lost; }
uint32_t hal_uart_baud(unsigned port) { return port == HAL_UART_FORCE ? 115200u : 1000000u; }

void hal_watchdog_kick(void) { WDOG_INTCLR = 1u; }

uint32_t hal_critical_enter(void) {
    uint32_t state;
    __asm volatile("mrs %0, primask\n cpsid i" : "=r"(state)::"memory");
    return state;
}
void hal_critical_exit(uint32_t state) { __asm volatile("msr primask, %0" ::"r"(state) : "memory"); }

enum hal_reset_cause hal_reset_cause(void) { return cause; }
void hal_reset(void) {
    reset_mark = SOFTWARE_MARK;
    __asm volatile("dsb");
    SCB_AIRCR = 0x05fa0004u;
    for (;;) {}
}
void port_fault(void) { hal_reset(); }
uint32_t hal_entropy(void) { return (boot_count * 2654435761u) ^ hal_ticks(); }

void port_wait(void) {
    uint32_t state = hal_critical_enter();
    bool idle = true;
    for (unsigned port = 0; port < HAL_UART_COUNT; port++) idle = idle && rx[port].head == rx[port].tail;
    if (idle) __asm volatile("wfi");
    hal_critical_exit(state);
}

uint32_t hal_flash_size(unsigned area) { (void)area; return 0; }
bool hal_flash_erase(unsigned area) { (void)area; return false; }
bool hal_flash_program(unsigned area, uint32_t at, const uint8_t *data, size_t len) { (void)area; (void)at; (void)data; (void)len; return false; }
bool hal_flash_read(unsigned area, uint32_t at, uint8_t *data, size_t len) { (void)area; (void)at; (void)data; (void)len; return false; }
unsigned hal_flash_running(void) { return HAL_FLASH_SLOT_A; }
