/* pack.c - from the file's blocks to groups of 16 interleaved rows (cpu.h).
 *
 * A group, by type; "lines" are 64 bytes, 4 a row:
 *   q4_0   a block of 32: 16 half scales; 4 lines, line j: weights 4j.. low, 16 + 4j.. high nibble
 *   q8_0   a block of 32: 16 half scales; 8 lines of weight + 128
 *   q4_K   a block of 256: 16 half scales, 16 half minima; then 8 times: 16 byte scales, 16 byte minima, 4
 *          lines as q4_0
 *   q5_K   the same, each eighth followed by a line of fifth bits: bit 2j + h is that of weight 16h + 4j + i
 *   q6_K   a block of 256: 16 half scales; then 8 times: 2 x 16 signed byte scales, 4 lines as q4_0, 2 lines
 *          of upper bits: line h, bits 2j and 2j + 1 are those of weight 16h + 4j + i
 *   f16, bf16   for each column 16 numbers as they are */
#include "tensor/cpu/cpu.h"

#include <string.h>

static const struct {
    const char *name;
    int64_t block;
    size_t source, packed; /* bytes of a block: of one row, of 16 */
} types[LATHE_PACKED_TYPES] = {
    [LATHE_PACKED_Q4_0] = {"q4_0", 32, 18, 32 + 256},
    [LATHE_PACKED_Q8_0] = {"q8_0", 32, 34, 32 + 512},
    [LATHE_PACKED_Q4_K] = {"q4_K", 256, 144, 64 + 8 * (32 + 256)},
    [LATHE_PACKED_Q5_K] = {"q5_K", 256, 176, 64 + 8 * (32 + 256 + 64)},
    [LATHE_PACKED_Q6_K] = {"q6_K", 256, 210, 32 + 8 * (32 + 256 + 128)},
    [LATHE_PACKED_F16] = {"f16", 8, 16, 8 * 32},
    [LATHE_PACKED_BF16] = {"bf16", 8, 16, 8 * 32},
};

const char *lathe_packed_type_name(lathe_packed_type type) {
    return types[type].name;
}

int64_t lathe_packed_block(lathe_packed_type type) {
    return types[type].block;
}

size_t lathe_packed_source_row(lathe_packed_type type, int64_t n_cols) {
    return (size_t) (n_cols / types[type].block) * types[type].source;
}

size_t lathe_packed_group_bytes(lathe_packed_type type, int64_t n_cols) {
    return (size_t) (n_cols / types[type].block) * types[type].packed;
}

bool lathe_packed_takes_floats(lathe_packed_type type) {
    return type == LATHE_PACKED_F16 || type == LATHE_PACKED_BF16;
}

int64_t lathe_packed_groups(const lathe_packed *w) {
    return (w->n_rows + LATHE_PACKED_ROWS - 1) / LATHE_PACKED_ROWS;
}

/* Row r's 32 values (low 4 bits count) into 4 lines. */
static void put_nibbles(uint8_t *lines, int r, const uint8_t v[32]) {
    for (int j = 0; j < 4; j++)
        for (int i = 0; i < 4; i++)
            lines[64 * j + 4 * r + i] = (uint8_t) ((v[4 * j + i] & 15) | (v[16 + 4 * j + i] & 15) << 4);
}

static void pack_q4_0(uint8_t *out, int r, const uint8_t *in) {
    memcpy(out + 2 * r, in, 2);
    for (int j = 0; j < 4; j++) /* the file's bytes pair weights 16 apart too: they only move */
        memcpy(out + 32 + 64 * j + 4 * r, in + 2 + 4 * j, 4);
}

static void pack_q8_0(uint8_t *out, int r, const uint8_t *in) {
    memcpy(out + 2 * r, in, 2);
    for (int j = 0; j < 8; j++)
        for (int i = 0; i < 4; i++)
            out[32 + 64 * j + 4 * r + i] = in[2 + 4 * j + i] ^ 0x80;
}

/* The 6-bit scale and minimum of eighth s: the first four are whole bytes' low bits, the others are put
 * together from nibbles and the first ones' upper bits. */
static void k_scale(const uint8_t s12[12], int s, uint8_t *scale, uint8_t *min) {
    if (s < 4) {
        *scale = s12[s] & 63;
        *min = s12[s + 4] & 63;
    } else {
        *scale = (uint8_t) ((s12[s + 4] & 15) | (s12[s - 4] >> 6) << 4);
        *min = (uint8_t) (s12[s + 4] >> 4 | (s12[s] >> 6) << 4);
    }
}

