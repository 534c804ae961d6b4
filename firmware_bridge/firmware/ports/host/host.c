#include "host.h"

#include <setjmp.h>

#include "core/boot.h"

#define RING 4096u
#define SLOT_BYTES 16384u
#define PAGE_BYTES 256u

uint32_t host_version = 1;

static struct session session;
static uint32_t ticks, turn_at, kicked_at, seed_now;
static enum hal_reset_cause cause_now;
static bool reset_asked, running;
static unsigned slot_now;

static struct ring {
    uint8_t data[RING];
    uint32_t head, tail;
} rx[HAL_UART_COUNT], tx[HAL_UART_COUNT];
static uint32_t lost[HAL_UART_COUNT];

static bool flash_on;
static uint8_t slots[2][SLOT_BYTES], pages[2][PAGE_BYTES];
static int64_t cut_after = -1, operations;
static bool was_cut;
static jmp_buf dark;
static bool lights; /* dark may be jumped to */

/* --- serial -------------------------------------------------------------------------------------------------------- */

static uint32_t ring_put(struct ring *r, const uint8_t *data, uint32_t len) {
    uint32_t done = 0;
    while (done < len && r->head - r->tail < RING) r->data[r->head++ % RING] = data[done++];
    return done;
}

static uint32_t ring_get(struct ring *r, uint8_t *data, uint32_t cap) {
    uint32_t done = 0;
    while (done < cap && r->head != r->tail) data[done++] = r->data[r->tail++ % RING];
    return done;
}

int hal_uart_write(unsigned port, const uint8_t *data, size_t len) {
    return port < HAL_UART_COUNT ? (int)ring_put(&tx[port], data, (uint32_t)len) : -1;
}
size_t hal_uart_room(unsigned port) { return RING - (tx[port].head - tx[port].tail); }
size_t hal_uart_read(unsigned port, uint8_t *data, size_t cap) { return ring_get(&rx[port], data, (uint32_t)cap); }
uint32_t hal_uart_lost(unsigned port) { return lost[port]; }
uint32_t hal_uart_baud(unsigned port) { return port == HAL_UART_FORCE ? 115200u : 1000000u; }

int host_feed(unsigned port, const uint8_t *data, uint32_t len) {
    uint32_t took = ring_put(&rx[port], data, len);
    lost[port] += len - took;
    return (int)took;
}
uint32_t host_take(unsigned port, uint8_t *data, uint32_t cap) { return ring_get(&tx[port], data, cap); }

/* --- time, resets -------------------------------------------------------------------------------------------------- */

uint32_t hal_ticks(void) { return ticks; }
uint32_t hal_tick_hz(void) { return HOST_TICK_HZ; }
void hal_watchdog_kick(void) { kicked_at = ticks; }
uint32_t hal_critical_enter(void) { return 0; }
void hal_critical_exit(uint32_t state) { (void)state; }
enum hal_reset_cause hal_reset_cause(void) { return cause_now; }
void hal_reset(void) { reset_asked = true; }
uint32_t hal_entropy(void) { return seed_now; }

static int start(enum hal_reset_cause cause) {
    cause_now = cause;
    reset_asked = false;
    running = false;
    seed_now = seed_now * 1664525u + 1013904223u;
    memset(rx, 0, sizeof rx);
    memset(tx, 0, sizeof tx);
    host_devices_init();
    slot_now = HAL_FLASH_SLOT_A;
    if (flash_on) {
        uint8_t raw[IMAGE_HEADER_BYTES];
        struct image_header h;
        lights = true;
        if (setjmp(dark) != 0) return -1; /* the power went while booting */
        slot_now = boot_choose();
        lights = false;
        if (slot_now == BOOT_NO_SLOT) return -1;
        memcpy(raw, slots[slot_now], sizeof raw);
        if (!image_header_read(&h, raw)) return -1;
        host_version = h.version;
    }
    kicked_at = turn_at = ticks;
    session_init(&session, seed_now | 1u, cause == HAL_RESET_WATCHDOG ? CAUSE_WATCHDOG : CAUSE_BOOT);
    running = true;
    return (int)slot_now;
}

int host_power_on(uint32_t seed) {
    seed_now = seed;
    was_cut = false;
    return start(HAL_RESET_POWER);
}

