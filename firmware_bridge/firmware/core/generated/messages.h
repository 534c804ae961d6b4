/* Made from schema.toml by `python -m innervate.firmware_bridge.generate`; edit the schema, not this file. */
#ifndef INNERVATE_MESSAGES_H
#define INNERVATE_MESSAGES_H

#include <stdint.h>
#include <string.h>

#define MSG_PROTOCOL 1u
#define MSG_SCHEMA_HASH 0xfd368178b8b5cad5ull
#define MSG_PAYLOAD_MAX 133u
#define MSG_PAYLOAD_MAX_IN 133u

enum state { STATE_UNCONFIGURED = 0, STATE_STOPPED = 1, STATE_READY = 2, STATE_MOVING = 3 };
enum cause { CAUSE_NONE = 0, CAUSE_BOOT = 1, CAUSE_HOST_REQUEST = 2, CAUSE_HOST_EXIT = 3, CAUSE_HOST_FAULT = 4, CAUSE_DEADMAN = 5, CAUSE_FORCE_OVER = 6, CAUSE_FORCE_STUCK = 7, CAUSE_FORCE_MISSING = 8, CAUSE_MOTOR = 9, CAUSE_SESSION = 10, CAUSE_WATCHDOG = 11, CAUSE_UPDATE = 12 };
enum safe { SAFE_HOLD = 0, SAFE_RELEASE = 1 };
enum status { STATUS_OK = 0, STATUS_STATE = 1, STATUS_RANGE = 2, STATUS_SCHEMA = 3, STATUS_BOOT = 4, STATUS_IMAGE = 5, STATUS_UNSUPPORTED = 6 };
enum image { IMAGE_OK = 0, IMAGE_ORDER = 1, IMAGE_SIZE = 2, IMAGE_MAGIC = 3, IMAGE_TARGET = 4, IMAGE_OLDER = 5, IMAGE_CRC = 6, IMAGE_SHA = 7, IMAGE_SIGNATURE = 8, IMAGE_FLASH = 9 };
enum reset_cause { RESET_CAUSE_POWER = 0, RESET_CAUSE_SOFTWARE = 1, RESET_CAUSE_WATCHDOG = 2, RESET_CAUSE_OTHER = 3 };
enum port { PORT_HOST = 0, PORT_STM32F405 = 1, PORT_MPS2_AN385 = 2 };
enum capability { CAPABILITY_MOTOR = 1 << 0, CAPABILITY_FORCE = 1 << 1, CAPABILITY_FLASH = 1 << 2, CAPABILITY_WATCHDOG = 1 << 3 };

enum msg_id {
    MSG_HELLO = 0x01,
    MSG_PING = 0x02,
    MSG_SETPOINT = 0x10,
    MSG_STOP = 0x11,
    MSG_CONFIGURE = 0x12,
    MSG_ARM = 0x13,
    MSG_REST = 0x14,
    MSG_RESET = 0x15,
    MSG_DICTIONARY = 0x16,
    MSG_PROBE = 0x17,
    MSG_BULK = 0x18,
    MSG_IMAGE_BEGIN = 0x20,
    MSG_IMAGE_DATA = 0x21,
    MSG_IMAGE_END = 0x22,
    MSG_IMAGE_CONFIRM = 0x23,
    MSG_WELCOME = 0x81,
    MSG_PONG = 0x82,
    MSG_REPLY = 0x83,
    MSG_TELEMETRY = 0x90,
    MSG_STOPPED = 0x91,
    MSG_STATS = 0x92,
    MSG_DICTIONARY_DATA = 0x93,
    MSG_ABOUT = 0x94
};
enum msg_class { CLASS_COMMAND, CLASS_STREAM, CLASS_URGENT };

