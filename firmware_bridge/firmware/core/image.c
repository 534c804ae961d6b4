#include "image.h"

#include <string.h>

#include "boot.h"
#include "build.h"
#include "ed25519.h"
#include "hal.h"
#include "sha2.h"
#include "wire.h"

static const uint8_t KEY[32] = BUILD_KEY;

static unsigned other_slot(void) { return hal_flash_running() == HAL_FLASH_SLOT_A ? HAL_FLASH_SLOT_B : HAL_FLASH_SLOT_A; }

static uint8_t refuse(struct image_update *u, enum image why, uint32_t *detail) {
    u->busy = false;
    *detail = (uint32_t)why;
    return STATUS_IMAGE;
}

void image_init(struct image_update *u) { memset(u, 0, sizeof *u); }

bool image_busy(const struct image_update *u) { return u->busy; }

bool image_header_read(struct image_header *h, const uint8_t raw[IMAGE_HEADER_BYTES]) {
    if (memcmp(raw, "INVF\x01", 5) != 0) return false;
    h->target = raw[5];
    h->slot = raw[6];
    h->version = (uint32_t)msg_get(raw + 8, 4);
    h->size = (uint32_t)msg_get(raw + 12, 4);
    h->crc = (uint32_t)msg_get(raw + 16, 4);
    memcpy(h->sha, raw + 20, sizeof h->sha);
    return true;
}

/* CRC-32, and SHA-256 where sha is given, of the code in a slot. Bounded by the slot's size; the watchdog is kicked on the way because
 * nothing moves while an image is checked. */
static bool digest(unsigned slot, uint32_t size, uint32_t *crc, uint8_t *sha) {
    struct sha256 hash;
    uint8_t piece[64];
    uint32_t state = 0xffffffffu;
    if (size == 0 || size > hal_flash_size(slot) - IMAGE_CODE_AT) return false;
    if (sha) sha256_init(&hash);
    for (uint32_t at = 0; at < size; at += sizeof piece) {
        uint32_t len = size - at < sizeof piece ? size - at : (uint32_t)sizeof piece;
        if (!hal_flash_read(slot, IMAGE_CODE_AT + at, piece, len)) return false;
        state = ~crc32_ieee(state, piece, len);
        if (sha) sha256_feed(&hash, piece, len);
        hal_watchdog_kick();
    }
    *crc = ~state;
    if (sha) sha256_done(&hash, sha);
    return true;
}

bool image_whole(unsigned slot) {
    uint8_t raw[IMAGE_HEADER_BYTES];
    struct image_header h;
    uint32_t crc;
    return hal_flash_size(slot) > IMAGE_CODE_AT && hal_flash_read(slot, 0, raw, sizeof raw) && image_header_read(&h, raw) &&
           digest(slot, h.size, &crc, NULL) && crc == h.crc;
}

uint8_t image_begin(struct image_update *u, uint32_t size, uint32_t *detail) {
    struct boot_record r;
    unsigned running = hal_flash_running();
    if (hal_flash_size(HAL_FLASH_SLOT_A) == 0) return STATUS_UNSUPPORTED;
    bool known = boot_newest(&r);
    if (known && r.action == BOOT_TRYING) return refuse(u, IMAGE_ORDER, detail); /* the other slot is the way back: confirm first */
    if (size <= IMAGE_CODE_AT || size > hal_flash_size(other_slot())) return refuse(u, IMAGE_SIZE, detail);
    if (!known || r.action != BOOT_KEEP || r.slot != running)
        if (!boot_write(BOOT_KEEP, running)) return refuse(u, IMAGE_FLASH, detail);
    if (!hal_flash_erase(other_slot())) return refuse(u, IMAGE_FLASH, detail);
    *u = (struct image_update){.busy = true, .size = size};
    return STATUS_OK;
}

static bool put(struct image_update *u, uint8_t byte) {
    u->pending[u->pended++] = byte;
    if (u->pended < HAL_FLASH_WORD) return true;
    u->pended = 0;
    return hal_flash_program(other_slot(), u->at - HAL_FLASH_WORD, u->pending, HAL_FLASH_WORD);
}

uint8_t image_data(struct image_update *u, uint32_t offset, const uint8_t *data, uint8_t length, uint32_t *detail) {
    if (!u->busy || offset != u->at) return refuse(u, IMAGE_ORDER, detail);
    if (length == 0 || length > 128u || length > u->size - u->at) return refuse(u, IMAGE_SIZE, detail);
    for (unsigned i = 0; i < length; i++) {
        u->at++;
        if (!put(u, data[i])) return refuse(u, IMAGE_FLASH, detail);
    }
    return STATUS_OK;
}

uint8_t image_end(struct image_update *u, uint32_t *detail) {
    uint8_t raw[IMAGE_HEADER_BYTES + IMAGE_SIGNATURE_BYTES], sha[32];
    struct image_header h;
    uint32_t crc;
    unsigned slot = other_slot();
    if (!u->busy || u->at != u->size) return refuse(u, u->busy ? IMAGE_SIZE : IMAGE_ORDER, detail);
    uint32_t end = u->at;
    while (u->pended > 0) {
        u->at++;
        if (!put(u, 0xff)) return refuse(u, IMAGE_FLASH, detail);
    }
    if (!hal_flash_read(slot, 0, raw, sizeof raw)) return refuse(u, IMAGE_FLASH, detail);
    if (!image_header_read(&h, raw)) return refuse(u, IMAGE_MAGIC, detail);
    if (h.target != BUILD_PORT || (h.slot != 255u && h.slot != slot)) return refuse(u, IMAGE_TARGET, detail);
    if (h.size != end - IMAGE_CODE_AT) return refuse(u, IMAGE_SIZE, detail);
    if (h.version <= BUILD_VERSION) return refuse(u, IMAGE_OLDER, detail);
    if (!digest(slot, h.size, &crc, sha) || crc != h.crc) return refuse(u, IMAGE_CRC, detail);
    if (memcmp(sha, h.sha, sizeof sha) != 0) return refuse(u, IMAGE_SHA, detail);
    if (!ed25519_verify(raw + IMAGE_HEADER_BYTES, raw, IMAGE_HEADER_BYTES, KEY, hal_watchdog_kick)) return refuse(u, IMAGE_SIGNATURE, detail);
    if (!boot_write(BOOT_TRY, slot)) return refuse(u, IMAGE_FLASH, detail);
    u->busy = false;
    return STATUS_OK;
}

uint8_t image_confirm(uint32_t *detail) {
    struct boot_record r;
    unsigned running = hal_flash_running();
    if (!boot_newest(&r) || r.action != BOOT_TRYING || r.slot != running) return STATUS_OK;
    if (boot_write(BOOT_KEEP, running)) return STATUS_OK;
    *detail = IMAGE_FLASH;
    return STATUS_IMAGE;
}
