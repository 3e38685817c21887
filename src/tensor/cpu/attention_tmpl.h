/* attention_tmpl.h - fused attention of a few rows over cached keys and values (cpu.h), over the 16 lanes of
 * a simd_*.h; included after matmul_tmpl.h. */

enum { ATTN_BLOCK = 32, ATTN_ROWS = 16 };

/* exp(x) for x <= 0, relative error below 3e-7; 0 below -87. */
ALWAYS float exp_negative(float x) {
    float y = x < -87.0f ? -87.0f : x;
    float shifted = y * 1.44269504f + 12582912.0f, n = shifted - 12582912.0f;
    float r = y - n * 0.693359375f + n * 2.12194440e-4f, p = 1.0f / 5040.0f;
    int32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    p = p * r + 1.0f / 720.0f;
    p = p * r + 1.0f / 120.0f;
    p = p * r + 1.0f / 24.0f;
    p = p * r + 1.0f / 6.0f;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    int32_t power = (bits - 0x4b400000 + 127) * (1 << 23);
    float scale;
    memcpy(&scale, &power, sizeof scale);
    return x < -87.0f ? 0.0f : p * scale;
}

ALWAYS void to_floats(float *out, const void *in, bool is_half, int64_t n) {
    if (!is_half) {
        memcpy(out, in, (size_t) n * sizeof(float));
        return;
    }
    for (int64_t i = 0; i < n; i += 16)
        vf_store(out + i, vf_half((const uint8_t *) in + 2 * i));
}

/* One query over a block of n rows: o, m and l are the unnormalised result, the maximum and the sum. */
ALWAYS void attend_block(const lathe_attention_args *a, const float *q, const float *k, const float *v,
                         const float *mask, int n, float *o, float *m, float *l) {
    float s[ATTN_BLOCK], largest = -INFINITY;
    for (int i = 0; i < n; i++) {
        s[i] = -INFINITY;
        if (mask[i] == -INFINITY)
            continue;
        vf sum = vf_set1(0.0f);
        for (int64_t d = 0; d < a->dh; d += 16)
            sum = vf_fma(vf_load(q + d), vf_load(k + i * a->dh + d), sum);
        float x = vf_sum(sum) * a->scale;
        if (a->softcap > 0.0f)
            x = a->softcap * tanhf(x / a->softcap);
        s[i] = x + mask[i];
        if (isnan(s[i]))
            *l = NAN; /* the maximum would pass it over */
        largest = s[i] > largest ? s[i] : largest;
    }
    for (int i = n; i < ATTN_BLOCK; i++)
        s[i] = -INFINITY;
    if (largest == -INFINITY)
        return;
    if (largest > *m) {
        float shrink = *m == -INFINITY ? 0.0f : exp_negative(*m - largest);
        *m = largest;
        *l *= shrink;
        for (int64_t d = 0; d < a->dh; d++)
            o[d] *= shrink;
    }
    for (int i = 0; i < ATTN_BLOCK; i++)
        s[i] = exp_negative(s[i] - *m);
    for (int i = 0; i < n; i++)
        *l += s[i];
    for (int64_t d = 0; d < a->dh; d += 16) {
        vf sum = vf_load(o + d);
        for (int i = 0; i < n; i++)
            if (s[i] != 0.0f) /* rows that nobody sees may hold anything */
                sum = vf_fma(vf_set1(s[i]), vf_load(v + i * a->dh + d), sum);
        vf_store(o + d, sum);
    }
}

static void attention(const lathe_attention_args *a, int64_t head_first, int64_t head_end) {
    float k[ATTN_BLOCK * LATHE_ATTENTION_DH_MAX], v[ATTN_BLOCK * LATHE_ATTENTION_DH_MAX];
    float m[ATTN_ROWS * LATHE_ATTENTION_GROUP_MAX], l[ATTN_ROWS * LATHE_ATTENTION_GROUP_MAX];
    const int64_t group = a->n_head / a->n_head_kv;
    for (int64_t h = head_first; h < head_end; h++)
        for (int64_t t0 = 0; t0 < a->n_q; t0 += ATTN_ROWS) {
            int64_t t1 = a->n_q - t0 < ATTN_ROWS ? a->n_q : t0 + ATTN_ROWS;
            for (int64_t i = 0; i < (t1 - t0) * group; i++) {
                m[i] = -INFINITY;
                l[i] = 0.0f;
            }
            for (int64_t t = t0; t < t1; t++)
                memset(a->out + (t * a->n_head + h * group) * a->dh, 0,
                       (size_t) (group * a->dh) * sizeof(float));
            for (int64_t r0 = 0; r0 < a->n_kv; r0 += ATTN_BLOCK) {
                int n = a->n_kv - r0 < ATTN_BLOCK ? (int) (a->n_kv - r0) : ATTN_BLOCK;
                bool loaded = false;
                for (int64_t t = t0; t < t1; t++) {
                    float mask[ATTN_BLOCK];
                    bool any = false;
                    for (int i = 0; i < n; i++) {
                        mask[i] = lathe_half_to_float(a->mask[t * a->mask_stride + r0 + i]);
                        any = any || mask[i] > -INFINITY;
                    }
                    if (!any)
                        continue;
                    for (int i = 0; i < n && !loaded; i++) {
                        to_floats(k + i * a->dh, a->k + (size_t) (r0 + i) * a->k_row + (size_t) h * a->k_head,
                                  a->k_half, a->dh);
                        to_floats(v + i * a->dh, a->v + (size_t) (r0 + i) * a->v_row + (size_t) h * a->v_head,
                                  a->v_half, a->dh);
                    }
                    loaded = true;
                    for (int64_t g = 0; g < group; g++) {
                        int64_t head = h * group + g, at = (t - t0) * group + g;
                        attend_block(a, a->q + t * a->q_row + head * a->q_head, k, v, mask, n,
                                     a->out + (t * a->n_head + head) * a->dh, &m[at], &l[at]);
                    }
                }
            }
            for (int64_t t = t0; t < t1; t++)
                for (int64_t g = 0; g < group; g++) {
                    float sum = l[(t - t0) * group + g], inverse = sum > 0.0f ? 1.0f / sum : sum;
                    for (int64_t d = 0; d < a->dh; d++)
                        a->out[(t * a->n_head + h * group + g) * a->dh + d] *= inverse;
                }
        }
}
