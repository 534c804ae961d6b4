/* Which slot starts; image.h tells the rules. */
#ifndef INNERVATE_BOOT_H
#define INNERVATE_BOOT_H

#include <stdbool.h>
#include <stdint.h>

enum boot_action { BOOT_KEEP = 1, BOOT_TRY = 2, BOOT_TRYING = 3 };
#define BOOT_RECORD 16u
#define BOOT_NO_SLOT 255u

struct boot_record {
    uint32_t number; /* counts up from 1 */
    uint8_t action, slot;
};

/* The newest whole record; false on a factory board. */
bool boot_newest(struct boot_record *r);
/* Append a record, in the other page when this one is full. False when the flash refuses. */
bool boot_write(enum boot_action action, unsigned slot);
/* At reset: the slot to start, journal brought up to date; BOOT_NO_SLOT when no slot holds a whole image. */
unsigned boot_choose(void);

#endif