struct msg_info { uint8_t id; uint8_t payload; uint8_t delivery; uint8_t crc_bytes; uint32_t seed; };
#ifdef MSG_WITH_TABLE /* wire.c alone */
static const struct msg_info MSG_INFO[] = {
    { 0x01, 13, CLASS_STREAM, 4, 0xba27966au }, /* hello */
    { 0x02, 4, CLASS_STREAM, 2, 0x0000291du }, /* ping */
    { 0x10, 12, CLASS_STREAM, 4, 0xe63bfdaeu }, /* setpoint */
    { 0x11, 2, CLASS_URGENT, 4, 0x523ca789u }, /* stop */
    { 0x12, 23, CLASS_COMMAND, 4, 0x46b8c115u }, /* configure */
    { 0x13, 6, CLASS_COMMAND, 4, 0xf2c6502eu }, /* arm */
    { 0x14, 0, CLASS_COMMAND, 4, 0xb920a4fau }, /* rest */
    { 0x15, 4, CLASS_COMMAND, 4, 0x404c6330u }, /* reset */
    { 0x16, 2, CLASS_COMMAND, 4, 0x6b7faa8bu }, /* dictionary */
    { 0x17, 16, CLASS_COMMAND, 2, 0x00005f86u }, /* probe */
    { 0x18, 128, CLASS_COMMAND, 2, 0x000023a6u }, /* bulk */
    { 0x20, 4, CLASS_COMMAND, 4, 0x6ba96d02u }, /* image_begin */
    { 0x21, 133, CLASS_COMMAND, 4, 0xd7037a8fu }, /* image_data */
    { 0x22, 0, CLASS_COMMAND, 4, 0xea1909e6u }, /* image_end */
    { 0x23, 4, CLASS_COMMAND, 4, 0x5a7a9c6au }, /* image_confirm */
    { 0x81, 22, CLASS_STREAM, 4, 0x584c921au }, /* welcome */
    { 0x82, 12, CLASS_STREAM, 2, 0x0000cd1eu }, /* pong */
    { 0x83, 6, CLASS_STREAM, 2, 0x000065f2u }, /* reply */
    { 0x90, 23, CLASS_STREAM, 2, 0x0000cf65u }, /* telemetry */
    { 0x91, 16, CLASS_STREAM, 4, 0xc74efe1bu }, /* stopped */
    { 0x92, 42, CLASS_STREAM, 2, 0x00007e71u }, /* stats */
    { 0x93, 67, CLASS_STREAM, 4, 0x7548c763u }, /* dictionary_data */
    { 0x94, 18, CLASS_STREAM, 4, 0x62bab071u }, /* about */
};
#endif
#define MSG_COUNT 23u

static inline void msg_put(uint8_t *at, uint64_t value, unsigned bytes) {
    for (unsigned i = 0; i < bytes; i++) at[i] = (uint8_t)(value >> (8u * i));
}
static inline uint64_t msg_get(const uint8_t *at, unsigned bytes) {
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes; i++) value |= (uint64_t)at[i] << (8u * i);
    return value;
}

/* opens a session; repeated with the same nonce until welcome answers; a new nonce ends the old session */
struct msg_hello {
    uint8_t protocol;
    uint64_t schema_hash;
    uint32_t nonce;
};
static inline void msg_hello_pack(const struct msg_hello *m, uint8_t *p) {
    msg_put(p + 0, (uint64_t)m->protocol, 1);
    msg_put(p + 1, (uint64_t)m->schema_hash, 8);
    msg_put(p + 9, (uint64_t)m->nonce, 4);
}
static inline void msg_hello_unpack(struct msg_hello *m, const uint8_t *p) {
    m->protocol = (uint8_t)msg_get(p + 0, 1);
    m->schema_hash = (uint64_t)msg_get(p + 1, 8);
    m->nonce = (uint32_t)msg_get(p + 9, 4);
}
/* Index of the first field outside its range, or -1. */
static inline int msg_hello_check(const struct msg_hello *m) {
    if (m->nonce < 1) return 2;
    (void)m;
    return -1;
}

/* asks for pong: one clock sample */
struct msg_ping {
    uint32_t token;
};
static inline void msg_ping_pack(const struct msg_ping *m, uint8_t *p) {
    msg_put(p + 0, (uint64_t)m->token, 4);
}
static inline void msg_ping_unpack(struct msg_ping *m, const uint8_t *p) {
    m->token = (uint32_t)msg_get(p + 0, 4);
}
/* Index of the first field outside its range, or -1. */
static inline int msg_ping_check(const struct msg_ping *m) {
    (void)m;
    return -1;
}

