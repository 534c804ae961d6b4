/* The loader in sector 0: choose a slot by the journal and jump into it. It touches no hardware but flash and the watchdog, and is never
 * written over the link. No whole image at all: wait there, where a probe finds it. */
#include "core/boot.h"
#include "core/hal.h"
#include "core/image.h"

extern uint32_t _stack_end;
void loader_entry(void);

__attribute__((section(".vectors"), used)) static const struct {
    uint32_t *stack;
    void (*entry)(void);
} VECTORS = {&_stack_end, loader_entry};

void hal_watchdog_kick(void) { *(volatile uint32_t *)0x40003000u = 0xaaaau; }

void loader_entry(void) { /* no .data, no .bss: the linker script refuses them */
    unsigned slot = boot_choose();
    for (;;) {
        if (slot == BOOT_NO_SLOT) continue;
        uint32_t base = (slot == HAL_FLASH_SLOT_B ? 0x08040000u : 0x08020000u) + IMAGE_CODE_AT;
        const uint32_t *vectors = (const uint32_t *)base;
        *(volatile uint32_t *)0xe000ed08u = base;
        __asm volatile("dsb\n msr msp, %0\n bx %1" ::"r"(vectors[0]), "r"(vectors[1]) : "memory");
    }
}
