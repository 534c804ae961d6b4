/* Numbers mod p = 2^255 - 19 are 16 limbs of 16 bits in int64_t, so that a product's columns cannot overflow; 38 = 2 * 19 folds 2^256.
 * Points are extended twisted Edwards coordinates X:Y:Z:T with a = -1, whose one addition formula is complete: it doubles as well
 * (H. Hisil et al., 2008). The check is encode([S]B - [h]A) == R, with one double-and-add over both scalars.
 */
#include "ed25519.h"

#include <string.h>

#include "sha2.h"

typedef int64_t field[16];
struct point { field x, y, z, t; };

static const field ONE = {1};
/* d, 2d, sqrt(-1), and the base point with x y as its fourth coordinate: computed from their definitions in RFC 8032, 5.1. */
static const field D = {0x78a3, 0x1359, 0x4dca, 0x75eb, 0xd8ab, 0x4141, 0x0a4d, 0x0070, 0xe898, 0x7779, 0x4079, 0x8cc7, 0xfe73, 0x2b6f, 0x6cee, 0x5203};
static const field D2 = {0xf159, 0x26b2, 0x9b94, 0xebd6, 0xb156, 0x8283, 0x149a, 0x00e0, 0xd130, 0xeef3, 0x80f2, 0x198e, 0xfce7, 0x56df, 0xd9dc, 0x2406};
static const field ROOT = {0xa0b0, 0x4a0e, 0x1b27, 0xc4ee, 0xe478, 0xad2f, 0x1806, 0x2f43, 0xd7a7, 0x3dfb, 0x0099, 0x2b4d, 0xdf0b, 0x4fc1, 0x2480, 0x2b83};
static const struct point BASE = {{0xd51a, 0x8f25, 0x2d60, 0xc956, 0xa7b2, 0x9525, 0xc760, 0x692c, 0xdc5c, 0xfdd6, 0xe231, 0xc0a4, 0x53fe, 0xcd6e, 0x36d3, 0x2169},
                                  {0x6658, 0x6666, 0x6666, 0x6666, 0x6666, 0x6666, 0x6666, 0x6666, 0x6666, 0x6666, 0x6666, 0x6666, 0x6666, 0x6666, 0x6666, 0x6666},
                                  {1},
                                  {0xdda3, 0xa5b7, 0x8ab3, 0x6dde, 0x52f5, 0x7751, 0x9f80, 0x20f0, 0xe37d, 0x64ab, 0x4e8e, 0x66ea, 0x7665, 0xd78b, 0x5f0f, 0x6787}};
/* The order of the base point, little-endian. */
static const uint8_t ORDER[32] = {0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x10};

static void carry(field a) {
    for (unsigned i = 0; i < 16; i++) {
        int64_t c = a[i] >> 16;
        a[i] -= c * 65536;
        if (i < 15)
            a[i + 1] += c;
        else
            a[0] += 38 * c;
    }
}

static void add(field o, const field a, const field b) {
    for (unsigned i = 0; i < 16; i++) o[i] = a[i] + b[i];
}

static void sub(field o, const field a, const field b) {
    for (unsigned i = 0; i < 16; i++) o[i] = a[i] - b[i];
}

static void mul(field o, const field a, const field b) {
    int64_t t[31] = {0};
    for (unsigned i = 0; i < 16; i++)
        for (unsigned j = 0; j < 16; j++) t[i + j] += a[i] * b[j];
    for (unsigned i = 0; i < 15; i++) t[i] += 38 * t[i + 16];
    memcpy(o, t, sizeof(field));
    carry(o);
    carry(o);
}

/* a^(2^254 - 3 - ... ): p - 2 inverts, (p - 5) / 8 is the start of a square root. Both are all ones but for a few low bits. */
static void power(field o, const field a, bool invert) {
    field c;
    memcpy(c, a, sizeof c);
    for (int bit = invert ? 253 : 250; bit >= 0; bit--) {
        mul(c, c, c);
        if (invert ? (bit != 2 && bit != 4) : bit != 1) mul(c, c, a);
    }
    memcpy(o, c, sizeof c);
}

static void encode(uint8_t out[32], const field a) {
    field t;
    memcpy(t, a, sizeof t);
    carry(t);
    carry(t);
    carry(t);
    for (unsigned round = 0; round < 2; round++) { /* subtract p while that leaves it positive */
        field m;
        int64_t borrow = 0;
        for (unsigned i = 0; i < 16; i++) {
            int64_t limb = t[i] - (i == 0 ? 0xffed : i == 15 ? 0x7fff : 0xffff) - borrow;
            borrow = limb < 0;
            m[i] = limb + (borrow ? 65536 : 0);
        }
        if (borrow == 0) memcpy(t, m, sizeof t);
    }
    for (unsigned i = 0; i < 16; i++) {
        out[2 * i] = (uint8_t)t[i];
        out[2 * i + 1] = (uint8_t)(t[i] >> 8);
    }
}

static bool same(const field a, const field b) {
    uint8_t x[32], y[32];
    encode(x, a);
    encode(y, b);
    return memcmp(x, y, 32) == 0;
}