static void pack_k(uint8_t *out, int r, const uint8_t *in, bool five) {
    const uint8_t *high = in + 16, *low = five ? in + 48 : in + 16;
    memcpy(out + 2 * r, in, 2);
    memcpy(out + 32 + 2 * r, in + 2, 2);
    uint8_t *p = out + 64;
    for (int s = 0; s < 8; s++) {
        uint8_t v[32];
        k_scale(in + 4, s, &p[r], &p[16 + r]);
        for (int i = 0; i < 32; i++)
            v[i] = (low[32 * (s / 2) + i] >> 4 * (s % 2)) & 15;
        put_nibbles(p + 32, r, v);
        p += 32 + 256;
        if (five) {
            for (int i = 0; i < 4; i++) {
                uint8_t bits = 0;
                for (int j = 0; j < 4; j++)
                    for (int h = 0; h < 2; h++)
                        bits |= (uint8_t) ((high[16 * h + 4 * j + i] >> s & 1) << (2 * j + h));
                p[4 * r + i] = bits;
            }
            p += 64;
        }
    }
}

static void pack_q6_k(uint8_t *out, int r, const uint8_t *in) {
    const uint8_t *low = in, *high = in + 128, *scales = in + 192;
    memcpy(out + 2 * r, in + 208, 2);
    uint8_t *p = out + 32;
    for (int s = 0; s < 8; s++) {
        const uint8_t *l = low + 64 * (s / 4) + 32 * (s % 2), *h = high + 32 * (s / 4);
        uint8_t v[32];
        p[r] = scales[2 * s];
        p[16 + r] = scales[2 * s + 1];
        for (int i = 0; i < 32; i++)
            v[i] = (l[i] >> 4 * (s / 2 % 2)) & 15;
        put_nibbles(p + 32, r, v);
        for (int half = 0; half < 2; half++)
            for (int i = 0; i < 4; i++) {
                uint8_t bits = 0;
                for (int j = 0; j < 4; j++)
                    bits |= (uint8_t) ((h[16 * half + 4 * j + i] >> 2 * (s % 4) & 3) << 2 * j);
                p[32 + 256 + 64 * half + 4 * r + i] = bits;
            }
        p += 32 + 256 + 128;
    }
}

static void pack_float(uint8_t *out, int r, const uint8_t *in) {
    for (int i = 0; i < 8; i++)
        memcpy(out + 32 * i + 2 * r, in + 2 * i, 2);
}

void lathe_pack(const lathe_packed *w, const void *source, int64_t group_first, int64_t group_end) {
    size_t row = lathe_packed_source_row(w->type, w->n_cols);
    size_t group = lathe_packed_group_bytes(w->type, w->n_cols);
    size_t from = types[w->type].source, to = types[w->type].packed;
    for (int64_t g = group_first; g < group_end; g++) {
        uint8_t *out = w->data + (size_t) g * group;
        if ((g + 1) * LATHE_PACKED_ROWS > w->n_rows)
            memset(out, 0, group);
        for (int r = 0; r < LATHE_PACKED_ROWS && g * LATHE_PACKED_ROWS + r < w->n_rows; r++) {
            const uint8_t *in = (const uint8_t *) source + (size_t) (g * LATHE_PACKED_ROWS + r) * row;
            for (int64_t b = 0; b < w->n_cols / types[w->type].block; b++) {
                uint8_t *o = out + (size_t) b * to;
                const uint8_t *i = in + (size_t) b * from;
                switch (w->type) {
                case LATHE_PACKED_Q4_0:
                    pack_q4_0(o, r, i);
                    break;
                case LATHE_PACKED_Q8_0:
                    pack_q8_0(o, r, i);
                    break;
                case LATHE_PACKED_Q4_K:
                    pack_k(o, r, i, false);
                    break;
                case LATHE_PACKED_Q5_K:
                    pack_k(o, r, i, true);
                    break;
                case LATHE_PACKED_Q6_K:
                    pack_q6_k(o, r, i);
                    break;
                case LATHE_PACKED_F16:
                case LATHE_PACKED_BF16:
                    pack_float(o, r, i);
                    break;
                case LATHE_PACKED_TYPES:
                    break;
                }
            }
        }
    }
}
