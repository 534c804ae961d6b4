#include "sha2.h"

#include <string.h>

/* Cube roots of the first 80 primes; SHA-256 uses the high halves of the first 64. */
static const uint64_t K[80] = {
    0x428a2f98d728ae22ull, 0x7137449123ef65cdull, 0xb5c0fbcfec4d3b2full, 0xe9b5dba58189dbbcull,
    0x3956c25bf348b538ull, 0x59f111f1b605d019ull, 0x923f82a4af194f9bull, 0xab1c5ed5da6d8118ull,
    0xd807aa98a3030242ull, 0x12835b0145706fbeull, 0x243185be4ee4b28cull, 0x550c7dc3d5ffb4e2ull,
    0x72be5d74f27b896full, 0x80deb1fe3b1696b1ull, 0x9bdc06a725c71235ull, 0xc19bf174cf692694ull,
    0xe49b69c19ef14ad2ull, 0xefbe4786384f25e3ull, 0x0fc19dc68b8cd5b5ull, 0x240ca1cc77ac9c65ull,
    0x2de92c6f592b0275ull, 0x4a7484aa6ea6e483ull, 0x5cb0a9dcbd41fbd4ull, 0x76f988da831153b5ull,
    0x983e5152ee66dfabull, 0xa831c66d2db43210ull, 0xb00327c898fb213full, 0xbf597fc7beef0ee4ull,
    0xc6e00bf33da88fc2ull, 0xd5a79147930aa725ull, 0x06ca6351e003826full, 0x142929670a0e6e70ull,
    0x27b70a8546d22ffcull, 0x2e1b21385c26c926ull, 0x4d2c6dfc5ac42aedull, 0x53380d139d95b3dfull,
    0x650a73548baf63deull, 0x766a0abb3c77b2a8ull, 0x81c2c92e47edaee6ull, 0x92722c851482353bull,
    0xa2bfe8a14cf10364ull, 0xa81a664bbc423001ull, 0xc24b8b70d0f89791ull, 0xc76c51a30654be30ull,
    0xd192e819d6ef5218ull, 0xd69906245565a910ull, 0xf40e35855771202aull, 0x106aa07032bbd1b8ull,
    0x19a4c116b8d2d0c8ull, 0x1e376c085141ab53ull, 0x2748774cdf8eeb99ull, 0x34b0bcb5e19b48a8ull,
    0x391c0cb3c5c95a63ull, 0x4ed8aa4ae3418acbull, 0x5b9cca4f7763e373ull, 0x682e6ff3d6b2b8a3ull,
    0x748f82ee5defb2fcull, 0x78a5636f43172f60ull, 0x84c87814a1f0ab72ull, 0x8cc702081a6439ecull,
    0x90befffa23631e28ull, 0xa4506cebde82bde9ull, 0xbef9a3f7b2c67915ull, 0xc67178f2e372532bull,
    0xca273eceea26619cull, 0xd186b8c721c0c207ull, 0xeada7dd6cde0eb1eull, 0xf57d4f7fee6ed178ull,
    0x06f067aa72176fbaull, 0x0a637dc5a2c898a6ull, 0x113f9804bef90daeull, 0x1b710b35131c471bull,
    0x28db77f523047d84ull, 0x32caab7b40c72493ull, 0x3c9ebe0a15c9bebcull, 0x431d67c49c100d4cull,
    0x4cc5d4becb3e42b6ull, 0x597f299cfc657e2aull, 0x5fcb6fab3ad6faecull, 0x6c44198c4a475817ull};
/* Square roots of the first 8 primes; SHA-256 uses the high halves. */
static const uint64_t H[8] = {
    0x6a09e667f3bcc908ull, 0xbb67ae8584caa73bull, 0x3c6ef372fe94f82bull, 0xa54ff53a5f1d36f1ull,
    0x510e527fade682d1ull, 0x9b05688c2b3e6c1full, 0x1f83d9abfb41bd6bull, 0x5be0cd19137e2179ull};

static uint32_t ror32(uint32_t x, unsigned n) { return (x >> n) | (x << (32u - n)); }
static uint64_t ror64(uint64_t x, unsigned n) { return (x >> n) | (x << (64u - n)); }

static uint64_t load_be(const uint8_t *p, unsigned bytes) {
    uint64_t x = 0;
    for (unsigned i = 0; i < bytes; i++) x = (x << 8) | p[i];
    return x;
}

