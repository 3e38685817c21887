/* attention.c - see attention.h. */
#include "tensor/cpu/attention.h"

#include <ggml.h>

static void attention_op(struct ggml_tensor *dst, int ith, int nth, void *user) {
    const lathe_attention_op *op = user;
    const struct ggml_tensor *q = dst->src[0], *k = dst->src[1], *v = dst->src[2], *mask = dst->src[3];
    const lathe_attention_args args = {
        .n_q = q->ne[1],
        .n_kv = k->ne[1],
        .n_head = q->ne[2],
        .n_head_kv = k->ne[2],
        .dh = q->ne[0],
        .q = q->data,
        .q_row = (int64_t) (q->nb[1] / sizeof(float)),
        .q_head = (int64_t) (q->nb[2] / sizeof(float)),
        .k = k->data,
        .v = v->data,
        .k_row = k->nb[1],
        .k_head = k->nb[2],
        .v_row = v->nb[1],
        .v_head = v->nb[2],
        .k_half = k->type == GGML_TYPE_F16,
        .v_half = v->type == GGML_TYPE_F16,
        .mask = mask->data,
        .mask_stride = (int64_t) (mask->nb[1] / sizeof(uint16_t)),
        .scale = op->scale,
        .softcap = op->softcap,
        .out = dst->data,
    };
    op->cpu->attention(&args, args.n_head_kv * ith / nth, args.n_head_kv * (ith + 1) / nth);
}

static bool is_cache(const struct ggml_tensor *t, const struct ggml_tensor *q) {
    return (t->type == GGML_TYPE_F16 || t->type == GGML_TYPE_F32) && t->ne[0] == q->ne[0] && t->ne[3] == 1 &&
           t->nb[0] == ggml_type_size(t->type);
}

struct ggml_tensor *lathe_fused_attention(void *user, struct ggml_context *ctx, struct ggml_tensor *q,
                                          struct ggml_tensor *k, struct ggml_tensor *v,
                                          struct ggml_tensor *mask, float scale, float softcap) {
    lathe_attention_op *op = user;
    if (op->scale < scale || op->scale > scale || op->softcap < softcap || op->softcap > softcap ||
        q->type != GGML_TYPE_F32 || q->nb[0] != sizeof(float) || q->ne[3] != 1 || q->ne[1] > op->n_q_max)
        return NULL;
    if (!is_cache(k, q) || !is_cache(v, q) || k->ne[1] != v->ne[1] || k->ne[2] != v->ne[2] || k->ne[2] == 0 ||
        q->ne[2] % k->ne[2] != 0 || q->ne[2] / k->ne[2] > LATHE_ATTENTION_GROUP_MAX || q->ne[0] % 16 != 0 ||
        q->ne[0] > LATHE_ATTENTION_DH_MAX)
        return NULL;
    if (mask->type != GGML_TYPE_F16 || mask->ne[0] < k->ne[1] || mask->ne[1] < q->ne[1] || mask->ne[2] != 1 ||
        mask->ne[3] != 1)
        return NULL;
    struct ggml_tensor *args[] = {q, k, v, mask};
    return ggml_custom_4d(ctx, GGML_TYPE_F32, q->ne[0] * q->ne[2], q->ne[1], 1, 1, args, 4, attention_op,
                          GGML_N_TASKS_MAX, op);
}