/* where the axes shall go, from execute_at on, and until when that is worth anything; the only food of the deadman */
struct msg_setpoint {
    uint32_t execute_at_ticks;
    uint32_t valid_until_ticks;
    int16_t pan_cdeg;  /* 0.01 of pan_deg */
    int16_t tilt_cdeg;  /* 0.01 of tilt_deg */
};
static inline void msg_setpoint_pack(const struct msg_setpoint *m, uint8_t *p) {
    msg_put(p + 0, (uint64_t)m->execute_at_ticks, 4);
    msg_put(p + 4, (uint64_t)m->valid_until_ticks, 4);
    msg_put(p + 8, (uint64_t)m->pan_cdeg, 2);
    msg_put(p + 10, (uint64_t)m->tilt_cdeg, 2);
}
static inline void msg_setpoint_unpack(struct msg_setpoint *m, const uint8_t *p) {
    m->execute_at_ticks = (uint32_t)msg_get(p + 0, 4);
    m->valid_until_ticks = (uint32_t)msg_get(p + 4, 4);
    m->pan_cdeg = (int16_t)msg_get(p + 8, 2);
    m->tilt_cdeg = (int16_t)msg_get(p + 10, 2);
}
/* Index of the first field outside its range, or -1. */
static inline int msg_setpoint_check(const struct msg_setpoint *m) {
    if (m->pan_cdeg < -18000 || m->pan_cdeg > 18000) return 2;
    if (m->tilt_cdeg < -18000 || m->tilt_cdeg > 18000) return 3;
    (void)m;
    return -1;
}

/* latched stop; obeyed in any state, with or without a session; token comes back in stopped */
struct msg_stop {
    uint8_t cause;
    uint8_t token;
};
static inline void msg_stop_pack(const struct msg_stop *m, uint8_t *p) {
    msg_put(p + 0, (uint64_t)m->cause, 1);
    msg_put(p + 1, (uint64_t)m->token, 1);
}
static inline void msg_stop_unpack(struct msg_stop *m, const uint8_t *p) {
    m->cause = (uint8_t)msg_get(p + 0, 1);
    m->token = (uint8_t)msg_get(p + 1, 1);
}
/* Index of the first field outside its range, or -1. */
static inline int msg_stop_check(const struct msg_stop *m) {
    if (m->cause > 12) return 0;
    (void)m;
    return -1;
}

/* the board's limits; accepted while nothing is armed; the firmware keeps none over a reset */
struct msg_configure {
    int16_t pan_min_cdeg;  /* 0.01 of pan_min_deg */
    int16_t pan_max_cdeg;  /* 0.01 of pan_max_deg */
    int16_t tilt_min_cdeg;  /* 0.01 of tilt_min_deg */
    int16_t tilt_max_cdeg;  /* 0.01 of tilt_max_deg */
    uint16_t pan_rate_ddeg_s;  /* 0.1 of pan_rate_deg_s */
    uint16_t tilt_rate_ddeg_s;  /* 0.1 of tilt_rate_deg_s */
    uint16_t deadman_ms;
    uint8_t safe;
    int16_t force_max_cn;  /* 0.01 of force_max_n */
    uint16_t force_stuck_ms;
    uint16_t force_missing_ms;
    uint16_t servo_missing_ms;
};
static inline void msg_configure_pack(const struct msg_configure *m, uint8_t *p) {
    msg_put(p + 0, (uint64_t)m->pan_min_cdeg, 2);
    msg_put(p + 2, (uint64_t)m->pan_max_cdeg, 2);
    msg_put(p + 4, (uint64_t)m->tilt_min_cdeg, 2);
    msg_put(p + 6, (uint64_t)m->tilt_max_cdeg, 2);
    msg_put(p + 8, (uint64_t)m->pan_rate_ddeg_s, 2);
    msg_put(p + 10, (uint64_t)m->tilt_rate_ddeg_s, 2);
    msg_put(p + 12, (uint64_t)m->deadman_ms, 2);
    msg_put(p + 14, (uint64_t)m->safe, 1);
    msg_put(p + 15, (uint64_t)m->force_max_cn, 2);
    msg_put(p + 17, (uint64_t)m->force_stuck_ms, 2);
    msg_put(p + 19, (uint64_t)m->force_missing_ms, 2);
    msg_put(p + 21, (uint64_t)m->servo_missing_ms, 2);
}
static inline void msg_configure_unpack(struct msg_configure *m, const uint8_t *p) {
    m->pan_min_cdeg = (int16_t)msg_get(p + 0, 2);
    m->pan_max_cdeg = (int16_t)msg_get(p + 2, 2);
    m->tilt_min_cdeg = (int16_t)msg_get(p + 4, 2);
    m->tilt_max_cdeg = (int16_t)msg_get(p + 6, 2);
    m->pan_rate_ddeg_s = (uint16_t)msg_get(p + 8, 2);
    m->tilt_rate_ddeg_s = (uint16_t)msg_get(p + 10, 2);
    m->deadman_ms = (uint16_t)msg_get(p + 12, 2);
    m->safe = (uint8_t)msg_get(p + 14, 1);
    m->force_max_cn = (int16_t)msg_get(p + 15, 2);
    m->force_stuck_ms = (uint16_t)msg_get(p + 17, 2);
    m->force_missing_ms = (uint16_t)msg_get(p + 19, 2);
    m->servo_missing_ms = (uint16_t)msg_get(p + 21, 2);
}
/* Index of the first field outside its range, or -1. */
static inline int msg_configure_check(const struct msg_configure *m) {
    if (m->pan_min_cdeg < -18000 || m->pan_min_cdeg > 18000) return 0;
    if (m->pan_max_cdeg < -18000 || m->pan_max_cdeg > 18000) return 1;
    if (m->tilt_min_cdeg < -18000 || m->tilt_min_cdeg > 18000) return 2;
    if (m->tilt_max_cdeg < -18000 || m->tilt_max_cdeg > 18000) return 3;
    if (m->pan_rate_ddeg_s < 10 || m->pan_rate_ddeg_s > 7200) return 4;
    if (m->tilt_rate_ddeg_s < 10 || m->tilt_rate_ddeg_s > 7200) return 5;
    if (m->deadman_ms < 20 || m->deadman_ms > 500) return 6;
    if (m->safe > 1) return 7;
    if (m->force_max_cn < 0 || m->force_max_cn > 32000) return 8;
    if (m->force_stuck_ms > 60000) return 9;
    if (m->force_missing_ms > 60000) return 10;
    if (m->servo_missing_ms > 1000) return 11;
    (void)m;
    return -1;
}

