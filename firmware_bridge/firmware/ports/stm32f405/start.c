/* Vector table and start-up. Every vector that is not used leads to port_fault, which restarts: a firmware that hangs is stopped by its
 * watchdog, one that faults need not wait for it. */
#include <stdint.h>

#include "port.h"

extern uint32_t _stack_end, _data, _data_end, _data_load, _bss, _bss_end;

#ifndef VECTORS_ONLY_CORE
#define IRQS 40
#else
#define IRQS 0
#endif

typedef void (*vector)(void);

__attribute__((section(".vectors"), used)) static const struct {
    uint32_t *stack;
    vector core[15];
    vector irq[IRQS];
} VECTORS = {
    &_stack_end,
    {port_reset_handler, port_fault, port_fault, port_fault, port_fault, port_fault, 0, 0, 0, 0, port_fault, port_fault, 0, port_fault, port_systick},
    {[0 ... 36] = port_fault, [37] = port_usart1, [38] = port_usart2, [39] = port_usart3},
};

void port_reset_handler(void) {
    for (uint32_t *from = &_data_load, *to = &_data; to < &_data_end;) *to++ = *from++;
    for (uint32_t *to = &_bss; to < &_bss_end;) *to++ = 0;
    port_begin();
    main();
    port_fault();
}
