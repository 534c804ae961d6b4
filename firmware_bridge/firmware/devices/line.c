#include "line.h"

#include <string.h>

#include "hal.h"

uint32_t line_ticks(uint32_t us)
{
    const uint32_t ticks = hal_tick_hz() / 1000u * us / 1000u; /* 2e5 x 2e4 = 4e9 still fits */
    return ticks == 0u ? 1u : ticks;
}

void line_init(struct line *line, unsigned port, uint32_t timeout_us, uint32_t quiet_us)
{
    memset(line, 0, sizeof *line);
    line->port = port;
    line->state = LINE_IDLE;
    line->timeout = line_ticks(timeout_us);
    line->quiet = line_ticks(quiet_us);
    line->chatter = line_ticks(LINE_CHATTER_US);
}

/* Throw away what came; returns whether anything did. */
static bool discard(struct line *line)
{
    uint8_t scrap[32];
    bool any = false;
    for (unsigned i = 0; i < LINE_READS_MAX; i++) {
        const size_t count = hal_uart_read(line->port, scrap, sizeof scrap);
        if (count == 0u) {
            break;
        }
        line->stray += (uint32_t)count;
        any = true;
    }
    return any;
}

static void enter(struct line *line, enum line_state state, uint32_t now)
{
    line->state = state;
    line->since = now;
    line->heard = now;
}

bool line_ask(struct line *line, const uint8_t *question, size_t len)
{
    if (line->state != LINE_IDLE || len == 0u || len > LINE_TX_MAX) {
        return false;
    }
    (void)discard(line);
    memcpy(line->tx, question, len);
    line->tx_len = len;
    line->rx_len = 0;
    enter(line, LINE_SENDING, hal_ticks());
    return true;
}

/* Take what came into rx; returns whether anything did. The queue of the port keeps what finds no room. */
static bool collect(struct line *line, uint32_t now)
{
    bool any = false;
    for (unsigned i = 0; i < LINE_READS_MAX && line->rx_len < LINE_RX_MAX; i++) {
        const size_t count = hal_uart_read(line->port, line->rx + line->rx_len, LINE_RX_MAX - line->rx_len);
        if (count == 0u) {
            break;
        }
        if (line->rx_len == 0u) {
            line->first = now;
        }
        line->rx_len += count;
        line->heard = now;
        any = true;
    }
    return any;
}

enum line_event line_poll(struct line *line)
{
    const uint32_t now = hal_ticks();
    enum line_event event = LINE_NOTHING;
    switch (line->state) {
    case LINE_IDLE:
        break;
    case LINE_SENDING:
        if (hal_uart_room(line->port) >= line->tx_len && hal_uart_write(line->port, line->tx, line->tx_len) == (int)line->tx_len) {
            line->state = LINE_WAITING; /* `since` stays: one time-out for the whole transaction */
        } else if (now - line->since >= line->timeout) {
            enter(line, LINE_SETTLING, now);
            event = LINE_LATE;
        }
        break;
    case LINE_WAITING: {
        const bool came = collect(line, now);
        if (now - line->since >= line->timeout) {
            enter(line, LINE_SETTLING, now);
            event = LINE_LATE;
        } else if (came) {
            event = LINE_BYTES;
        }
        break;
    }
    case LINE_SETTLING:
    default:
        if (discard(line)) {
            line->heard = now;
        }
        if (now - line->heard >= line->quiet || now - line->since >= line->chatter) {
            enter(line, LINE_IDLE, now);
        }
        break;
    }
    return event;
}

void line_drop(struct line *line, size_t count)
{
    if (count >= line->rx_len) {
        line->rx_len = 0;
        return;
    }
    line->rx_len -= count;
    memmove(line->rx, line->rx + count, line->rx_len);
}

void line_answered(struct line *line)
{
    enter(line, LINE_SETTLING, hal_ticks());
    line->stray += (uint32_t)line->rx_len;
    line->rx_len = 0;
}
