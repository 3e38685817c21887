/* longspec.c - training LongSpec's draft: flash noisy training and anchor offsets as inputs of one static
 * graph.
 *
 * Noisy: in step s of a draft the newest target key is s positions old, so in training a query at t sees keys
 * up to t - j, j drawn for each micro-batch; queries before j see none, and their cross attention is zero.
 * Anchors: rotation knows differences of positions alone, so moving all but the first few tokens on by an
 * offset teaches large distances to these few (attention sinks), for target and draft alike. */
#include "train/longspec.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng_purpose.h"
#include "model/model_impl.h"

typedef struct ggml_tensor T;

enum { USUAL_SHIFTS = 5 };

struct lathe_longspec_teaching {
    const lathe_longspec_params *p;
    const lathe_train_params *train;
    lathe_train_task task;
    lathe_desc_tensor *list;
    lathe_longspec_desc desc;
    lathe_model *target; /* f32 */
    int32_t rows, n_ctx;
    T *mask_self, *mask_cross, *seen, *positions;
    T *k, *v; /* of the target's last layer, while a graph is built */
    int32_t offset_max;
    bool filled;                   /* the mask that never changes */
    lathe_longspec_result *result; /* may be NULL */
};
typedef lathe_longspec_teaching teaching;

lathe_longspec_params lathe_longspec_params_default(void) {
    return (lathe_longspec_params){.struct_size = sizeof(lathe_longspec_params),
                                   .window = 512,
                                   .shift_min = 1,
                                   .shift_max = 5,
                                   .anchors = 4};
}

/* --- Graph --------------------------------------------------------------------------------------------- */

static void inputs(void *user, struct ggml_context *ctx, int32_t rows, int32_t n_ctx) {
    teaching *s = user;
    s->mask_self = ggml_new_tensor_2d(ctx, GGML_TYPE_F32, n_ctx, n_ctx);
    s->mask_cross = ggml_new_tensor_2d(ctx, GGML_TYPE_F32, n_ctx, n_ctx);
    s->seen = ggml_new_tensor_2d(ctx, GGML_TYPE_F32, 1, (int64_t) rows * n_ctx);
}

static void catch_keys(void *user, lathe_tap which, int32_t layer, T *t) {
    teaching *s = user;
    if (layer != s->target->desc.n_layer - 1)
        return;
    if (which == LATHE_TAP_K_ROT)
        s->k = t;
    if (which == LATHE_TAP_V)
        s->v = t;
}

static T *by_head(struct ggml_context *ctx, T *x, int32_t n_ctx, int32_t rows) {
    return ggml_permute(ctx, ggml_reshape_4d(ctx, x, x->ne[0], x->ne[1], n_ctx, rows), 0, 2, 1, 3);
}

static T *logits(void *user, const lathe_net_io *io) {
    teaching *s = user;
    const lathe_desc *d = &s->target->desc;
    s->positions = io->positions;
    lathe_build b = {.ctx = io->ctx,
                     /* Only what the loss needs of the target is computed: this graph is thrown away. */
                     .gf = ggml_new_graph_custom(io->ctx, lathe_build_n_nodes(d, true), false),
                     .desc = d,
                     .w = &s->target->weights.by_role,
                     .gelu = LATHE_GELU_EXACT,
                     .plain = true,
                     .tokens = io->tokens,
                     .pos = io->positions,
                     .mask = io->mask,
                     .no_logits = true,
                     .n_tokens = io->n_ctx,
                     .n_seqs = io->rows,
                     .kernels = io->kernels,
                     .tap = catch_keys,
                     .tap_user = s};
    if (!s->p->no_cross)
        lathe_build_graph(&b);
    lathe_longspec_weights w;
    if (lathe_longspec_bind(&s->desc, io->find, io->net, &w, NULL) != LATHE_OK)
        return NULL; /* the list of tensors is the description's own */
    lathe_kernels kernels = {0};
    if (io->kernels != NULL)
        kernels = *io->kernels;
    kernels.attention = NULL; /* ours is not causal: it has masks of its own */
    b.gf = io->graph;
    b.tap = NULL;
    b.kernels = &kernels;
    lathe_longspec_build block = {.b = &b,
                                  .desc = &s->desc,
                                  .w = &w,
                                  .mask_self = s->mask_self,
                                  .mask_cross = s->mask_cross,
                                  .seen = s->seen};
    if (!s->p->no_cross) {
        block.k_cross = by_head(io->ctx, s->k, io->n_ctx, io->rows);
        block.v_cross = by_head(io->ctx, s->v, io->n_ctx, io->rows);
    }
    return lathe_longspec_graph(&block);
}