/* explicit re-arm: names the boot and the stop that it ends, so that an old one cannot end a newer stop */
struct msg_arm {
    uint32_t boot_id;
    uint16_t stop_count;
};
static inline void msg_arm_pack(const struct msg_arm *m, uint8_t *p) {
    msg_put(p + 0, (uint64_t)m->boot_id, 4);
    msg_put(p + 4, (uint64_t)m->stop_count, 2);
}
static inline void msg_arm_unpack(struct msg_arm *m, const uint8_t *p) {
    m->boot_id = (uint32_t)msg_get(p + 0, 4);
    m->stop_count = (uint16_t)msg_get(p + 4, 2);
}
/* Index of the first field outside its range, or -1. */
static inline int msg_arm_check(const struct msg_arm *m) {
    (void)m;
    return -1;
}

/* the motion is over: hold still; the deadman sleeps until the next setpoint */
struct msg_rest {
    uint8_t nothing; /* C has no empty struct; not on the wire */
};
static inline void msg_rest_pack(const struct msg_rest *m, uint8_t *p) {
    (void)m; (void)p;
}
static inline void msg_rest_unpack(struct msg_rest *m, const uint8_t *p) {
    m->nothing = 0; (void)p;
}
/* Index of the first field outside its range, or -1. */
static inline int msg_rest_check(const struct msg_rest *m) {
    (void)m;
    return -1;
}

/* stop, then restart the processor */
struct msg_reset {
    uint32_t boot_id;
};
static inline void msg_reset_pack(const struct msg_reset *m, uint8_t *p) {
    msg_put(p + 0, (uint64_t)m->boot_id, 4);
}
static inline void msg_reset_unpack(struct msg_reset *m, const uint8_t *p) {
    m->boot_id = (uint32_t)msg_get(p + 0, 4);
}
/* Index of the first field outside its range, or -1. */
static inline int msg_reset_check(const struct msg_reset *m) {
    (void)m;
    return -1;
}

/* asks for one dictionary_data at this offset */
struct msg_dictionary {
    uint16_t offset;
};
static inline void msg_dictionary_pack(const struct msg_dictionary *m, uint8_t *p) {
    msg_put(p + 0, (uint64_t)m->offset, 2);
}
static inline void msg_dictionary_unpack(struct msg_dictionary *m, const uint8_t *p) {
    m->offset = (uint16_t)msg_get(p + 0, 2);
}
/* Index of the first field outside its range, or -1. */
static inline int msg_dictionary_check(const struct msg_dictionary *m) {
    (void)m;
    return -1;
}

/* does nothing, acknowledged: measures the round trip; moves nothing, so CRC-16 */
struct msg_probe {
    uint8_t data[16];
};
static inline void msg_probe_pack(const struct msg_probe *m, uint8_t *p) {
    memcpy(p + 0, m->data, 16);
}
static inline void msg_probe_unpack(struct msg_probe *m, const uint8_t *p) {
    memcpy(m->data, p + 0, 16);
}
/* Index of the first field outside its range, or -1. */
static inline int msg_probe_check(const struct msg_probe *m) {
    (void)m;
    return -1;
}

