/* STM32F405: a real Olimex STM32-H405 (8 MHz crystal) and QEMU's netduinoplus2, from one ELF.
 *
 * Lines     host  USART1  PA9 out, PA10 in      servo  USART2  PA2 out, PA3 in      force  USART3  PB10 out, PB11 in
 * Time      TIM2, 32 bits, 1 MHz on the board. QEMU's counts at 1 GHz / (PSC + 1), so its rate is measured at boot against SysTick.
 * Sending   the queue is emptied as far as the line takes it at once; the rest goes by interrupt. QEMU's line takes all at once and has no
 *           sending interrupt, so both work with the same code.
 * Emulator  QEMU has no RCC, GPIO, IWDG or flash controller behind their addresses: they read zero. Every wait here is counted, so a bit
 *           that never comes costs microseconds. RCC_CR cannot be zero on silicon (HSION); where it is, the clocks are taken as QEMU has them.
 */
#include "port.h"

#include <string.h>

#include "core/hal.h"

#define REG(address) (*(volatile uint32_t *)(address))
#define RCC_CR REG(0x40023800u)
#define RCC_PLLCFGR REG(0x40023804u)
#define RCC_CFGR REG(0x40023808u)
#define RCC_AHB1ENR REG(0x40023830u)
#define RCC_APB1ENR REG(0x40023840u)
#define RCC_APB2ENR REG(0x40023844u)
#define RCC_CSR REG(0x40023874u)
#define FLASH_ACR REG(0x40023c00u)
#define FLASH_KEYR REG(0x40023c04u)
#define FLASH_SR REG(0x40023c0cu)
#define FLASH_CR REG(0x40023c10u)
#define GPIOA 0x40020000u
#define GPIOB 0x40020400u
#define TIM2_CR1 REG(0x40000000u)
#define TIM2_EGR REG(0x40000014u)
#define TIM2_CNT REG(0x40000024u)
#define TIM2_PSC REG(0x40000028u)
#define TIM2_ARR REG(0x4000002cu)
#define IWDG_KR REG(0x40003000u)
#define IWDG_PR REG(0x40003004u)
#define IWDG_RLR REG(0x40003008u)
#define SYST_CSR REG(0xe000e010u)
#define SYST_RVR REG(0xe000e014u)
#define SYST_CVR REG(0xe000e018u)
#define NVIC_ISER1 REG(0xe000e104u)
#define SCB_AIRCR REG(0xe000ed0cu)
#define UNIQUE_ID 0x1fff7a10u

#define WAIT_MAX 200000u /* reads of a register; at 16 MHz about 50 ms */
#define USART_SR_RXNE (1u << 5)
#define USART_SR_TXE (1u << 7)
#define USART_CR1_RXNEIE (1u << 5)
#define USART_CR1_TXEIE (1u << 7)

struct usart { volatile uint32_t sr, dr, brr, cr1, cr2, cr3; };

/* Sizes: 5 ms of the host's line, ten turns of the main loop; 256 is what hal.h promises to devices. */
#define RX_HOST 512u
#define TX_HOST 512u
#define SMALL 256u
static uint8_t rx_host[RX_HOST], tx_host[TX_HOST], rx_servo[SMALL], tx_servo[SMALL], rx_force[SMALL], tx_force[SMALL];

/* One side writes head, the other tail, both count up and wrap: no lock. Sizes are powers of two. */
struct ring {
    uint8_t *data;
    uint16_t mask;
    volatile uint16_t head, tail;
};
static struct line {
    struct usart *usart;
    uint32_t baud;
    struct ring rx, tx;
    volatile uint32_t lost;
} lines[HAL_UART_COUNT] = {
    {(struct usart *)0x40011000u, 1000000u, {rx_host, RX_HOST - 1, 0, 0}, {tx_host, TX_HOST - 1, 0, 0}, 0},
    {(struct usart *)0x40004400u, 1000000u, {rx_servo, SMALL - 1, 0, 0}, {tx_servo, SMALL - 1, 0, 0}, 0},
    {(struct usart *)0x40004800u, 115200u, {rx_force, SMALL - 1, 0, 0}, {tx_force, SMALL - 1, 0, 0}, 0},
};

/* Survive a restart, not the loss of power. */
#define SOFTWARE_MARK 0x50f7e5e7u
__attribute__((section(".noinit"))) static uint32_t reset_mark, boot_count;

static uint32_t tick_hz;
static enum hal_reset_cause cause;
static bool silicon;

static bool wait_for(volatile uint32_t *reg, uint32_t mask, uint32_t value) {
    for (uint32_t i = 0; i < WAIT_MAX; i++)
        if ((*reg & mask) == value) return true;
    return false;
}

