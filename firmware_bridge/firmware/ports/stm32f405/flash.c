/* The STM32F405's flash: sectors 1 and 2 (16 KB) are the journal, 5 and 6 (128 KB) the slots. Reference manual RM0090, chapter 3.
 *
 * The processor stands still while flash is erased (up to 0.5 s for 16 KB, 2 s for 128 KB): nothing moves then (an update begins with a stop), and the
 * watchdog is given that long and taken back. QEMU has no such controller: writes there change nothing, so the check after them fails.
 */
#include <string.h>

#include "core/hal.h"

#define REG(address) (*(volatile uint32_t *)(address))
#define FLASH_KEYR REG(0x40023c04u)
#define FLASH_SR REG(0x40023c0cu)
#define FLASH_CR REG(0x40023c10u)
#define IWDG_KR REG(0x40003000u)
#define IWDG_RLR REG(0x40003008u)
#define BUSY (1u << 16)
#define ERRORS 0xf2u
#define WAIT_MAX 400000000u / 8u /* loops; above 2 s at 168 MHz */

static const struct { uint32_t at, size, sector; } AREAS[HAL_FLASH_AREAS] = {
    {0x08020000u, 0x20000u, 5}, {0x08040000u, 0x20000u, 6}, {0x08004000u, 0x4000u, 1}, {0x08008000u, 0x4000u, 2}};

uint32_t hal_flash_size(unsigned area) { return area < HAL_FLASH_AREAS ? AREAS[area].size : 0; }

unsigned hal_flash_running(void) {
    uint32_t here = (uint32_t)&hal_flash_running;
    return here >= AREAS[HAL_FLASH_SLOT_B].at ? HAL_FLASH_SLOT_B : HAL_FLASH_SLOT_A;
}

static bool ready(void) {
    for (uint32_t i = 0; i < WAIT_MAX; i++)
        if ((FLASH_SR & BUSY) == 0) return (FLASH_SR & ERRORS) == 0;
    return false;
}

static void watchdog(uint32_t ms) {
    IWDG_KR = 0x5555u;
    IWDG_RLR = ms * 2u < 0xfffu ? ms * 2u : 0xfffu;
    IWDG_KR = 0xaaaau;
}

static void unlock(void) {
    FLASH_KEYR = 0x45670123u;
    FLASH_KEYR = 0xcdef89abu;
    FLASH_SR = ERRORS | 1u;
}

static bool reads(const uint8_t *at, const uint8_t *data, size_t len) {
    for (size_t i = 0; i < len; i++)
        if (at[i] != (data ? data[i] : 0xffu)) return false;
    return true;
}

bool hal_flash_erase(unsigned area) {
    if (area >= HAL_FLASH_AREAS) return false;
    watchdog(2047);
    unlock();
    FLASH_CR = (2u << 8) | (AREAS[area].sector << 3) | 2u;
    FLASH_CR |= 1u << 16;
    bool done = ready();
    FLASH_CR = 1u << 31;
    bool clean = done && reads((const uint8_t *)AREAS[area].at, NULL, AREAS[area].size);
    watchdog(HAL_WATCHDOG_MS);
    return clean;
}

bool hal_flash_program(unsigned area, uint32_t at, const uint8_t *data, size_t len) {
    if (area >= HAL_FLASH_AREAS || at % HAL_FLASH_WORD != 0 || len % HAL_FLASH_WORD != 0 || at + len > AREAS[area].size) return false;
    volatile uint32_t *to = (volatile uint32_t *)(AREAS[area].at + at);
    bool done = true;
    unlock();
    FLASH_CR = (2u << 8) | 1u;
    for (size_t i = 0; i < len && done; i += 4) {
        uint32_t word;
        memcpy(&word, data + i, 4);
        *to++ = word;
        done = ready();
    }
    FLASH_CR = 1u << 31;
    return done && reads((const uint8_t *)AREAS[area].at + at, data, len);
}

bool hal_flash_read(unsigned area, uint32_t at, uint8_t *data, size_t len) {
    if (area >= HAL_FLASH_AREAS || at + len > AREAS[area].size) return false;
    memcpy(data, (const uint8_t *)AREAS[area].at + at, len);
    return true;
}
