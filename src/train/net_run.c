/* net_run.c - computing with a net: weights from a seed or a file, batches, results, and what is not finite.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng_purpose.h"
#include "model/convert.h"
#include "model/gguf.h"
#include "train/net_internal.h"

typedef struct ggml_tensor T;

#define PI 3.14159265358979323846

int64_t lathe_net_tokens(const lathe_net *net) {
    return (int64_t) net->rows * net->ctx;
}
void lathe_net_fill_mask(float *mask, int32_t ctx, int32_t window, const int32_t *starts) {
    for (int32_t q = 0; q < ctx; q++)
        for (int32_t k = 0; k < ctx; k++)
            mask[(size_t) q * (size_t) ctx + (size_t) k] =
                k > q || (window > 0 && k <= q - window) || (starts != NULL && k < starts[q]) ? -INFINITY : 0;
}

bool lathe_net_is_reset(const lathe_net *net) {
    return net->document_begin > 0 || net->document_end > 0;
}
bool lathe_net_is_masked(const lathe_net *net) {
    return net->fused == NULL || net->desc.attn_softcap > 0 ||
           net->desc.n_embd_head_k != net->desc.n_embd_head_v;
}

/* --- Use ---------------------------------------------------------------------------------------------- */

size_t lathe_net_n_tensors(const lathe_net *net) {
    return net->n;
}
const lathe_desc_tensor *lathe_net_tensor(const lathe_net *net, size_t i) {
    return &net->list[i];
}
float *lathe_net_weights(const lathe_net *net, size_t i) {
    return net->weights[i]->data;
}
const float *lathe_net_gradient(const lathe_net *net, size_t i) {
    return net->back != NULL ? net->back[i] : net->grads[i]->data;
}
size_t lathe_net_bytes(const lathe_net *net) {
    size_t n = ggml_backend_buffer_get_size(net->buffer);
    const lathe_net_plan *plans[2] = {&net->forward, &net->backward};
    for (int i = 0; i < 2; i++)
        for (int b = 0; plans[i]->sched != NULL && b < ggml_backend_sched_get_n_backends(plans[i]->sched);
             b++)
            n += ggml_backend_sched_get_buffer_size(plans[i]->sched,
                                                    ggml_backend_sched_get_backend(plans[i]->sched, b));
    return n;
}
float *lathe_net_gradient_mutable(lathe_net *net, size_t i) {
    return net->back != NULL ? net->back[i] : net->grads[i]->data;
}
int64_t lathe_net_size(const lathe_net *net, size_t i) {
    return ggml_nelements(net->weights[i]);
}

static uint32_t name_hash(const char *name) { /* FNV-1a */
    uint32_t h = 2166136261u;
    for (; *name != '\0'; name++)
        h = (h ^ (uint8_t) *name) * 16777619u;
    return h;
}

void lathe_net_init(lathe_net *net, uint64_t seed) {
    for (size_t i = 0; i < net->n; i++) {
        const lathe_desc_tensor *d = &net->list[i];
        float *w = net->weights[i]->data;
        int64_t n = ggml_nelements(net->weights[i]);
        double std = d->role == LATHE_ROLE_EMBD ? 0.02 : 1 / sqrt((double) d->ne[0]);
        if (d->role == LATHE_ROLE_RESIDUAL)
            std /= sqrt(2.0 * (net->task.logits != NULL ? 1 : net->desc.n_layer));
        uint32_t hash = name_hash(d->name);
        for (int64_t k = 0; k < n; k += 2) {
            uint32_t word[4];
            lathe_philox(seed, LATHE_RNG_WEIGHTS, hash, (uint32_t) (k / 4), 0, word);
            const uint32_t *two = word + (k % 4);
            double u = (two[0] >> 8) + 0.5, v = (two[1] >> 8) + 0.5;
            double r = sqrt(-2 * log(u * 0x1p-24)), angle = 2 * PI * v * 0x1p-24;
            w[k] = (float) (std * r * cos(angle));
            if (k + 1 < n)
                w[k + 1] = (float) (std * r * sin(angle));
        }
        if (d->role == LATHE_ROLE_NORM)
            for (int64_t k = 0; k < n; k++)
                w[k] = 1;
        if (d->role == LATHE_ROLE_BIAS)
            memset(w, 0, (size_t) n * sizeof *w);
    }
}