/* --- clocks --------------------------------------------------------------------------------------------------------- */

/* 168 MHz from the crystal, APB1 42 MHz, APB2 84 MHz; 16 MHz from the internal oscillator when the crystal does not start. */
static bool crystal(void) {
    if (!silicon) return true;
    RCC_CR |= 1u << 16;
    if (!wait_for(&RCC_CR, 1u << 17, 1u << 17)) return false;
    FLASH_ACR = 5u | (7u << 8); /* five wait states, prefetch, caches */
    RCC_PLLCFGR = 8u | (336u << 6) | (0u << 16) | (1u << 22) | (7u << 24);
    RCC_CR |= 1u << 24;
    if (!wait_for(&RCC_CR, 1u << 25, 1u << 25)) return false;
    RCC_CFGR = (5u << 10) | (4u << 13);
    RCC_CFGR |= 2u;
    return wait_for(&RCC_CFGR, 3u << 2, 2u << 2);
}

static void pin(uint32_t port, unsigned number) {
    volatile uint32_t *mode = &REG(port), *pull = &REG(port + 0x0cu), *alternate = &REG(port + 0x20u + 4u * (number / 8u));
    *alternate = (*alternate & ~(15u << (4u * (number % 8u)))) | (7u << (4u * (number % 8u)));
    *pull = (*pull & ~(3u << (2u * number))) | (1u << (2u * number)); /* up: an open line rests */
    *mode = (*mode & ~(3u << (2u * number))) | (2u << (2u * number));
}

static void open_line(struct line *line, uint32_t clock) {
    line->usart->brr = (clock + line->baud / 2u) / line->baud;
    line->usart->cr1 = (1u << 13) | (1u << 3) | (1u << 2) | USART_CR1_RXNEIE;
}

/* A cycle count and a tick that belong together: of eight pairs of looks the one with the least time around it, because an emulator's processor may be
 * put aside between two instructions. */
static void look(uint32_t *cycle, uint32_t *tick) {
    uint32_t least = 0xffffffffu;
    for (unsigned i = 0; i < 8; i++) {
        uint32_t before = SYST_CVR, at = TIM2_CNT, around = (before - SYST_CVR) & 0xffffffu;
        if (around < least) {
            least = around;
            *cycle = (before - around / 2u) & 0xffffffu;
            *tick = at;
        }
    }
}

/* The rate of TIM2, over 50 ms of processor cycles (SysTick wraps after 100 ms at 168 MHz). Interrupts are still off. */
static uint32_t measure(uint32_t clock) {
    const uint32_t span = clock / 20u;
    uint32_t cycle, tick, end_cycle, end_tick;
    SYST_RVR = 0xffffffu;
    SYST_CVR = 0;
    SYST_CSR = 5u;
    for (uint32_t i = 0; i < WAIT_MAX && SYST_CVR == 0; i++) {}
    look(&cycle, &tick);
    for (uint32_t i = 0; i < 100u * WAIT_MAX && ((cycle - SYST_CVR) & 0xffffffu) < span; i++) {}
    look(&end_cycle, &end_tick);
    SYST_CSR = 0;
    uint32_t passed = (cycle - end_cycle) & 0xffffffu;
    return passed == 0 ? 1000000u : (uint32_t)((uint64_t)(end_tick - tick) * clock / passed);
}

void port_begin(void) {
    silicon = RCC_CR != 0;
    uint32_t flags = RCC_CSR;
    if (reset_mark == SOFTWARE_MARK)
        cause = HAL_RESET_SOFTWARE;
    else if (flags & (1u << 29))
        cause = HAL_RESET_WATCHDOG;
    else
        cause = HAL_RESET_POWER;
    reset_mark = 0;
    RCC_CSR = flags | (1u << 24);

    bool fast = crystal();
    uint32_t cpu = fast ? 168000000u : 16000000u;
    RCC_AHB1ENR |= 3u;
    RCC_APB1ENR |= 1u | (1u << 17) | (1u << 18);
    RCC_APB2ENR |= 1u << 4;
    pin(GPIOA, 9);
    pin(GPIOA, 10);
    pin(GPIOA, 2);
    pin(GPIOA, 3);
    pin(GPIOB, 10);
    pin(GPIOB, 11);
    TIM2_PSC = (fast ? 84u : 16u) - 1u;
    TIM2_ARR = 0xffffffffu;
    TIM2_EGR = 1u;
    TIM2_CR1 = 1u;
    tick_hz = measure(cpu);
    open_line(&lines[HAL_UART_HOST], fast ? 84000000u : cpu);
    open_line(&lines[HAL_UART_SERVO], fast ? 42000000u : cpu);
    open_line(&lines[HAL_UART_FORCE], fast ? 42000000u : cpu);
    boot_count++;
    SYST_RVR = cpu / 1000u - 1u;
    SYST_CVR = 0;
    SYST_CSR = 7u; /* 1 kHz, only to wake port_wait */
    NVIC_ISER1 = (1u << 5) | (1u << 6) | (1u << 7);
    IWDG_KR = 0x5555u; /* 32 kHz / 16; the oscillator may be 17 to 47 kHz, so 200 ms are 136 to 376 */
    IWDG_PR = 2u;
    IWDG_RLR = HAL_WATCHDOG_MS * 2u;
    IWDG_KR = 0xccccu;
    __asm volatile("cpsie i");
}