/* --- Inputs of a step ---------------------------------------------------------------------------------- */

void lathe_longspec_positions(int32_t rows, int32_t n, int32_t anchors, int32_t offset, int32_t *pos) {
    for (int32_t r = 0; r < rows; r++)
        for (int32_t i = 0; i < n; i++)
            pos[(size_t) r * (size_t) n + (size_t) i] = i + (i >= anchors ? offset : 0);
}

void lathe_longspec_cross_mask(int32_t rows, int32_t n, int32_t shift, float *mask, float *seen) {
    for (int32_t q = 0; q < n; q++)
        for (int32_t k = 0; k < n; k++)
            mask[(size_t) q * (size_t) n + (size_t) k] =
                k <= q - shift || (q < shift && k == 0) ? 0 : -INFINITY;
    for (int32_t r = 0; r < rows; r++)
        for (int32_t q = 0; q < n; q++)
            seen[(size_t) r * (size_t) n + (size_t) q] = q < shift ? 0.0f : 1.0f;
}

void lathe_longspec_self_mask(int32_t n, int32_t window, float *mask) {
    for (int32_t q = 0; q < n; q++)
        for (int32_t k = 0; k < n; k++)
            mask[(size_t) q * (size_t) n + (size_t) k] = k <= q && k >= q - window ? 0 : -INFINITY;
}

void lathe_longspec_set(teaching *s, int32_t shift, int32_t offset) {
    if (!s->filled)
        lathe_longspec_self_mask(s->n_ctx, s->desc.window, s->mask_self->data);
    s->filled = true;
    lathe_longspec_cross_mask(s->rows, s->n_ctx, shift, s->mask_cross->data, s->seen->data);
    lathe_longspec_positions(s->rows, s->n_ctx, s->p->anchors, offset, s->positions->data);
}

static void prepare(void *user, uint64_t seed, int64_t step, int32_t micro) {
    teaching *s = user;
    const uint32_t n_shifts = (uint32_t) (s->p->shift_max - s->p->shift_min + 1);
    if (step < 0) { /* evaluation: every shift in turn, plain positions */
        lathe_longspec_set(s, s->p->shift_min + micro % (int32_t) n_shifts, 0);
        return;
    }
    uint32_t word[4];
    lathe_philox(seed, LATHE_RNG_DRAFT_SHIFT, (uint32_t) step, (uint32_t) ((uint64_t) step >> 32),
                 (uint32_t) micro, word);
    const uint32_t n_offsets = s->p->anchors > 0 ? (uint32_t) (s->offset_max - s->n_ctx) + 1 : 1;
    lathe_longspec_set(s, s->p->shift_min + (int32_t) (((uint64_t) word[0] * n_shifts) >> 32),
                       (int32_t) (((uint64_t) word[1] * n_offsets) >> 32));
}

/* --- Files and figures --------------------------------------------------------------------------------- */

static lathe_status settings(void *user, lathe_buf *lines, lathe_error *err) {
    const teaching *s = user;
    return lathe_buf_printf(
        lines, err, "longspec=%s\nwindow=%d\ndraft_ff=%d\nshifts=%d:%d\nanchors=%d\noffset=%d\ncross=%d\n",
        s->p->target, s->desc.window, s->desc.n_ff, s->p->shift_min, s->p->shift_max, s->p->anchors,
        s->offset_max, !s->p->no_cross);
}

