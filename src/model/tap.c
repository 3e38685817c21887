/* tap.c - names of intermediate tensors, and their values after a run. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/model_impl.h"

/* In the order of lathe_tap. alias: the name that TransformerLens gives. */
static const struct {
    const char *name, *alias;
} tap_names[LATHE_TAP_COUNT] = {
    {"embd", "hook_embed"},
    {"resid_pre", "hook_resid_pre"},
    {"attn_norm", "ln1.hook_normalized"},
    {"q", "attn.hook_q"},
    {"k", "attn.hook_k"},
    {"v", "attn.hook_v"},
    {"q_rot", "attn.hook_rot_q"},
    {"k_rot", "attn.hook_rot_k"},
    {"scores", "attn.hook_attn_scores"},
    {"probs", "attn.hook_pattern"},
    {"z", "attn.hook_z"},
    {"attn_out", "hook_attn_out"},
    {"resid_mid", "hook_resid_mid"},
    {"ffn_norm", "ln2.hook_normalized"},
    {"ffn_act", "mlp.hook_post"},
    {"ffn_out", "hook_mlp_out"},
    {"resid_post", "hook_resid_post"},
    {"final_norm", "ln_final.hook_normalized"},
};

bool lathe_tap_wanted(const lathe_tap_list *taps, lathe_tap which, int32_t layer) {
    if ((taps->wanted >> which & 1u) == 0)
        return false;
    return layer < 0 || (layer >= taps->layer_first && (taps->layer_last < 0 || layer <= taps->layer_last));
}

/* One name, "blocks." and a layer in front of it or not. *layer: that layer, or unchanged. */
static int find_tap(const char *name, size_t n, int32_t *layer) {
    static const char prefix[] = "blocks.";
    if (n > sizeof prefix - 1 && memcmp(name, prefix, sizeof prefix - 1) == 0) {
        size_t i = sizeof prefix - 1;
        int32_t l = 0;
        size_t digits = 0;
        for (; i < n && name[i] >= '0' && name[i] <= '9' && digits < 5; i++, digits++)
            l = l * 10 + (name[i] - '0');
        if (digits == 0 || i >= n || name[i] != '.')
            return -1;
        *layer = l;
        name += i + 1;
        n -= i + 1;
    }
    for (int i = 0; i < LATHE_TAP_COUNT; i++)
        if ((strlen(tap_names[i].name) == n && memcmp(tap_names[i].name, name, n) == 0) ||
            (strlen(tap_names[i].alias) == n && memcmp(tap_names[i].alias, name, n) == 0))
            return i;
    return -1;
}

static lathe_status unknown_tap(const char *name, size_t n, lathe_error *err) {
    char all[320];
    size_t used = 0;
    for (int i = 0; i < LATHE_TAP_COUNT; i++)
        used +=
            (size_t) snprintf(all + used, sizeof all - used, "%s%s", i > 0 ? ", " : "", tap_names[i].name);
    return lathe_fail(err, LATHE_ERR_ARG, "no tap '%.*s'; there are: %s", (int) (n < 40 ? n : 40), name, all);
}

lathe_status lathe_context_tap(lathe_context *c, const char *names, int32_t layer_first, int32_t layer_last,
                               void (*fn)(void *user, const lathe_tap_view *view), void *user,
                               lathe_error *err) {
    static const uint32_t first_generation = 1;
    uint32_t wanted = 0;
    int32_t n_layer = c->model->desc.n_layer, only = -1;
    if (names != NULL && fn == NULL)
        return lathe_fail(err, LATHE_ERR_ARG, "taps need a function to call");
    if (layer_first >= n_layer || layer_last >= n_layer || (layer_last >= 0 && layer_first > layer_last))
        return lathe_fail(err, LATHE_ERR_ARG, "layers %d to %d; within 0 to %d is right", layer_first,
                          layer_last, n_layer - 1);
    for (const char *at = names; at != NULL && *at != '\0';) {
        size_t n = strcspn(at, ",");
        int32_t layer = -1;
        int which = find_tap(at, n, &layer);
        if (which < 0)
            return unknown_tap(at, n, err);
        if (layer >= n_layer || (layer >= 0 && only >= 0 && only != layer))
            return lathe_fail(err, LATHE_ERR_ARG,
                              "tap '%.*s': one layer below %d for all names with a layer is right", (int) n,
                              at, n_layer);
        only = layer >= 0 ? layer : only;
        wanted |= (uint32_t) 1 << which;
        at += n + (at[n] == ',');
    }
    lathe_tap_list *t = &c->taps;
    t->wanted = wanted;
    t->layer_first = only >= 0 ? only : layer_first < 0 ? 0 : layer_first;
    t->layer_last = only >= 0 ? only : layer_last;
    t->fn = fn;
    t->user = user;
    for (int i = 0; i <= LATHE_GRAPH_SLOTS; i++) /* graphs with other taps are not to be mistaken for these */
        if (c->graphs[i].key.taps != 0)
            c->graphs[i].used = 0;
    t->generation = wanted != 0 ? first_generation : 0;
    return LATHE_OK;
}

lathe_status lathe_context_read_taps(lathe_context *c, const lathe_graph *g, int32_t n_tokens,
                                     lathe_error *err) {
    lathe_tap_list *t = &c->taps;
    for (size_t i = 0; i < g->n_taps; i++) {
        const struct ggml_tensor *x = g->taps[i].tensor;
        size_t n = (size_t) ggml_nelements(x);
        const float *values = NULL;
        if (x->buffer != NULL && ggml_backend_buffer_is_host(x->buffer)) {
            values = x->data;
        } else {
            if (n > t->n_values) {
                float *more = realloc(t->values, n * sizeof *more);
                if (more == NULL)
                    return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a tap of %zu values", n);
                t->values = more;
                t->n_values = n;
            }
            ggml_backend_tensor_get(x, t->values, 0, n * sizeof(float));
            values = t->values;
        }
        lathe_tap_view view = {.name = tap_names[g->taps[i].which].name,
                               .layer = g->taps[i].layer,
                               .data = values,
                               .pos = c->pos,
                               .n_tokens = n_tokens};
        memcpy(view.ne, x->ne, sizeof view.ne);
        t->fn(t->user, &view);
    }
    return LATHE_OK;
}