uint32_t hal_ticks(void) { return TIM2_CNT; }
uint32_t hal_tick_hz(void) { return tick_hz; }

/* --- lines ---------------------------------------------------------------------------------------------------------- */

static void receive(struct line *line) {
    uint32_t status = line->usart->sr;
    if ((status & (USART_SR_RXNE | 15u)) == 0) return;
    uint8_t byte = (uint8_t)line->usart->dr; /* after sr, this clears the error bits too */
    if (status & 15u) line->lost++; /* parity, framing, noise, overrun */
    if ((status & USART_SR_RXNE) == 0) return;
    if ((uint16_t)(line->rx.head - line->rx.tail) > line->rx.mask) {
        line->lost++;
        return;
    }
    line->rx.data[line->rx.head & line->rx.mask] = byte;
    line->rx.head++;
}

static void pump(struct line *line) {
    while (line->tx.head != line->tx.tail && (line->usart->sr & USART_SR_TXE)) {
        line->usart->dr = line->tx.data[line->tx.tail & line->tx.mask];
        line->tx.tail++;
    }
    uint32_t others = line->usart->cr1 & ~USART_CR1_TXEIE;
    line->usart->cr1 = line->tx.head != line->tx.tail ? others | USART_CR1_TXEIE : others;
}

static void serve(struct line *line) {
    receive(line);
    if (line->usart->cr1 & USART_CR1_TXEIE) pump(line);
}

void port_usart1(void) { serve(&lines[0]); }
void port_usart2(void) { serve(&lines[1]); }
void port_usart3(void) { serve(&lines[2]); }
void port_systick(void) {}

int hal_uart_write(unsigned port, const uint8_t *data, size_t len) {
    if (port >= HAL_UART_COUNT) return -1;
    struct line *line = &lines[port];
    size_t room = hal_uart_room(port), take = len < room ? len : room;
    for (size_t i = 0; i < take; i++) {
        line->tx.data[line->tx.head & line->tx.mask] = data[i];
        line->tx.head++;
    }
    uint32_t state = hal_critical_enter();
    pump(line);
    hal_critical_exit(state);
    return (int)take;
}

size_t hal_uart_room(unsigned port) {
    const struct ring *tx = &lines[port].tx;
    return (size_t)tx->mask + 1u - (uint16_t)(tx->head - tx->tail);
}

size_t hal_uart_read(unsigned port, uint8_t *data, size_t cap) {
    struct ring *rx = &lines[port].rx;
    size_t got = 0;
    while (got < cap && rx->tail != rx->head) {
        data[got++] = rx->data[rx->tail & rx->mask];
        rx->tail++;
    }
    return got;
}

uint32_t hal_uart_lost(unsigned port) { return lines[port].lost; }
uint32_t hal_uart_baud(unsigned port) { return lines[port].baud; }

/* --- processor ------------------------------------------------------------------------------------------------------ */

void hal_watchdog_kick(void) { IWDG_KR = 0xaaaau; }

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
    for (;;) {} /* the reset comes within cycles, or the watchdog */
}

void port_fault(void) { hal_reset(); }

uint32_t hal_entropy(void) {
    uint32_t mix = boot_count * 2654435761u ^ TIM2_CNT;
    for (unsigned i = 0; silicon && i < 3; i++) mix = (mix ^ REG(UNIQUE_ID + 4u * i)) * 16777619u;
    mix ^= mix >> 15;
    mix *= 0x2c1b3c6du;
    return mix ^ (mix >> 13);
}

void port_wait(void) {
    uint32_t state = hal_critical_enter(); /* a byte between the look and the sleep still wakes: WFI ends for masked interrupts too */
    bool idle = true;
    for (unsigned port = 0; port < HAL_UART_COUNT; port++) idle = idle && lines[port].rx.head == lines[port].rx.tail;
    if (idle) __asm volatile("wfi");
    hal_critical_exit(state);
}