static lathe_status write(void *user, const char *path, const lathe_net *net, float *const *values,
                          lathe_error *err) {
    const teaching *s = user;
    lathe_gguf_writer *w;
    lathe_status status = lathe_gguf_writer_new(&w, err);
    if (status != LATHE_OK)
        return status;
    lathe_longspec_put_keys(&s->desc, w);
    lathe_gguf_put_u32(w, "general.file_type", 0);
    if (s->train->name != NULL)
        lathe_gguf_put_text(w, "general.name", s->train->name);
    for (size_t i = 0; i < lathe_net_n_tensors(net); i++) {
        const lathe_desc_tensor *t = lathe_net_tensor(net, i);
        lathe_gguf_put_tensor(w, t->name, GGML_TYPE_F32, t->n_dims, t->ne);
    }
    status = lathe_gguf_writer_begin(w, path, err);
    for (size_t i = 0; status == LATHE_OK && i < lathe_net_n_tensors(net); i++)
        status = lathe_gguf_writer_data(w, values[i], (size_t) lathe_net_size(net, i) * sizeof(float), err);
    if (status == LATHE_OK)
        return lathe_gguf_writer_finish(w, err);
    lathe_gguf_writer_free(w);
    return status;
}

static int32_t best_of(const float *x, int32_t n) {
    int32_t best = 0;
    for (int32_t i = 1; i < n; i++)
        if (x[i] > x[best])
            best = i;
    return best;
}

/* Where draft and target would choose the same token, by shift. */
static lathe_status compare(void *user, lathe_net *net, const lathe_tokens *eval_data, int32_t *batch,
                            lathe_error *err) {
    teaching *s = user;
    lathe_longspec_result *r = s->result;
    const int32_t rows = s->rows, n_ctx = s->n_ctx, V = s->desc.n_vocab;
    const uint64_t width = (uint64_t) n_ctx;
    if (eval_data == NULL || r == NULL)
        return LATHE_OK;
    const uint64_t windows = (lathe_tokens_count(eval_data) - 1) / width, batches = windows / (uint64_t) rows;
    const uint64_t taken = batches < LATHE_LONGSPEC_BATCHES ? batches : LATHE_LONGSPEC_BATCHES;
    lathe_net *target = NULL;
    int32_t *best = malloc((size_t) rows * (size_t) n_ctx * sizeof *best);
    const lathe_net_opts opts = {.rows = rows, .ctx = n_ctx, .n_threads = s->train->n_threads};
    lathe_status status = best == NULL ? lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a batch's tokens")
                                       : lathe_net_open(&s->target->desc, &opts, &target, err);
    if (status == LATHE_OK)
        status = lathe_net_load(target, s->target->gguf, err);
    int64_t same[LATHE_LONGSPEC_SHIFTS_MAX] = {0}, all[LATHE_LONGSPEC_SHIFTS_MAX] = {0};
    double sum = 0;
    r->n_shifts = s->p->shift_max > USUAL_SHIFTS ? s->p->shift_max : USUAL_SHIFTS;
    if (r->n_shifts >= n_ctx)
        r->n_shifts = n_ctx - 1;
    for (uint64_t b = 0; status == LATHE_OK && b < taken; b++) {
        double loss = 0;
        for (uint64_t j = 0; j < (uint64_t) rows; j++)
            lathe_tokens_read(eval_data,
                              (b * (uint64_t) rows + j) * windows / (taken * (uint64_t) rows) * width,
                              n_ctx + 1, batch + j * (width + 1));
        status = lathe_net_loss(target, batch, &loss, err);
        sum += loss;
        for (int64_t i = 0; status == LATHE_OK && i < (int64_t) rows * n_ctx; i++)
            best[i] = best_of(lathe_net_logits(target) + i * V, V);
        for (int32_t shift = 1; shift <= r->n_shifts && status == LATHE_OK; shift++) {
            lathe_longspec_set(s, shift, 0);
            status = lathe_net_loss(net, batch, &loss, err);
            const int64_t before = same[shift - 1];
            for (int64_t i = 0; status == LATHE_OK && i < (int64_t) rows * n_ctx; i++) {
                if (i % n_ctx < shift)
                    continue;
                all[shift - 1]++;
                same[shift - 1] += best_of(lathe_net_logits(net) + i * V, V) == best[i];
            }
            r->by_batch[b][shift - 1] =
                (double) (same[shift - 1] - before) / (double) ((int64_t) rows * (n_ctx - shift));
        }
    }
    for (int32_t i = 0; i < r->n_shifts; i++)
        r->agreement[i] = all[i] > 0 ? (double) same[i] / (double) all[i] : NAN;
    r->n_batches = (int32_t) taken;
    r->target_loss = taken > 0 ? sum / (double) taken : NAN;
    lathe_net_free(target);
    free(best);
    return status;
}

