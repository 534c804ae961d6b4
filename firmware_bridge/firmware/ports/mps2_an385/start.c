/* Vector table and start-up. */
#include <stdint.h>

#include "port.h"

extern uint32_t _stack_end, _data, _data_end, _data_load, _bss, _bss_end;
typedef void (*vector)(void);

__attribute__((section(".vectors"), used)) static const struct {
    uint32_t *stack;
    vector core[15];
    vector irq[6];
} VECTORS = {
    &_stack_end,
    {port_reset_handler, port_nmi, port_fault, port_fault, port_fault, port_fault, 0, 0, 0, 0, port_fault, port_fault, 0, port_fault, port_systick},
    {port_rx0, port_fault, port_rx1, port_fault, port_rx2, port_fault},
};

void port_reset_handler(void) {
    for (uint32_t *from = &_data_load, *to = &_data; to < &_data_end;) *to++ = *from++;
    for (uint32_t *to = &_bss; to < &_bss_end;) *to++ = 0;
    port_begin();
    main();
    port_fault();
}
