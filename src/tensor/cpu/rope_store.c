/* rope_store.c - see rope_store.h. */
#include "tensor/cpu/rope_store.h"

#include <ggml.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tensor/cpu/attention_set.h"

enum { SRC_Q, SRC_K, SRC_V, SRC_POS, SRC_ROWS, SRC_CACHE_K, SRC_CACHE_V, SRC_FACTORS, SRC_N };
enum { WIDTH = LATHE_ATTENTION_DH_MAX };

lathe_status lathe_rope_op_init(lathe_rope_op *op, const lathe_rope *rope, const lathe_cpu *cpu,
                                int64_t n_slots, lathe_error *err) {
    *op = (lathe_rope_op){.rope = *rope, .cpu = cpu, .n_slots = n_slots};
    op->angles = calloc((size_t) (n_slots * rope->n_rot) + 1, sizeof *op->angles);
    op->position = malloc(((size_t) n_slots + 1) * sizeof *op->position);
    if (op->angles == NULL || op->position == NULL) {
        lathe_rope_op_free(op);
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for the angles of %lld positions",
                          (long long) n_slots);
    }
    for (int64_t i = 0; i < n_slots; i++)
        op->position[i] = -1;
    return LATHE_OK;
}

void lathe_rope_op_free(lathe_rope_op *op) {
    free(op->angles);
    free(op->position);
    *op = (lathe_rope_op){0};
}

/* --- Angles -------------------------------------------------------------------------------------- */

/* Share of the unscaled angle that pair i keeps: 1 for fast pairs, 0 for slow ones (YaRN's ramp). */
static float kept_share(const float limits[2], int32_t i) {
    float x = ((float) i - limits[0]) / fmaxf(0.001f, limits[1] - limits[0]);
    return 1.0f - fminf(1.0f, fmaxf(0.0f, x));
}

/* The exponent is stepped in float from pair to pair, as ggml does it: far positions then meet the same
 * angles as in models that were served there. */
static void compute_angles(const lathe_rope *r, int32_t position, const float *factors, float *out) {
    const float step = powf(r->base, -2.0f / (float) r->n_rot);
    const bool blends = r->ext_factor > 0.0f || r->ext_factor < 0.0f;
    float limits[2], theta = (float) position, size = r->attn_factor;
    if (blends) {
        ggml_rope_yarn_corr_dims(r->n_rot, r->n_ctx_orig, r->base, r->beta_fast, r->beta_slow, limits);
        size *= 1.0f + 0.1f * logf(1.0f / r->freq_scale);
    }
    for (int32_t i = 0; i < r->n_rot / 2; i++, theta *= step) {
        const float whole = factors != NULL ? theta / factors[i] : theta;
        float angle = r->freq_scale * whole;
        if (blends) {
            const float share = kept_share(limits, i) * r->ext_factor;
            angle = angle * (1.0f - share) + whole * share;
        }
        out[2 * i] = cosf(angle) * size;
        out[2 * i + 1] = sinf(angle) * size;
    }
}

/* Those of row t; rows beyond the slots are computed into `room`. A row belongs to one thread. */
static const float *angles_of(lathe_rope_op *op, int64_t t, int32_t position, const float *factors,
                              float *room) {
    if (t >= op->n_slots) {
        compute_angles(&op->rope, position, factors, room);
        return room;
    }
    float *slot = op->angles + t * op->rope.n_rot;
    if (op->position[t] != position || position < 0) {
        compute_angles(&op->rope, position, factors, slot);
        op->position[t] = position;
    }
    return slot;
}

/* --- A row --------------------------------------------------------------------------------------- */

static void rotate(const lathe_rope *r, const float *angles, const float *x, int64_t n, float *out) {
    const int32_t half = r->n_rot / 2;
    if (r->neox)
        for (int32_t i = 0; i < half; i++) {
            const float a = x[i], b = x[half + i], c = angles[2 * i], s = angles[2 * i + 1];
            out[i] = a * c - b * s;
            out[half + i] = a * s + b * c;
        }
    else
        for (int32_t i = 0; i < half; i++) {
            const float a = x[2 * i], b = x[2 * i + 1], c = angles[2 * i], s = angles[2 * i + 1];
            out[2 * i] = a * c - b * s;
            out[2 * i + 1] = a * s + b * c;
        }
    if (n > r->n_rot)
        memcpy(out + r->n_rot, x + r->n_rot, (size_t) (n - r->n_rot) * sizeof *out);
}

static void put(const lathe_cpu *cpu, enum ggml_type type, const float *x, int64_t n, void *to) {
    switch (type) {
    case GGML_TYPE_F32:
        memcpy(to, x, (size_t) n * sizeof *x);
        return;
    case GGML_TYPE_F16:
        cpu->attention->to_half(x, n, to);
        return;
    case GGML_TYPE_BF16:
        ggml_fp32_to_bf16_row(x, to, n);
        return;
    default:
        ggml_get_type_traits(type)->from_float_ref(x, to, n);
    }
}

