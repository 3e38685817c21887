/* attention_read.h - attention_tmpl.h's reading of the cache: 16 numbers of any type, a block's keys and
 * values, what is asked for ahead. */
ALWAYS size_t type_offset(const lathe_kv_type type, int64_t d) {
    switch (type) {
    case LATHE_KV_F32:
        return (size_t) d * 4;
    case LATHE_KV_Q8_0:
        return (size_t) (d / 32) * 34;
    case LATHE_KV_Q4_0:
        return (size_t) (d / 32) * 18;
    default:
        return (size_t) d * 2;
    }
}

/* Values d to d + 15 of a cached row; d is a multiple of 16. */
ALWAYS vf load16(const lathe_kv_type type, const uint8_t *row, int64_t d) {
    const uint8_t *p = row + type_offset(type, d);
    switch (type) {
    case LATHE_KV_F16:
        return vf_half(p);
    case LATHE_KV_BF16:
        return vf_bf16(p);
    case LATHE_KV_Q8_0:
        return vf_mul(vf_set1(half_of(p)), vf_of(vi_s8(p + 2 + d % 32)));
    case LATHE_KV_Q4_0:
        return vf_mul(vf_set1(half_of(p)), vf_of(vi_add(vi_nibbles(p + 2, d % 32 != 0), vi_set1(-8))));
    default:
        return vf_bytes(p);
    }
}

/* The last n < 16 values of a row. */
ALWAYS vf load_tail(const lathe_kv_type type, const uint8_t *row, int64_t d, int64_t n) {
    uint8_t bytes[64] = {0};
    memcpy(bytes, row + type_offset(type, d), (size_t) n * (type == LATHE_KV_F32 ? 4 : 2));
    return load16(type, bytes, 0);
}

/* Asks for a share of what is to come. A block that is worked on as its keys lie looks LOOKS times. */
ALWAYS void look_ahead(attn_block *b) {
    int at = b->at_ahead, stop = at + b->per_look < b->n_ahead ? at + b->per_look : b->n_ahead;
    for (int i = at; i < stop; i++) {
        __builtin_prefetch(b->ahead[i]);
        __builtin_prefetch(b->ahead[i] + 64);
    }
    b->at_ahead = stop;
}

/* The block's keys, transposed. */
ALWAYS void load_keys(const lathe_kv_type type, int64_t dk, attn_block *b) {
    for (int e0 = 0; e0 < b->n; e0 += 16)
        for (int64_t d = 0; d < dk; d += 16) {
            vf r[16];
            for (int i = 0; i < 16; i++)
                r[i] = d + 16 <= dk ? load16(type, b->k_row[e0 + i], d)
                                    : load_tail(type, b->k_row[e0 + i], d, dk - d);
            vf_transpose(r);
            for (int i = 0; i < 16 && d + i < dk; i++)
                vf_store(b->k + (d + i) * BLOCK + e0, r[i]);
            look_ahead(b);
        }
}

ALWAYS void load_values(const lathe_kv_type type, int64_t dv, attn_block *b) {
    const int64_t width = (dv + 15) / 16 * 16;
    for (int e = 0; e < b->n; e++) {
        int64_t d = 0;
        for (; d + 16 <= dv; d += 16)
            vf_store(b->v + e * width + d, load16(type, b->v_row[e], d));
        if (d < dv)
            vf_store(b->v + e * width + d, load_tail(type, b->v_row[e], d, dv - d));
    }
}

/* One function of each cache type, so that the type is a constant inside. */
#define LOADERS(name, type)                                                                                  \
    static void values_##name(int64_t dv, attn_block *b) {                                                   \
        load_values(type, dv, b);                                                                            \
    }
LOADERS(f32, LATHE_KV_F32)
LOADERS(f16, LATHE_KV_F16)
LOADERS(bf16, LATHE_KV_BF16)
LOADERS(q8_0, LATHE_KV_Q8_0)
LOADERS(q4_0, LATHE_KV_Q4_0)
#undef LOADERS

typedef void (*loader)(int64_t width, attn_block *b);
static const loader value_loaders[LATHE_KV_TYPES] = {values_f32, values_f16, values_bf16, values_q8_0,
                                                     values_q4_0};