/* The intermediate results share five numbers: the stack is the scarcest thing here. o may be p or q. */
static void point_add(struct point *o, const struct point *p, const struct point *q) {
    field a, b, c, d, t;
    sub(a, p->y, p->x);
    sub(t, q->y, q->x);
    mul(a, a, t);
    add(b, p->x, p->y);
    add(t, q->x, q->y);
    mul(b, b, t);
    mul(c, p->t, q->t);
    mul(c, c, D2);
    mul(d, p->z, q->z);
    add(d, d, d);
    sub(t, b, a); /* E */
    add(a, a, b); /* H */
    sub(b, d, c); /* F */
    add(c, d, c); /* G */
    mul(o->x, t, b);
    mul(o->y, a, c);
    mul(o->z, c, b);
    mul(o->t, t, a);
}

/* The negative of the encoded point; false when there is no such point. */
__attribute__((noinline)) static bool decode_negative(struct point *o, const uint8_t key[32]) {
    field num, den, den2, t, check;
    for (unsigned i = 0; i < 16; i++) o->y[i] = key[2 * i] + ((int64_t)key[2 * i + 1] << 8);
    o->y[15] &= 0x7fff;
    memcpy(o->z, ONE, sizeof(field));
    mul(num, o->y, o->y); /* x^2 = (y^2 - 1) / (d y^2 + 1) */
    mul(den, num, D);
    sub(num, num, ONE);
    add(den, den, ONE);
    mul(den2, den, den); /* x = num den^3 (num den^7)^((p-5)/8), perhaps times sqrt(-1) */
    mul(t, den2, den2);
    mul(t, t, den2);
    mul(t, t, num);
    mul(t, t, den);
    power(t, t, false);
    mul(t, t, num);
    mul(t, t, den2);
    mul(o->x, t, den);
    mul(check, o->x, o->x);
    mul(check, check, den);
    if (!same(check, num)) mul(o->x, o->x, ROOT);
    mul(check, o->x, o->x);
    mul(check, check, den);
    if (!same(check, num)) return false;
    uint8_t bytes[32];
    encode(bytes, o->x);
    if ((bytes[0] & 1) == key[31] >> 7) { /* right sign, so negate it */
        static const field ZERO = {0};
        sub(o->x, ZERO, o->x);
        carry(o->x);
    }
    mul(o->t, o->x, o->y);
    return true;
}

/* 512-bit little-endian number mod the order: shift and subtract, one bit at a time. */
static void reduce(uint8_t out[32], const uint8_t in[64]) {
    uint8_t r[32] = {0};
    for (int bit = 511; bit >= 0; bit--) {
        unsigned c = (in[bit / 8] >> (bit % 8)) & 1u;
        for (unsigned i = 0; i < 32; i++) {
            c |= (unsigned)r[i] << 1;
            r[i] = (uint8_t)c;
            c >>= 8;
        }
        uint8_t less[32];
        int borrow = 0;
        for (unsigned i = 0; i < 32; i++) {
            int v = r[i] - ORDER[i] - borrow;
            borrow = v < 0;
            less[i] = (uint8_t)v;
        }
        if (!borrow) memcpy(r, less, sizeof r);
    }
    memcpy(out, r, 32);
}

static bool below_order(const uint8_t s[32]) {
    for (int i = 31; i >= 0; i--)
        if (s[i] != ORDER[i]) return s[i] < ORDER[i];
    return false;
}

/* SHA-512(R, key, message) mod the order. */
__attribute__((noinline)) static void challenge(uint8_t h[32], const uint8_t signature[64], const uint8_t *message, size_t len, const uint8_t key[32]) {
    uint8_t bytes[64 + ED25519_MESSAGE_MAX], hash[64];
    memcpy(bytes, signature, 32);
    memcpy(bytes + 32, key, 32);
    memcpy(bytes + 64, message, len);
    sha512(bytes, 64 + len, hash);
    reduce(h, hash);
}

__attribute__((noinline)) static void point_encode(uint8_t out[32], const struct point *p) {
    field inverse, t;
    uint8_t sign[32];
    power(inverse, p->z, true);
    mul(t, p->x, inverse);
    encode(sign, t);
    mul(t, p->y, inverse);
    encode(out, t);
    out[31] = (uint8_t)(out[31] ^ ((sign[0] & 1u) << 7));
}

bool ed25519_verify(const uint8_t signature[64], const uint8_t *message, size_t len, const uint8_t key[32], void (*turn)(void)) {
    uint8_t h[32];
    struct point minus_a, both, sum;
    if (len > ED25519_MESSAGE_MAX || !below_order(signature + 32) || !decode_negative(&minus_a, key)) return false;
    challenge(h, signature, message, len, key);
    point_add(&both, &BASE, &minus_a);
    memset(&sum, 0, sizeof sum);
    memcpy(sum.y, ONE, sizeof(field));
    memcpy(sum.z, ONE, sizeof(field));
    const uint8_t *s = signature + 32;
    for (int bit = 255; bit >= 0; bit--) {
        point_add(&sum, &sum, &sum);
        unsigned pick = ((s[bit / 8] >> (bit % 8)) & 1u) | (((h[bit / 8] >> (bit % 8)) & 1u) << 1);
        if (pick) point_add(&sum, &sum, pick == 1 ? &BASE : pick == 2 ? &minus_a : &both);
        turn();
    }
    point_encode(h, &sum);
    return memcmp(h, signature, 32) == 0;
}