/* --- The run ------------------------------------------------------------------------------------------- */

static lathe_status check(const teaching *s, lathe_error *err) {
    const lathe_longspec_params *p = s->p;
    const bool plain = p->shift_min == 0 && p->shift_max == 0;
    if (!plain && (p->shift_min < 1 || p->shift_max < p->shift_min ||
                   p->shift_max > LATHE_LONGSPEC_SHIFTS_MAX || p->shift_max >= s->train->n_ctx))
        return lathe_fail(err, LATHE_ERR_ARG,
                          "shifts %d to %d in sequences of %d; 1 to %d, ascending, is right", p->shift_min,
                          p->shift_max, s->train->n_ctx, LATHE_LONGSPEC_SHIFTS_MAX);
    if (p->anchors < 0 || p->anchors >= s->train->n_ctx)
        return lathe_fail(err, LATHE_ERR_ARG, "%d anchors in sequences of %d", p->anchors, s->train->n_ctx);
    if (p->anchors > 0 && s->offset_max < s->train->n_ctx)
        return lathe_fail(err, LATHE_ERR_ARG,
                          "positions up to %d for sequences of %d; at least as many positions as tokens",
                          s->offset_max, s->train->n_ctx);
    if (s->target->desc.window > 0)
        return lathe_fail(err, LATHE_ERR_UNSUPPORTED,
                          "%s: a target with sliding windows cannot be learned from yet", p->target);
    return LATHE_OK;
}

void lathe_longspec_teaching_free(teaching *s) {
    if (s == NULL)
        return;
    free(s->list);
    lathe_model_free(s->target);
    free(s);
}

const lathe_train_task *lathe_longspec_task(const teaching *s) {
    return &s->task;
}

lathe_status lathe_longspec_teaching_new(const lathe_longspec_params *params, const lathe_train_params *train,
                                         teaching **out, lathe_error *err) {
    if (params->struct_size != sizeof *params || train->struct_size != sizeof *train)
        return lathe_fail(err, LATHE_ERR_ARG, "lathe_longspec_params is of another version of the library");
    if (params->target == NULL)
        return lathe_fail(err, LATHE_ERR_ARG, "a draft needs its target's file");
    teaching *s = calloc(1, sizeof *s);
    if (s == NULL)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a draft");
    *s = (teaching){.p = params, .train = train, .rows = train->rows, .n_ctx = train->n_ctx};
    lathe_model_params mp = lathe_model_params_default();
    mp.dequantise = true;
    mp.logger = train->logger;
    lathe_status status = lathe_model_load(params->target, &mp, &s->target, err);
    if (status == LATHE_OK)
        status = lathe_longspec_describe(
            s->target, params->window, params->n_ff > 0 ? params->n_ff : s->target->desc.n_ff, &s->desc, err);
    size_t n = 0;
    if (status == LATHE_OK) {
        s->offset_max = params->offset_max > 0 ? params->offset_max : s->target->desc.n_ctx_train;
        s->desc.anchors = params->anchors;
        s->desc.offset_max = params->anchors > 0 ? s->offset_max : 0;
        status = check(s, err);
    }
    if (status == LATHE_OK)
        status = lathe_longspec_tensors(&s->desc, &s->list, &n, err);
    if (status != LATHE_OK) {
        lathe_longspec_teaching_free(s);
        return status;
    }
    s->task =
        (lathe_train_task){.net = {.list = s->list, .n = n, .inputs = inputs, .logits = logits, .user = s},
                           .desc = &s->target->desc,
                           .settings = settings,
                           .prepare = prepare,
                           .write = write,
                           .finish = compare,
                           .user = s};
    *out = s;
    return LATHE_OK;
}

lathe_status lathe_longspec_train(const lathe_longspec_params *params, const lathe_train_params *train,
                                  lathe_longspec_result *result, lathe_error *err) {
    lathe_train_params t = *train;
    teaching *s = NULL;
    t.init = t.distill = t.tokenizer = NULL;
    *result = (lathe_longspec_result){.target_loss = NAN};
    lathe_status status = lathe_longspec_teaching_new(params, &t, &s, err);
    if (status != LATHE_OK)
        return status;
    s->result = result;
    status = lathe_train_run_task(&t, &s->task, &result->run, err);
    lathe_longspec_teaching_free(s);
    return status;
}
