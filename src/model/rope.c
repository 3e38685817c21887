/* rope.c - rotary positions: which base, scale, factors and pairing a layer has. */
#include <math.h>

#include "model/build.h"

struct ggml_tensor *lathe_rope_factors(const lathe_build *b) {
    if (b->w->rope_factors_long != NULL && b->w->rope_factors_short != NULL)
        return b->rope_long ? b->w->rope_factors_long : b->w->rope_factors_short;
    return b->w->rope_freqs;
}

lathe_rope lathe_rope_of(const lathe_desc *d, bool sliding) {
    return (lathe_rope){.n_rot = d->n_rot,
                        .n_ctx_orig = d->n_ctx_orig,
                        .neox = d->family->position == LATHE_POSITION_ROPE_NEOX,
                        .base = sliding ? d->rope_base_sliding : d->rope_base,
                        .freq_scale = sliding ? d->rope_freq_scale_sliding : d->rope_freq_scale,
                        .ext_factor = d->rope_ext_factor,
                        .attn_factor = d->rope_attn_factor,
                        .beta_fast = d->rope_beta_fast,
                        .beta_slow = d->rope_beta_slow};
}

static struct ggml_tensor *rotate(lathe_build *b, int32_t layer, struct ggml_tensor *x,
                                  struct ggml_tensor *pos, float attn_factor) {
    const lathe_rope r = lathe_rope_of(b->desc, lathe_desc_window(b->desc, layer) > 0);
    return ggml_rope_ext(b->ctx, x, pos, lathe_rope_factors(b), r.n_rot,
                         r.neox ? GGML_ROPE_TYPE_NEOX : GGML_ROPE_TYPE_NORMAL, r.n_ctx_orig, r.base,
                         r.freq_scale, r.ext_factor, attn_factor, r.beta_fast, r.beta_slow);
}

struct ggml_tensor *lathe_build_rope(lathe_build *b, int32_t layer, struct ggml_tensor *x) {
    if (b->desc->n_rot == 0)
        return x;
    return rotate(b, layer, x, b->pos, b->desc->rope_attn_factor);
}

struct ggml_tensor *lathe_build_rope_shift(lathe_build *b, int32_t layer, struct ggml_tensor *x,
                                           struct ggml_tensor *delta) {
    const lathe_desc *d = b->desc;
    float scale = lathe_desc_window(d, layer) > 0 ? d->rope_freq_scale_sliding : d->rope_freq_scale;
    float own = d->rope_ext_factor != 0.0f ? 1.0f + 0.1f * logf(1.0f / scale)
                                           : 1.0f; /* what the op multiplies by itself */
    return rotate(b, layer, x, delta, 1.0f / own);
}