/* does nothing, acknowledged: measures the throughput; moves nothing, so CRC-16 */
struct msg_bulk {
    uint8_t data[128];
};
static inline void msg_bulk_pack(const struct msg_bulk *m, uint8_t *p) {
    memcpy(p + 0, m->data, 128);
}
static inline void msg_bulk_unpack(struct msg_bulk *m, const uint8_t *p) {
    memcpy(m->data, p + 0, 128);
}
/* Index of the first field outside its range, or -1. */
static inline int msg_bulk_check(const struct msg_bulk *m) {
    (void)m;
    return -1;
}

/* stop, then make the other slot ready for an image of size bytes, header and signature included */
struct msg_image_begin {
    uint32_t size;
};
static inline void msg_image_begin_pack(const struct msg_image_begin *m, uint8_t *p) {
    msg_put(p + 0, (uint64_t)m->size, 4);
}
static inline void msg_image_begin_unpack(struct msg_image_begin *m, const uint8_t *p) {
    m->size = (uint32_t)msg_get(p + 0, 4);
}
/* Index of the first field outside its range, or -1. */
static inline int msg_image_begin_check(const struct msg_image_begin *m) {
    (void)m;
    return -1;
}

/* the next bytes of the image; length is 128 but in the last chunk */
struct msg_image_data {
    uint32_t offset;
    uint8_t length;
    uint8_t data[128];
};
static inline void msg_image_data_pack(const struct msg_image_data *m, uint8_t *p) {
    msg_put(p + 0, (uint64_t)m->offset, 4);
    msg_put(p + 4, (uint64_t)m->length, 1);
    memcpy(p + 5, m->data, 128);
}
static inline void msg_image_data_unpack(struct msg_image_data *m, const uint8_t *p) {
    m->offset = (uint32_t)msg_get(p + 0, 4);
    m->length = (uint8_t)msg_get(p + 4, 1);
    memcpy(m->data, p + 5, 128);
}
/* Index of the first field outside its range, or -1. */
static inline int msg_image_data_check(const struct msg_image_data *m) {
    if (m->length < 1 || m->length > 128) return 1;
    (void)m;
    return -1;
}

/* check the whole image (CRC-32, SHA-256, signature, target, version) and try it at the next reset */
struct msg_image_end {
    uint8_t nothing; /* C has no empty struct; not on the wire */
};
static inline void msg_image_end_pack(const struct msg_image_end *m, uint8_t *p) {
    (void)m; (void)p;
}
static inline void msg_image_end_unpack(struct msg_image_end *m, const uint8_t *p) {
    m->nothing = 0; (void)p;
}
/* Index of the first field outside its range, or -1. */
static inline int msg_image_end_check(const struct msg_image_end *m) {
    (void)m;
    return -1;
}

/* the host found the running image healthy: keep it; without this the next reset goes back to the other slot */
struct msg_image_confirm {
    uint32_t boot_id;
};
static inline void msg_image_confirm_pack(const struct msg_image_confirm *m, uint8_t *p) {
    msg_put(p + 0, (uint64_t)m->boot_id, 4);
}
static inline void msg_image_confirm_unpack(struct msg_image_confirm *m, const uint8_t *p) {
    m->boot_id = (uint32_t)msg_get(p + 0, 4);
}
/* Index of the first field outside its range, or -1. */
static inline int msg_image_confirm_check(const struct msg_image_confirm *m) {
    (void)m;
    return -1;
}