lathe_status lathe_net_load(lathe_net *net, const lathe_gguf *g, lathe_error *err) {
    for (size_t i = 0; i < net->n; i++) {
        const char *name = net->list[i].name;
        const lathe_gguf_tensor *t = lathe_gguf_tensor_find(g, name);
        if (t == NULL || t->n_values != ggml_nelements(net->weights[i]))
            return lathe_fail(err, LATHE_ERR_INPUT, "%s: tensor '%s' is missing or has another size",
                              lathe_gguf_path(g), name);
        if (!lathe_convert_from_known(t->type))
            return lathe_fail(err, LATHE_ERR_UNSUPPORTED, "%s: '%s' has type %s, which cannot be read as f32",
                              lathe_gguf_path(g), name, lathe_gguf_tensor_type_name(t->type));
        lathe_convert_from(NULL, t->type, t->data, t->n_values, net->weights[i]->data);
    }
    return LATHE_OK;
}

/* Where the document of each token begins in its sequence; positions count from there, and masks follow. */
static void begin_documents(lathe_net *net) {
    const int32_t *tokens = net->tokens->data;
    int32_t *starts = net->starts->data, *positions = net->positions->data;
    for (int64_t row = 0; row < net->rows; row++) {
        const int64_t first = row * net->ctx;
        for (int32_t t = 0; t < net->ctx; t++) {
            bool begins = t == 0 || tokens[first + t] + 1 == net->document_begin ||
                          tokens[first + t - 1] + 1 == net->document_end;
            starts[first + t] = begins ? t : starts[first + t - 1];
            positions[first + t] = t - starts[first + t];
        }
        if (!lathe_net_is_masked(net))
            continue;
        const int64_t size = (int64_t) net->ctx * net->ctx;
        lathe_net_fill_mask((float *) net->mask->data + row * size, net->ctx, 0, starts + first);
        if (net->mask_sliding != NULL)
            lathe_net_fill_mask((float *) net->mask_sliding->data + row * size, net->ctx, net->desc.window,
                                starts + first);
    }
}

/* Gradients, where p has them, and the loss's rows from the device. */
static const float *fetch(lathe_net *net, const lathe_net_plan *p, const T *loss_rows) {
    for (size_t i = 0; i < net->n && p == &net->backward; i++)
        ggml_backend_tensor_get(net->grads[i], net->back[i], 0, ggml_nbytes(net->grads[i]));
    ggml_backend_tensor_get(loss_rows, net->back[net->n], 0, ggml_nbytes(loss_rows));
    return net->back[net->n];
}

static lathe_status run(lathe_net *net, const lathe_net_plan *p, const T *loss_rows, const int32_t *tokens,
                        double *out, lathe_error *err) {
    int64_t v = net->desc.n_vocab, n = (int64_t) net->rows * net->ctx;
    for (int64_t i = 0; i < n; i++) {
        const int32_t *at = tokens + i + i / net->ctx; /* a row has ctx + 1 tokens */
        if (at[0] < 0 || at[0] >= v || at[1] < 0 || at[1] >= v)
            return lathe_fail(err, LATHE_ERR_ARG, "token %d or %d is outside the vocabulary", at[0], at[1]);
        ((int32_t *) net->tokens->data)[i] = at[0];
        ((int32_t *) net->targets->data)[i] = at[1];
    }
    if (lathe_net_is_reset(net))
        begin_documents(net);
    lathe_mirror_upload(net->mirror);
    if (ggml_backend_sched_graph_compute(p->sched, p->graph) != GGML_STATUS_SUCCESS)
        return lathe_fail(err, LATHE_ERR_INTERNAL, "the training graph did not compute");
    const float *rows = net->back != NULL ? fetch(net, p, loss_rows) : loss_rows->data;
    net->sums = (lathe_net_sums){0};
    for (int64_t i = 0; i < n; i++) {
        const float *row = rows + i * LATHE_LOSS_FIELDS;
        net->sums.ce += (double) row[LATHE_LOSS_CE];
        net->sums.kl += (double) row[LATHE_LOSS_KL];
        net->sums.counted += (double) row[LATHE_LOSS_COUNTED];
    }
    *out = net->sums.ce / fmax(1, net->sums.counted);
    return LATHE_OK;
}

lathe_status lathe_net_loss(lathe_net *net, const int32_t *tokens, double *loss, lathe_error *err) {
    return run(net, &net->forward, net->loss_rows[0], tokens, loss, err);
}
lathe_status lathe_net_gradients(lathe_net *net, const int32_t *tokens, double *loss, lathe_error *err) {
    return run(net, &net->backward, net->loss_rows[1], tokens, loss, err);
}
void lathe_net_set_dropout(lathe_net *net, double p, int64_t step, int64_t first_token) {
    net->dropout.p = p;
    net->dropout.step = step;
    net->dropout.first_token = first_token;
}
lathe_net_sums lathe_net_last(const lathe_net *net) {
    return net->sums;
}
const float *lathe_net_logits(const lathe_net *net) {
    return net->logits != NULL ? net->logits->data : NULL;
}
float *lathe_net_teacher(const lathe_net *net) {
    return net->teacher != NULL ? net->teacher->data : NULL;
}

