/* weights.c - spectra of a model's matrices, and of W_O W_V a head, the part that stores facts (Wang et al.
 * 2025; learning.md B.b). */
#include <ggml.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lathe/probe.h"
#include "model/convert.h"
#include "model/desc.h"
#include "model/gguf.h"

typedef struct source {
    lathe_gguf *gguf;
    lathe_desc *desc;
} source;

static lathe_status open_source(const char *path, source *s, lathe_error *err) {
    *s = (source){0};
    lathe_status status = lathe_gguf_open(path, NULL, &s->gguf, err);
    if (status == LATHE_OK && (s->desc = malloc(sizeof *s->desc)) == NULL)
        status = lathe_fail(err, LATHE_ERR_MEMORY, "%s: no memory", path);
    if (status == LATHE_OK)
        status = lathe_desc_from_gguf(s->gguf, s->desc, err);
    return status == LATHE_OK ? lathe_desc_check(s->desc, s->gguf, NULL, err) : status;
}

static void close_source(source *s) {
    lathe_gguf_close(s->gguf);
    free(s->desc);
}

/* The values of a tensor as f32 (*rounded: it was of another type); NULL: not there, or no memory. */
static float *values_of(const source *s, const char *name, int64_t n, bool *rounded) {
    const lathe_gguf_tensor *t = s->gguf != NULL ? lathe_gguf_tensor_find(s->gguf, name) : NULL;
    if (t == NULL || t->n_values != n || !lathe_convert_from_known(t->type))
        return NULL;
    float *x = malloc((size_t) n * sizeof *x);
    if (x != NULL)
        lathe_convert_from(NULL, t->type, t->data, n, x);
    *rounded = t->type != GGML_TYPE_F32;
    return x;
}

/* Adds b's figures to a; divide by the count later. */
static void accumulate(lathe_spectrum *a, const lathe_spectrum *b, double share) {
    a->n = b->n;
    a->entropy += share * b->entropy;
    a->effective_rank += share * b->effective_rank;
    a->top1 += share * b->top1;
    a->top10 += share * b->top10;
    a->q75_25 += share * b->q75_25;
    a->s_max += share * b->s_max;
    a->fro += share * b->fro;
    a->stable_rank += share * b->stable_rank;
}

/* Mean spectrum of W_O[:, h] W_V[h, :] over heads h; false where the layer has no such pair. */
static lathe_status heads_of(const source *s, int32_t layer, lathe_spectrum *mean, bool *there, bool *rounded,
                             lathe_error *err) {
    const lathe_desc *d = s->desc;
    int64_t e = d->n_embd, dh = d->n_embd_head_v, group = d->n_head / d->n_head_kv;
    char name[LATHE_DESC_NAME_MAX];
    bool a = false, b = false;
    snprintf(name, sizeof name, "blk.%d.attn_v.weight", layer);
    float *v = values_of(s, name, e * dh * d->n_head_kv, &a);
    snprintf(name, sizeof name, "blk.%d.attn_output.weight", layer);
    float *o = values_of(s, name, e * dh * d->n_head, &b);
    float *vo = malloc((size_t) (e * e) * sizeof *vo);
    lathe_status status = LATHE_OK;
    *there = v != NULL && o != NULL && vo != NULL;
    *rounded = a || b;
    *mean = (lathe_spectrum){0};
    for (int64_t h = 0; *there && h < d->n_head && status == LATHE_OK; h++) {
        lathe_spectrum one;
        const float *vh = v + h / group * dh * e; /* rows of the head: [dh][e] */
        for (int64_t i = 0; i < e; i++)
            for (int64_t k = 0; k < e; k++)
                vo[i * e + k] = 0;
        for (int64_t i = 0; i < e; i++)
            for (int64_t j = 0; j < dh; j++) {
                float w = o[i * d->n_head * dh + h * dh + j];
                for (int64_t k = 0; k < e; k++)
                    vo[i * e + k] += w * vh[j * e + k];
            }
        status = lathe_probe_spectrum(vo, e, e, &one, err);
        if (status == LATHE_OK)
            accumulate(mean, &one, 1.0 / d->n_head);
    }
    free(v);
    free(o);
    free(vo);
    return status;
}

