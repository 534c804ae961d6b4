/* Answers every byte of the host line: what the line itself can do, for the figures of the link to be held against. */
#include "core/hal.h"
#include "port.h"

int main(void) {
    uint8_t bytes[64];
    for (;;) {
        size_t room = hal_uart_room(HAL_UART_HOST);
        size_t got = hal_uart_read(HAL_UART_HOST, bytes, room < sizeof bytes ? room : sizeof bytes);
        hal_uart_write(HAL_UART_HOST, bytes, got);
        hal_watchdog_kick();
        port_wait();
    }
}
