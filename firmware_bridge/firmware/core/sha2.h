/* SHA-256 and SHA-512 (FIPS 180-4). The first is fed in pieces, the second takes one short message, which is all that Ed25519 needs here. */
#ifndef INNERVATE_SHA2_H
#define INNERVATE_SHA2_H

#include <stddef.h>
#include <stdint.h>

struct sha256 {
    uint32_t h[8];
    uint64_t len;
    uint8_t block[64];
};
void sha256_init(struct sha256 *s);
void sha256_feed(struct sha256 *s, const uint8_t *data, size_t len);
void sha256_done(struct sha256 *s, uint8_t out[32]);

void sha512(const uint8_t *data, size_t len, uint8_t out[64]);

#endif
