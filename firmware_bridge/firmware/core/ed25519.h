/* Ed25519 signature check (RFC 8032), verification only. Small before fast: about a fifth of a second on a 168 MHz Cortex-M4.
 * Everything here is public, so nothing needs constant time. `turn` is called 256 times, for the watchdog. */
#ifndef INNERVATE_ED25519_H
#define INNERVATE_ED25519_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ED25519_MESSAGE_MAX 128u

bool ed25519_verify(const uint8_t signature[64], const uint8_t *message, size_t len, const uint8_t key[32], void (*turn)(void));

#endif