/* answers hello (nonce repeated); sent by itself with nonce 0 four times a second while there is no session; short, to get through */
struct msg_welcome {
    uint8_t protocol;
    uint8_t port;
    uint64_t schema_hash;
    uint32_t nonce;
    uint32_t boot_id;
    uint32_t tick_hz;
};
static inline void msg_welcome_pack(const struct msg_welcome *m, uint8_t *p) {
    msg_put(p + 0, (uint64_t)m->protocol, 1);
    msg_put(p + 1, (uint64_t)m->port, 1);
    msg_put(p + 2, (uint64_t)m->schema_hash, 8);
    msg_put(p + 10, (uint64_t)m->nonce, 4);
    msg_put(p + 14, (uint64_t)m->boot_id, 4);
    msg_put(p + 18, (uint64_t)m->tick_hz, 4);
}
static inline void msg_welcome_unpack(struct msg_welcome *m, const uint8_t *p) {
    m->protocol = (uint8_t)msg_get(p + 0, 1);
    m->port = (uint8_t)msg_get(p + 1, 1);
    m->schema_hash = (uint64_t)msg_get(p + 2, 8);
    m->nonce = (uint32_t)msg_get(p + 10, 4);
    m->boot_id = (uint32_t)msg_get(p + 14, 4);
    m->tick_hz = (uint32_t)msg_get(p + 18, 4);
}
/* Index of the first field outside its range, or -1. */
static inline int msg_welcome_check(const struct msg_welcome *m) {
    if (m->port > 2) return 1;
    (void)m;
    return -1;
}

/* when ping was taken from the line and when this answer was put on it */
struct msg_pong {
    uint32_t token;
    uint32_t received_ticks;
    uint32_t sent_ticks;
};
static inline void msg_pong_pack(const struct msg_pong *m, uint8_t *p) {
    msg_put(p + 0, (uint64_t)m->token, 4);
    msg_put(p + 4, (uint64_t)m->received_ticks, 4);
    msg_put(p + 8, (uint64_t)m->sent_ticks, 4);
}
static inline void msg_pong_unpack(struct msg_pong *m, const uint8_t *p) {
    m->token = (uint32_t)msg_get(p + 0, 4);
    m->received_ticks = (uint32_t)msg_get(p + 4, 4);
    m->sent_ticks = (uint32_t)msg_get(p + 8, 4);
}
/* Index of the first field outside its range, or -1. */
static inline int msg_pong_check(const struct msg_pong *m) {
    (void)m;
    return -1;
}

/* answers one command; asked again it gives the same answer without acting again */
struct msg_reply {
    uint8_t command_seq;
    uint8_t status;
    uint32_t detail;
};
static inline void msg_reply_pack(const struct msg_reply *m, uint8_t *p) {
    msg_put(p + 0, (uint64_t)m->command_seq, 1);
    msg_put(p + 1, (uint64_t)m->status, 1);
    msg_put(p + 2, (uint64_t)m->detail, 4);
}
static inline void msg_reply_unpack(struct msg_reply *m, const uint8_t *p) {
    m->command_seq = (uint8_t)msg_get(p + 0, 1);
    m->status = (uint8_t)msg_get(p + 1, 1);
    m->detail = (uint32_t)msg_get(p + 2, 4);
}
/* Index of the first field outside its range, or -1. */
static inline int msg_reply_check(const struct msg_reply *m) {
    if (m->status > 6) return 1;
    (void)m;
    return -1;
}

/* the state of everything, 200 times a second in a session, schema mismatch or not */
struct msg_telemetry {
    uint32_t t_ticks;
    int16_t pan_cdeg;  /* 0.01 of pan_deg */
    int16_t tilt_cdeg;  /* 0.01 of tilt_deg */
    int16_t pan_ddeg_s;  /* 0.1 of pan_deg_s */
    int16_t tilt_ddeg_s;  /* 0.1 of tilt_deg_s */
    int16_t pan_goal_cdeg;  /* 0.01 of pan_goal_deg */
    int16_t tilt_goal_cdeg;  /* 0.01 of tilt_goal_deg */
    int16_t force_cn;  /* 0.01 of force_n */
    uint8_t force_seq;
    uint8_t state;
    uint8_t cause;
    uint8_t device_faults;
    uint8_t setpoint_seq;
};
static inline void msg_telemetry_pack(const struct msg_telemetry *m, uint8_t *p) {
    msg_put(p + 0, (uint64_t)m->t_ticks, 4);
    msg_put(p + 4, (uint64_t)m->pan_cdeg, 2);
    msg_put(p + 6, (uint64_t)m->tilt_cdeg, 2);
    msg_put(p + 8, (uint64_t)m->pan_ddeg_s, 2);
    msg_put(p + 10, (uint64_t)m->tilt_ddeg_s, 2);
    msg_put(p + 12, (uint64_t)m->pan_goal_cdeg, 2);
    msg_put(p + 14, (uint64_t)m->tilt_goal_cdeg, 2);
    msg_put(p + 16, (uint64_t)m->force_cn, 2);
    msg_put(p + 18, (uint64_t)m->force_seq, 1);
    msg_put(p + 19, (uint64_t)m->state, 1);
    msg_put(p + 20, (uint64_t)m->cause, 1);
    msg_put(p + 21, (uint64_t)m->device_faults, 1);
    msg_put(p + 22, (uint64_t)m->setpoint_seq, 1);
}
static inline void msg_telemetry_unpack(struct msg_telemetry *m, const uint8_t *p) {
    m->t_ticks = (uint32_t)msg_get(p + 0, 4);
    m->pan_cdeg = (int16_t)msg_get(p + 4, 2);
    m->tilt_cdeg = (int16_t)msg_get(p + 6, 2);
    m->pan_ddeg_s = (int16_t)msg_get(p + 8, 2);
    m->tilt_ddeg_s = (int16_t)msg_get(p + 10, 2);
    m->pan_goal_cdeg = (int16_t)msg_get(p + 12, 2);
    m->tilt_goal_cdeg = (int16_t)msg_get(p + 14, 2);
    m->force_cn = (int16_t)msg_get(p + 16, 2);
    m->force_seq = (uint8_t)msg_get(p + 18, 1);
    m->state = (uint8_t)msg_get(p + 19, 1);
    m->cause = (uint8_t)msg_get(p + 20, 1);
    m->device_faults = (uint8_t)msg_get(p + 21, 1);
    m->setpoint_seq = (uint8_t)msg_get(p + 22, 1);
}
/* Index of the first field outside its range, or -1. */
static inline int msg_telemetry_check(const struct msg_telemetry *m) {
    if (m->state > 3) return 9;
    if (m->cause > 12) return 10;
    (void)m;
    return -1;
}