/* --- Kernels ------------------------------------------------------------------------------------------ */

static const char *blas_name(const lathe_net *net) {
    return net->fused != NULL ? lathe_fused_blas_name() : "ggml";
}

lathe_status lathe_net_choose_kernels(lathe_net *net, lathe_error *err) {
    if (net->fused == NULL || net->backward.graph == NULL)
        return LATHE_OK;
    lathe_status status = lathe_fused_choose(net->fused, net->backward.graph, net->cpu, err);
    return status == LATHE_OK ? lathe_fused_choose(net->fused, net->forward.graph, net->cpu, err) : status;
}

lathe_status lathe_net_kernels(const lathe_net *net, char **text, lathe_error *err) {
    lathe_buf b;
    lathe_buf_init(&b, 1 << 16);
    lathe_status status = lathe_buf_printf(&b, err, "blas %s\n", blas_name(net));
    if (status == LATHE_OK && net->fused != NULL)
        status = lathe_fused_write_choices(net->fused, &b, err);
    *text = status == LATHE_OK ? lathe_buf_take(&b, NULL) : NULL;
    lathe_buf_free(&b);
    return status == LATHE_OK && *text == NULL
               ? lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a list of kernels")
               : status;
}

lathe_status lathe_net_set_kernels(lathe_net *net, const char *text, bool *same, lathe_error *err) {
    size_t n = strcspn(text, "\n");
    const char *name = blas_name(net);
    *same = n == strlen(name) + 5 && strncmp(text, "blas ", 5) == 0 && strncmp(text + 5, name, n - 5) == 0;
    text += n + (text[n] == '\n');
    return net->fused != NULL ? lathe_fused_read_choices(net->fused, text, err) : LATHE_OK;
}

/* --- Looking for what is not finite --------------------------------------------------------------------- */

static bool is_bad(const T *t) {
    if (t->type != GGML_TYPE_F32 || !ggml_is_contiguous(t))
        return false;
    const bool here = t->buffer == NULL || ggml_backend_buffer_is_host(t->buffer);
    float *copy = here ? NULL : malloc(ggml_nbytes(t));
    const float *x = here ? t->data : copy;
    if (copy != NULL)
        ggml_backend_tensor_get(t, copy, 0, ggml_nbytes(t));
    bool bad = false;
    for (int64_t i = 0; x != NULL && !bad && i < ggml_nelements(t); i++)
        bad = !isfinite(x[i]);
    free(copy);
    return bad;
}

typedef struct search {
    const lathe_net *net;
    char *text;
    size_t n;
    bool found;
} search;

/* The scheduler asks (ask) whether we want to see a node, then shows it. */
static bool look(T *t, bool ask, void *user) {
    search *s = user;
    if (ask || s->found || !is_bad(t))
        return true;
    const char *weight = "";
    for (int i = 0; i < GGML_MAX_SRC && weight[0] == '\0'; i++)
        for (size_t k = 0; t->src[i] != NULL && k < s->net->n; k++)
            if (t->src[i] == lathe_mirror_of(s->net->mirror, s->net->weights[k]))
                weight = s->net->list[k].name;
    bool named = strncmp(t->name, "node_", 5) != 0 && t->name[0] != '\0';
    const char *name = weight[0] != '\0' ? weight : named ? t->name : "an unnamed tensor";
    snprintf(s->text, s->n, "the result of %s with '%s'", ggml_op_desc(t), name);
    s->found = true;
    return true;
}

void lathe_net_first_bad(lathe_net *net, const int32_t *tokens, char *text, size_t n) {
    snprintf(text, n, "none");
    for (size_t i = 0; i < net->n; i++)
        if (is_bad(net->weights[i])) {
            snprintf(text, n, "weight '%s'", net->list[i].name);
            return;
        }
    search s = {net, text, n, false};
    double loss;
    ggml_backend_sched_set_eval_callback(net->forward.sched, look, &s);
    if (lathe_net_loss(net, tokens, &loss, NULL) != LATHE_OK)
        snprintf(text, n, "unknown");
    ggml_backend_sched_set_eval_callback(net->forward.sched, NULL, NULL);
}