void host_set_ticks(uint32_t now) { ticks = turn_at = kicked_at = now; }
uint32_t host_now(void) { return ticks; }
const struct session *host_session(void) { return &session; }
int host_state(void) { return running ? (int)session.safety.state : -1; }

void host_advance(uint32_t span) {
    uint32_t end = ticks + span;
    while (running && end - turn_at < 0x80000000u) {
        ticks = turn_at;
        lights = true;
        if (setjmp(dark) != 0) { /* the power went */
            running = false;
            break;
        }
        session_turn(&session);
        lights = false;
        turn_at += HOST_TURN_TICKS;
        if (reset_asked) start(HAL_RESET_SOFTWARE);
    }
    ticks = end;
    if (!running) turn_at = end;
}

void host_hang(uint32_t span) {
    ticks += span;
    turn_at = ticks;
    if (ticks - kicked_at > HAL_WATCHDOG_MS * (HOST_TICK_HZ / 1000u)) start(HAL_RESET_WATCHDOG);
}

/* --- flash --------------------------------------------------------------------------------------------------------- */

static uint8_t *area_bytes(unsigned area) { return area < 2 ? slots[area] : pages[area - 2]; }

uint32_t hal_flash_size(unsigned area) { return !flash_on || area >= HAL_FLASH_AREAS ? 0 : area < 2 ? SLOT_BYTES : PAGE_BYTES; }
unsigned hal_flash_running(void) { return slot_now; }

/* One unit of work on the flash; the power may go in the middle of it, which leaves the unit half done. */
static bool power_goes(void) {
    operations++;
    if (cut_after < 0 || cut_after-- > 0) return false;
    cut_after = -1;
    was_cut = true;
    return true;
}

static void darkness(void) {
    if (lights) {
        lights = false;
        longjmp(dark, 1);
    }
}

bool hal_flash_erase(unsigned area) {
    uint32_t size = hal_flash_size(area);
    for (uint32_t at = 0; at < size; at += 64) {
        if (power_goes()) { /* half erased: some bits are up already */
            for (uint32_t i = 0; i < 64; i++) area_bytes(area)[at + i] |= (uint8_t)(0x5au ^ i);
            darkness();
        }
        memset(area_bytes(area) + at, 0xff, 64);
    }
    return size > 0;
}

bool hal_flash_program(unsigned area, uint32_t at, const uint8_t *data, size_t len) {
    if (at % HAL_FLASH_WORD != 0 || len % HAL_FLASH_WORD != 0 || at + len > hal_flash_size(area)) return false;
    for (size_t i = 0; i < len; i += HAL_FLASH_WORD) {
        uint8_t *to = area_bytes(area) + at + i;
        bool cut = power_goes();
        for (size_t j = 0; j < (cut ? HAL_FLASH_WORD / 2 : HAL_FLASH_WORD); j++) to[j] &= data[i + j];
        if (cut) darkness();
        if (memcmp(to, data + i, HAL_FLASH_WORD) != 0) return false;
    }
    return true;
}

bool hal_flash_read(unsigned area, uint32_t at, uint8_t *data, size_t len) {
    if (at + len > hal_flash_size(area)) return false;
    memcpy(data, area_bytes(area) + at, len);
    return true;
}

void host_flash_format(int on) {
    flash_on = on != 0;
    memset(slots, 0xff, sizeof slots);
    memset(pages, 0xff, sizeof pages);
}
void host_flash_cut_after(int64_t count) { cut_after = count; }
int host_flash_was_cut(void) { return was_cut; }
int64_t host_flash_operations(void) { return operations; }
void host_flash_write(unsigned area, uint32_t at, const uint8_t *data, uint32_t len) { memcpy(area_bytes(area) + at, data, len); }
uint32_t host_flash_peek(unsigned area, uint32_t at, uint8_t *data, uint32_t len) { return hal_flash_read(area, at, data, len) ? len : 0; }
int host_check_image(unsigned slot) { return image_whole(slot); }

void host_counters(uint32_t out[7]) {
    const struct safety *f = &session.safety;
    const uint32_t values[7] = {f->late, f->future, f->range, f->wrong_state, f->stale, f->accepted, f->executed};
    memcpy(out, values, sizeof values);
}

int host_expected(void) { return session.expected; }