/* a stop, with the firmware's own stamps; at once, then ten times a second while latched */
struct msg_stopped {
    uint32_t t_food_ticks;
    uint32_t t_stop_ticks;
    uint16_t stop_count;
    uint8_t cause;
    uint8_t token;
    int32_t detail;
};
static inline void msg_stopped_pack(const struct msg_stopped *m, uint8_t *p) {
    msg_put(p + 0, (uint64_t)m->t_food_ticks, 4);
    msg_put(p + 4, (uint64_t)m->t_stop_ticks, 4);
    msg_put(p + 8, (uint64_t)m->stop_count, 2);
    msg_put(p + 10, (uint64_t)m->cause, 1);
    msg_put(p + 11, (uint64_t)m->token, 1);
    msg_put(p + 12, (uint64_t)m->detail, 4);
}
static inline void msg_stopped_unpack(struct msg_stopped *m, const uint8_t *p) {
    m->t_food_ticks = (uint32_t)msg_get(p + 0, 4);
    m->t_stop_ticks = (uint32_t)msg_get(p + 4, 4);
    m->stop_count = (uint16_t)msg_get(p + 8, 2);
    m->cause = (uint8_t)msg_get(p + 10, 1);
    m->token = (uint8_t)msg_get(p + 11, 1);
    m->detail = (int32_t)msg_get(p + 12, 4);
}
/* Index of the first field outside its range, or -1. */
static inline int msg_stopped_check(const struct msg_stopped *m) {
    if (m->cause > 12) return 3;
    (void)m;
    return -1;
}