/* Both files' spectra of a tensor, and that of the difference. */
static lathe_status compare(const source *a, const source *b, const lathe_desc_tensor *t,
                            lathe_spectrum_row *row, lathe_error *err) {
    int64_t cols = t->ne[0], rows = t->ne[1], n = cols * rows;
    bool rounded = false, other_rounded = false;
    float *x = values_of(a, t->name, n, &rounded), *y = values_of(b, t->name, n, &other_rounded);
    lathe_status status =
        x == NULL ? lathe_fail(err, LATHE_ERR_MEMORY, "%s: no memory, or an unknown type", t->name)
                  : lathe_probe_spectrum(x, rows, cols, &row->spectrum, err);
    row->rows = rows;
    row->cols = cols;
    row->rounded = rounded || other_rounded;
    if (status == LATHE_OK && b->gguf != NULL && y == NULL)
        status = lathe_fail(err, LATHE_ERR_INPUT, "%s: %s: shape %lldx%lld expected",
                            lathe_gguf_path(b->gguf), t->name, (long long) cols, (long long) rows);
    if (status == LATHE_OK && y != NULL)
        status = lathe_probe_spectrum(y, rows, cols, &row->other, err);
    if (status == LATHE_OK && y != NULL) {
        bool same = true;
        for (int64_t i = 0; i < n; i++) {
            y[i] -= x[i];
            same = same && !(y[i] > 0 || y[i] < 0);
        }
        if (!same)
            status = lathe_probe_spectrum(y, rows, cols, &row->update, err);
    }
    free(x);
    free(y);
    if (status != LATHE_OK && err != NULL && strstr(err->text, t->name) == NULL) {
        char text[sizeof err->text];
        memcpy(text, err->text, sizeof text);
        return lathe_fail(err, status, "%s: %.300s", t->name, text);
    }
    return status;
}

lathe_status lathe_probe_spectra(const char *path, const char *other, const lathe_progress *progress,
                                 lathe_status (*see)(void *user, const lathe_spectrum_row *row,
                                                     lathe_error *err),
                                 void *user, lathe_error *err) {
    source a, b = {0};
    lathe_desc_tensor *list = NULL;
    size_t n = 0;
    lathe_status status = open_source(path, &a, err);
    if (status == LATHE_OK && other != NULL)
        status = open_source(other, &b, err);
    if (status == LATHE_OK)
        status = lathe_desc_tensors(a.desc, &list, &n, err);
    for (size_t i = 0; i < n && status == LATHE_OK; i++) {
        const lathe_desc_tensor *t = &list[i];
        if (t->n_dims != 2 || t->role == LATHE_ROLE_TABLE)
            continue;
        lathe_spectrum_row row = {.name = t->name, .layer = t->layer, .has_other = other != NULL};
        status = compare(&a, &b, t, &row, err);
        if (status == LATHE_OK)
            status = see(user, &row, err);
        if (status == LATHE_OK)
            status = lathe_progress_step(progress, "spectra", (double) i + 1, (double) n, err);
    }
    for (int32_t l = 0; status == LATHE_OK && l < a.desc->n_layer; l++) {
        char name[LATHE_DESC_NAME_MAX];
        bool there, also = false, rounded;
        lathe_spectrum_row row = {.name = name, .layer = l, .rows = a.desc->n_embd, .cols = a.desc->n_embd};
        snprintf(name, sizeof name, "blk.%d.vo (mean of heads)", l);
        status = heads_of(&a, l, &row.spectrum, &there, &row.rounded, err);
        if (status == LATHE_OK && other != NULL)
            status = heads_of(&b, l, &row.other, &also, &rounded, err);
        row.has_other = also;
        if (status == LATHE_OK && there)
            status = see(user, &row, err);
    }
    free(list);
    close_source(&a);
    close_source(&b);
    return status;
}
