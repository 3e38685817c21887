/* rope.c - rotary positions: which base, scale, factors and pairing a layer has. */
#include <math.h>

#include "model/build.h"

static struct ggml_tensor *factors_of(const lathe_build *b) {
    if (b->w->rope_factors_long != NULL && b->w->rope_factors_short != NULL)
        return b->rope_long ? b->w->rope_factors_long : b->w->rope_factors_short;
    return b->w->rope_freqs;
}

static struct ggml_tensor *rotate(lathe_build *b, int32_t layer, struct ggml_tensor *x,
                                  struct ggml_tensor *pos, float attn_factor) {
    const lathe_desc *d = b->desc;
    bool sliding = lathe_desc_window(d, layer) > 0;
    int mode = d->family->position == LATHE_POSITION_ROPE_NEOX ? GGML_ROPE_TYPE_NEOX : GGML_ROPE_TYPE_NORMAL;
    return ggml_rope_ext(b->ctx, x, pos, factors_of(b), d->n_rot, mode, d->n_ctx_orig,
                         sliding ? d->rope_base_sliding : d->rope_base,
                         sliding ? d->rope_freq_scale_sliding : d->rope_freq_scale, d->rope_ext_factor,
                         attn_factor, d->rope_beta_fast, d->rope_beta_slow);
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
