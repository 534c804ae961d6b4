#define MSG_WITH_TABLE
#include "wire.h"

/* Tables of 16 entries: half a byte at a time, 96 bytes of flash instead of 1.5 KB, fast enough for 1 Mbit/s. */
static const uint16_t CRC16[16] = {0x0000, 0x1021, 0x2042, 0x3063, 0x4084, 0x50a5, 0x60c6, 0x70e7,
                                   0x8108, 0x9129, 0xa14a, 0xb16b, 0xc18c, 0xd1ad, 0xe1ce, 0xf1ef};
static const uint32_t CRC32[16] = {0x00000000u, 0x1db71064u, 0x3b6e20c8u, 0x26d930acu, 0x76dc4190u, 0x6b6b51f4u, 0x4db26158u, 0x5005713cu,
                                   0xedb88320u, 0xf00f9344u, 0xd6d6a3e8u, 0xcb61b38cu, 0x9b64c2b0u, 0x86d3d2d4u, 0xa00ae278u, 0xbdbdf21cu};

uint16_t crc16_ccitt(uint16_t start, const uint8_t *data, size_t len) {
    uint32_t crc = start;
    for (size_t i = 0; i < len; i++) {
        crc = ((crc << 4) & 0xffffu) ^ CRC16[(crc >> 12) ^ (data[i] >> 4)];
        crc = ((crc << 4) & 0xffffu) ^ CRC16[(crc >> 12) ^ (data[i] & 15u)];
    }
    return (uint16_t)crc;
}

uint32_t crc32_ieee(uint32_t start, const uint8_t *data, size_t len) {
    uint32_t crc = start;
    for (size_t i = 0; i < len; i++) {
        crc ^= data[i];
        crc = (crc >> 4) ^ CRC32[crc & 15u];
        crc = (crc >> 4) ^ CRC32[crc & 15u];
    }
    return ~crc;
}

size_t cobs_encode(const uint8_t *in, size_t len, uint8_t *out) {
    size_t code_at = 0, at = 1;
    uint8_t code = 1;
    for (size_t i = 0; i < len; i++) {
        if (in[i] != 0) {
            out[at++] = in[i];
            code++;
        } else {
            out[code_at] = code;
            code_at = at++;
            code = 1;
        }
    }
    out[code_at] = code;
    return at;
}

int cobs_decode(const uint8_t *in, size_t len, uint8_t *out) {
    size_t at = 0, done = 0;
    while (at < len) {
        uint8_t code = in[at];
        if (code == 0 || at + code > len) return -1;
        for (size_t i = 1; i < code; i++) {
            if (in[at + i] == 0) return -1;
            out[done++] = in[at + i];
        }
        at += code;
        if (code < 255 && at < len) out[done++] = 0;
    }
    return (int)done;
}

const struct msg_info *msg_info(uint8_t id) {
    for (unsigned i = 0; i < MSG_COUNT; i++)
        if (MSG_INFO[i].id == id) return &MSG_INFO[i];
    return NULL;
}

unsigned msg_index(uint8_t id) {
    const struct msg_info *info = msg_info(id);
    return info == NULL ? 0u : (unsigned)(info - MSG_INFO);
}

static uint32_t frame_crc(const struct msg_info *info, const uint8_t *body) {
    size_t len = FRAME_HEADER + info->payload;
    return info->crc_bytes == 2 ? crc16_ccitt((uint16_t)info->seed, body, len) : crc32_ieee(info->seed, body, len);
}

size_t frame_encode(uint8_t id, uint8_t seq, const uint8_t *payload, uint8_t *out) {
    uint8_t body[FRAME_OUT_MAX];
    const struct msg_info *info = msg_info(id);
    if (info == NULL) return 0;
    body[0] = id;
    body[1] = seq;
    memcpy(body + FRAME_HEADER, payload, info->payload);
    size_t len = FRAME_HEADER + info->payload;
    msg_put(body + len, frame_crc(info, body), info->crc_bytes);
    len = cobs_encode(body, len + info->crc_bytes, out);
    out[len] = 0;
    return len + 1;
}

static enum frame_result check(struct reader *r, const struct msg_info **info, uint8_t *seq, const uint8_t **payload) {
    int len = cobs_decode(r->held, r->len, r->held);
    if (len < (int)FRAME_HEADER + 2) {
        r->bad_length++;
        return len < 0 ? FRAME_BAD_COBS : FRAME_BAD_LENGTH;
    }
    *info = msg_info(r->held[0]);
    if (*info == NULL) {
        r->unknown++;
        return FRAME_UNKNOWN;
    }
    size_t end = FRAME_HEADER + (*info)->payload;
    if ((size_t)len != end + (*info)->crc_bytes) {
        r->bad_length++;
        return FRAME_BAD_LENGTH;
    }
    if (frame_crc(*info, r->held) != msg_get(r->held + end, (*info)->crc_bytes)) {
        r->bad_crc++;
        return FRAME_BAD_CRC;
    }
    *seq = r->held[1];
    *payload = r->held + FRAME_HEADER;
    r->good++;
    return FRAME_GOOD;
}

enum frame_result reader_push(struct reader *r, uint8_t byte, const struct msg_info **info, uint8_t *seq, const uint8_t **payload) {
    enum frame_result result = FRAME_NONE;
    if (byte != 0) {
        if (r->len < FRAME_MAX)
            r->held[r->len++] = byte;
        else
            r->overrun = true;
        return result;
    }
    if (r->overrun) {
        r->bad_length++;
        result = FRAME_BAD_LENGTH;
    } else if (r->len > 0) {
        result = check(r, info, seq, payload);
    }
    r->len = 0;
    r->overrun = false;
    return result;
}
