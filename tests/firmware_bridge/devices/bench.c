/* The smallest HAL on which the devices run: three serial lines and a clock, all in the hands of the test. */
#include <string.h>

#include "hal.h"

#define QUEUE 1024u

struct queue {
    size_t len;
    uint8_t data[QUEUE];
};

static struct {
    uint32_t ticks, hz;
    size_t room;
    struct queue rx[HAL_UART_COUNT], tx[HAL_UART_COUNT];
    uint32_t lost, calls;
} bench;

/* --- what the test calls ------------------------------------------------------------------------------------------- */

void bench_reset(uint32_t hz, uint32_t ticks)
{
    memset(&bench, 0, sizeof bench);
    bench.hz = hz;
    bench.ticks = ticks;
    bench.room = 256;
}

void bench_ticks(uint32_t ticks) { bench.ticks = ticks; }

void bench_room(size_t room) { bench.room = room; }

void bench_push(unsigned port, const uint8_t *data, size_t len)
{
    struct queue *q = &bench.rx[port];
    const size_t taken = len > QUEUE - q->len ? QUEUE - q->len : len;
    memcpy(q->data + q->len, data, taken);
    q->len += taken;
    bench.lost += (uint32_t)(len - taken);
}

static size_t take(struct queue *q, uint8_t *data, size_t cap)
{
    const size_t count = q->len < cap ? q->len : cap;
    memcpy(data, q->data, count);
    q->len -= count;
    memmove(q->data, q->data + count, q->len);
    return count;
}

size_t bench_take(unsigned port, uint8_t *data, size_t cap) { return take(&bench.tx[port], data, cap); }

/* Calls of the HAL's serial functions since the last question: work of a poll is bounded by it. */
uint32_t bench_calls(void)
{
    const uint32_t calls = bench.calls;
    bench.calls = 0;
    return calls;
}

/* --- what the devices call ----------------------------------------------------------------------------------------- */

int hal_uart_write(unsigned port, const uint8_t *data, size_t len)
{
    bench.calls++;
    if (port >= HAL_UART_COUNT) {
        return -1;
    }
    struct queue *q = &bench.tx[port];
    const size_t room = hal_uart_room(port);
    const size_t taken = len > room ? room : len;
    memcpy(q->data + q->len, data, taken);
    q->len += taken;
    return (int)taken;
}

size_t hal_uart_room(unsigned port)
{
    bench.calls++;
    const size_t left = QUEUE - bench.tx[port].len;
    return left < bench.room ? left : bench.room;
}

size_t hal_uart_read(unsigned port, uint8_t *data, size_t cap)
{
    bench.calls++;
    return take(&bench.rx[port], data, cap);
}

uint32_t hal_uart_lost(unsigned port)
{
    (void)port;
    return bench.lost;
}

uint32_t hal_uart_baud(unsigned port) { return port == HAL_UART_FORCE ? 115200u : 1000000u; }
uint32_t hal_ticks(void) { return bench.ticks; }
uint32_t hal_tick_hz(void) { return bench.hz; }
