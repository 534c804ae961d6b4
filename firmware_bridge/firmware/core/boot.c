#include "boot.h"

#include <string.h>

#include "hal.h"
#include "image.h"
#include "wire.h"

#define MARK 0x4a42u /* "BJ" */

static bool record_at(unsigned page, uint32_t at, struct boot_record *r) {
    uint8_t raw[BOOT_RECORD];
    if (!hal_flash_read(page, at, raw, sizeof raw)) return false;
    if (msg_get(raw, 2) != MARK || msg_get(raw + 12, 4) != crc32_ieee(0xffffffffu, raw, 12)) return false;
    r->action = raw[2];
    r->slot = raw[3];
    r->number = (uint32_t)msg_get(raw + 4, 4);
    return r->action >= BOOT_KEEP && r->action <= BOOT_TRYING && r->slot <= 1;
}

/* The newest record of both pages and where the page that holds it goes on: the first place with all bytes erased. */
static bool scan(struct boot_record *newest, unsigned *page, uint32_t *next) {
    bool found = false;
    *page = HAL_FLASH_JOURNAL_0;
    for (unsigned p = HAL_FLASH_JOURNAL_0; p <= HAL_FLASH_JOURNAL_1; p++) {
        for (uint32_t at = 0; at + BOOT_RECORD <= hal_flash_size(p); at += BOOT_RECORD) {
            struct boot_record r;
            if (record_at(p, at, &r) && (!found || (int32_t)(r.number - newest->number) > 0)) {
                *newest = r;
                *page = p;
                found = true;
            }
        }
    }
    uint32_t end = hal_flash_size(*page);
    for (*next = end; *next >= BOOT_RECORD; *next -= BOOT_RECORD) { /* back over what is erased: a torn record is never written on */
        uint8_t raw[BOOT_RECORD];
        hal_flash_read(*page, *next - BOOT_RECORD, raw, sizeof raw);
        unsigned ones = 0;
        for (unsigned i = 0; i < BOOT_RECORD; i++) ones += raw[i] == 0xffu;
        if (ones != BOOT_RECORD) break;
    }
    return found;
}

bool boot_newest(struct boot_record *r) {
    unsigned page;
    uint32_t next;
    return hal_flash_size(HAL_FLASH_JOURNAL_0) > 0 && scan(r, &page, &next);
}

bool boot_write(enum boot_action action, unsigned slot) {
    struct boot_record newest = {0, 0, 0};
    unsigned page;
    uint32_t next;
    scan(&newest, &page, &next);
    if (next + BOOT_RECORD > hal_flash_size(page)) {
        page = page == HAL_FLASH_JOURNAL_0 ? HAL_FLASH_JOURNAL_1 : HAL_FLASH_JOURNAL_0;
        next = 0;
        if (!hal_flash_erase(page)) return false;
    }
    uint8_t raw[BOOT_RECORD];
    memset(raw, 0, sizeof raw);
    msg_put(raw, MARK, 2);
    raw[2] = (uint8_t)action;
    raw[3] = (uint8_t)slot;
    msg_put(raw + 4, newest.number + 1, 4);
    msg_put(raw + 12, crc32_ieee(0xffffffffu, raw, 12), 4);
    return hal_flash_program(page, next, raw, sizeof raw);
}

static unsigned other(unsigned slot) { return slot == HAL_FLASH_SLOT_A ? HAL_FLASH_SLOT_B : HAL_FLASH_SLOT_A; }

static unsigned keep(unsigned slot) {
    if (image_whole(slot)) return slot;
    if (!image_whole(other(slot))) return BOOT_NO_SLOT;
    boot_write(BOOT_KEEP, other(slot));
    return other(slot);
}

unsigned boot_choose(void) {
    struct boot_record r;
    if (!boot_newest(&r)) return image_whole(HAL_FLASH_SLOT_A) ? HAL_FLASH_SLOT_A : image_whole(HAL_FLASH_SLOT_B) ? HAL_FLASH_SLOT_B : BOOT_NO_SLOT;
    if (r.action == BOOT_KEEP) return keep(r.slot);
    if (r.action == BOOT_TRY && boot_write(BOOT_TRYING, r.slot) && image_whole(r.slot)) return r.slot;
    /* It was started once and did not confirm itself, or cannot start: back. Should the old one be gone, the new one is still better than none. */
    if (image_whole(other(r.slot))) {
        boot_write(BOOT_KEEP, other(r.slot));
        return other(r.slot);
    }
    return image_whole(r.slot) ? r.slot : BOOT_NO_SLOT;
}