/* counters since boot, once a second; they wrap */
struct msg_stats {
    uint32_t frames_good;
    uint32_t frames_bad_crc;
    uint32_t frames_bad_length;
    uint16_t frames_unknown;
    uint16_t bytes_lost;
    uint32_t setpoints_accepted;
    uint32_t setpoints_executed;
    uint16_t refused_late;
    uint16_t refused_future;
    uint16_t refused_range;
    uint16_t refused_state;
    uint16_t refused_stale;
    uint16_t stream_gaps;
    uint16_t commands_repeated;
    uint16_t turn_us_max;
    uint16_t output_dropped;
};
static inline void msg_stats_pack(const struct msg_stats *m, uint8_t *p) {
    msg_put(p + 0, (uint64_t)m->frames_good, 4);
    msg_put(p + 4, (uint64_t)m->frames_bad_crc, 4);
    msg_put(p + 8, (uint64_t)m->frames_bad_length, 4);
    msg_put(p + 12, (uint64_t)m->frames_unknown, 2);
    msg_put(p + 14, (uint64_t)m->bytes_lost, 2);
    msg_put(p + 16, (uint64_t)m->setpoints_accepted, 4);
    msg_put(p + 20, (uint64_t)m->setpoints_executed, 4);
    msg_put(p + 24, (uint64_t)m->refused_late, 2);
    msg_put(p + 26, (uint64_t)m->refused_future, 2);
    msg_put(p + 28, (uint64_t)m->refused_range, 2);
    msg_put(p + 30, (uint64_t)m->refused_state, 2);
    msg_put(p + 32, (uint64_t)m->refused_stale, 2);
    msg_put(p + 34, (uint64_t)m->stream_gaps, 2);
    msg_put(p + 36, (uint64_t)m->commands_repeated, 2);
    msg_put(p + 38, (uint64_t)m->turn_us_max, 2);
    msg_put(p + 40, (uint64_t)m->output_dropped, 2);
}
static inline void msg_stats_unpack(struct msg_stats *m, const uint8_t *p) {
    m->frames_good = (uint32_t)msg_get(p + 0, 4);
    m->frames_bad_crc = (uint32_t)msg_get(p + 4, 4);
    m->frames_bad_length = (uint32_t)msg_get(p + 8, 4);
    m->frames_unknown = (uint16_t)msg_get(p + 12, 2);
    m->bytes_lost = (uint16_t)msg_get(p + 14, 2);
    m->setpoints_accepted = (uint32_t)msg_get(p + 16, 4);
    m->setpoints_executed = (uint32_t)msg_get(p + 20, 4);
    m->refused_late = (uint16_t)msg_get(p + 24, 2);
    m->refused_future = (uint16_t)msg_get(p + 26, 2);
    m->refused_range = (uint16_t)msg_get(p + 28, 2);
    m->refused_state = (uint16_t)msg_get(p + 30, 2);
    m->refused_stale = (uint16_t)msg_get(p + 32, 2);
    m->stream_gaps = (uint16_t)msg_get(p + 34, 2);
    m->commands_repeated = (uint16_t)msg_get(p + 36, 2);
    m->turn_us_max = (uint16_t)msg_get(p + 38, 2);
    m->output_dropped = (uint16_t)msg_get(p + 40, 2);
}
/* Index of the first field outside its range, or -1. */
static inline int msg_stats_check(const struct msg_stats *m) {
    (void)m;
    return -1;
}

/* a piece of the zlib-compressed JSON form of this file, as built into the firmware */
struct msg_dictionary_data {
    uint16_t offset;
    uint8_t length;
    uint8_t data[64];
};
static inline void msg_dictionary_data_pack(const struct msg_dictionary_data *m, uint8_t *p) {
    msg_put(p + 0, (uint64_t)m->offset, 2);
    msg_put(p + 2, (uint64_t)m->length, 1);
    memcpy(p + 3, m->data, 64);
}
static inline void msg_dictionary_data_unpack(struct msg_dictionary_data *m, const uint8_t *p) {
    m->offset = (uint16_t)msg_get(p + 0, 2);
    m->length = (uint8_t)msg_get(p + 2, 1);
    memcpy(m->data, p + 3, 64);
}
/* Index of the first field outside its range, or -1. */
static inline int msg_dictionary_data_check(const struct msg_dictionary_data *m) {
    (void)m;
    return -1;
}

/* what this firmware is, once a second */
struct msg_about {
    uint32_t version;
    uint8_t build[8];
    uint16_t capabilities;
    uint8_t reset_cause;
    uint8_t slot;
    uint16_t dictionary_size;
};
static inline void msg_about_pack(const struct msg_about *m, uint8_t *p) {
    msg_put(p + 0, (uint64_t)m->version, 4);
    memcpy(p + 4, m->build, 8);
    msg_put(p + 12, (uint64_t)m->capabilities, 2);
    msg_put(p + 14, (uint64_t)m->reset_cause, 1);
    msg_put(p + 15, (uint64_t)m->slot, 1);
    msg_put(p + 16, (uint64_t)m->dictionary_size, 2);
}
static inline void msg_about_unpack(struct msg_about *m, const uint8_t *p) {
    m->version = (uint32_t)msg_get(p + 0, 4);
    memcpy(m->build, p + 4, 8);
    m->capabilities = (uint16_t)msg_get(p + 12, 2);
    m->reset_cause = (uint8_t)msg_get(p + 14, 1);
    m->slot = (uint8_t)msg_get(p + 15, 1);
    m->dictionary_size = (uint16_t)msg_get(p + 16, 2);
}
/* Index of the first field outside its range, or -1. */
static inline int msg_about_check(const struct msg_about *m) {
    if (m->reset_cause > 3) return 3;
    (void)m;
    return -1;
}

#endif