static void store_be(uint8_t *p, uint64_t x, unsigned bytes) {
    for (unsigned i = bytes; i-- > 0; x >>= 8) p[i] = (uint8_t)x;
}

static void block256(uint32_t h[8], const uint8_t *p) {
    uint32_t w[16], v[8];
    for (unsigned i = 0; i < 16; i++) w[i] = (uint32_t)load_be(p + 4 * i, 4);
    memcpy(v, h, sizeof v);
    for (unsigned i = 0; i < 64; i++) {
        if (i >= 16) {
            uint32_t a = w[(i + 1) & 15], b = w[(i + 14) & 15];
            w[i & 15] += (ror32(a, 7) ^ ror32(a, 18) ^ (a >> 3)) + w[(i + 9) & 15] + (ror32(b, 17) ^ ror32(b, 19) ^ (b >> 10));
        }
        uint32_t e = v[4], a = v[0];
        uint32_t t1 = v[7] + (ror32(e, 6) ^ ror32(e, 11) ^ ror32(e, 25)) + ((e & v[5]) ^ (~e & v[6])) + (uint32_t)(K[i] >> 32) + w[i & 15];
        uint32_t t2 = (ror32(a, 2) ^ ror32(a, 13) ^ ror32(a, 22)) + ((a & v[1]) ^ (a & v[2]) ^ (v[1] & v[2]));
        memmove(v + 1, v, 7 * sizeof v[0]);
        v[4] += t1;
        v[0] = t1 + t2;
    }
    for (unsigned i = 0; i < 8; i++) h[i] += v[i];
}

void sha256_init(struct sha256 *s) {
    for (unsigned i = 0; i < 8; i++) s->h[i] = (uint32_t)(H[i] >> 32);
    s->len = 0;
}

void sha256_feed(struct sha256 *s, const uint8_t *data, size_t len) {
    for (size_t i = 0; i < len; i++) {
        s->block[s->len++ & 63] = data[i];
        if ((s->len & 63) == 0) block256(s->h, s->block);
    }
}

void sha256_done(struct sha256 *s, uint8_t out[32]) {
    uint64_t bits = s->len * 8;
    uint8_t pad = 0x80, length[8];
    sha256_feed(s, &pad, 1);
    pad = 0;
    while ((s->len & 63) != 56) sha256_feed(s, &pad, 1);
    store_be(length, bits, 8);
    sha256_feed(s, length, 8);
    for (unsigned i = 0; i < 8; i++) store_be(out + 4 * i, s->h[i], 4);
}

static void block512(uint64_t h[8], const uint8_t *p) {
    uint64_t w[16], v[8];
    for (unsigned i = 0; i < 16; i++) w[i] = load_be(p + 8 * i, 8);
    memcpy(v, h, sizeof v);
    for (unsigned i = 0; i < 80; i++) {
        if (i >= 16) {
            uint64_t a = w[(i + 1) & 15], b = w[(i + 14) & 15];
            w[i & 15] += (ror64(a, 1) ^ ror64(a, 8) ^ (a >> 7)) + w[(i + 9) & 15] + (ror64(b, 19) ^ ror64(b, 61) ^ (b >> 6));
        }
        uint64_t e = v[4], a = v[0];
        uint64_t t1 = v[7] + (ror64(e, 14) ^ ror64(e, 18) ^ ror64(e, 41)) + ((e & v[5]) ^ (~e & v[6])) + K[i] + w[i & 15];
        uint64_t t2 = (ror64(a, 28) ^ ror64(a, 34) ^ ror64(a, 39)) + ((a & v[1]) ^ (a & v[2]) ^ (v[1] & v[2]));
        memmove(v + 1, v, 7 * sizeof v[0]);
        v[4] += t1;
        v[0] = t1 + t2;
    }
    for (unsigned i = 0; i < 8; i++) h[i] += v[i];
}

void sha512(const uint8_t *data, size_t len, uint8_t out[64]) {
    uint64_t h[8];
    uint8_t block[128];
    memcpy(h, H, sizeof h);
    size_t at = 0;
    for (; len - at >= 128; at += 128) block512(h, data + at);
    memset(block, 0, sizeof block);
    if (len > at) memcpy(block, data + at, len - at);
    block[len - at] = 0x80;
    if (len - at >= 112) {
        block512(h, block);
        memset(block, 0, sizeof block);
    }
    store_be(block + 120, (uint64_t)len * 8, 8);
    block512(h, block);
    for (unsigned i = 0; i < 8; i++) store_be(out + 8 * i, h[i], 8);
}