static const float *head_of(const struct ggml_tensor *x, int64_t h, int64_t t) {
    return (const float *) (const void *) ((const char *) x->data + (size_t) h * x->nb[1] +
                                           (size_t) t * x->nb[2]);
}

static void store_row(const lathe_rope_op *op, struct ggml_tensor *const *src, const float *angles,
                      int64_t t) {
    const struct ggml_tensor *k = src[SRC_K], *v = src[SRC_V], *ck = src[SRC_CACHE_K], *cv = src[SRC_CACHE_V];
    const int64_t row = ((const int64_t *) src[SRC_ROWS]->data)[t];
    if (row < 0 || row >= ck->ne[1] || row >= cv->ne[1])
        return;
    char *to_k = (char *) ck->data + (size_t) row * ck->nb[1],
         *to_v = (char *) cv->data + (size_t) row * cv->nb[1];
    for (int64_t h = 0; h < k->ne[1]; h++) {
        float turned[WIDTH];
        rotate(&op->rope, angles, head_of(k, h, t), k->ne[0], turned);
        put(op->cpu, ck->type, turned, k->ne[0], to_k + (size_t) h * ggml_row_size(ck->type, k->ne[0]));
        put(op->cpu, cv->type, head_of(v, h, t), v->ne[0],
            to_v + (size_t) h * ggml_row_size(cv->type, v->ne[0]));
    }
}

static void rope_store_op(struct ggml_tensor *dst, int ith, int nth, void *user) {
    lathe_rope_op *op = user;
    const struct ggml_tensor *q = dst->src[SRC_Q], *factors = dst->src[SRC_FACTORS];
    const int32_t *pos = dst->src[SRC_POS]->data;
    for (int64_t t = ith; t < q->ne[2]; t += nth) {
        float room[WIDTH];
        const float *angles =
            angles_of(op, t, pos[t], factors != NULL ? (const float *) factors->data : NULL, room);
        for (int64_t h = 0; h < q->ne[1]; h++)
            rotate(&op->rope, angles, head_of(q, h, t), q->ne[0],
                   (float *) dst->data + (t * q->ne[1] + h) * q->ne[0]);
        store_row(op, dst->src, angles, t);
    }
}

/* --- Building ------------------------------------------------------------------------------------ */

static bool are_heads(const struct ggml_tensor *x, int64_t n_heads, int64_t T) {
    return x->type == GGML_TYPE_F32 && x->nb[0] == sizeof(float) && x->ne[0] >= 1 && x->ne[0] <= WIDTH &&
           (n_heads == 0 || x->ne[1] == n_heads) && x->ne[2] == T && x->ne[3] == 1;
}

static bool takes(const struct ggml_tensor *cache, const struct ggml_tensor *x) {
    switch (cache->type) {
    case GGML_TYPE_F32:
    case GGML_TYPE_F16:
    case GGML_TYPE_BF16:
    case GGML_TYPE_Q8_0:
    case GGML_TYPE_Q4_0:
        return cache->ne[0] == x->ne[0] * x->ne[1] && x->ne[0] % ggml_blck_size(cache->type) == 0 &&
               cache->ne[2] == 1 && cache->ne[3] == 1;
    default:
        return false;
    }
}

struct ggml_tensor *lathe_rope_store(lathe_rope_op *op, struct ggml_context *ctx,
                                     const lathe_rope_store_in *in) {
    const int64_t T = in->q->ne[2];
    const int32_t n_rot = op->rope.n_rot;
    if (n_rot < 2 || n_rot % 2 != 0 || in->q->ne[0] < n_rot || in->q->ne[0] != in->k->ne[0] ||
        !are_heads(in->q, 0, T) || !are_heads(in->k, 0, T) || !are_heads(in->v, in->k->ne[1], T) ||
        in->pos->type != GGML_TYPE_I32 || in->pos->ne[0] != T || in->rows->type != GGML_TYPE_I64 ||
        in->rows->ne[0] != T || !takes(in->cache_k, in->k) || !takes(in->cache_v, in->v) ||
        (in->factors != NULL && (in->factors->type != GGML_TYPE_F32 || in->factors->ne[0] < n_rot / 2)))
        return NULL;
    struct ggml_tensor *src[SRC_N] = {in->q,    in->k,       in->v,       in->pos,
                                      in->rows, in->cache_k, in->cache_v, in->factors};
    return ggml_custom_4d(ctx, GGML_TYPE_F32, in->q->ne[0], in->q->ne[1], T, 1, src,
                          in->factors != NULL ? SRC_N : SRC_FACTORS, rope_store_op,
                          T > 1 ? GGML_N_TASKS_MAX : 1, op);
}
