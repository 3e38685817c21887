/* train_watch.c - see train_watch.h. */
#include "cli/train_watch.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/text.h"
#include "lathe/decode.h"

lathe_status train_watch_parse(train_watch *w, const char *text, lathe_error *err) {
    static const char *const bys[] = {"block", "tensor", "kind", NULL};
    static const char *const keys[] = {"every", "by", "matrices", "split", NULL};
    char copy[256], *at = copy;
    if (text == NULL)
        return LATHE_OK;
    if (strlen(text) >= sizeof copy)
        return lathe_fail(err, LATHE_ERR_ARG, "--curvature: too long");
    strcpy(copy, text);
    w->split = w->matrices = true;
    while (at != NULL) {
        char *comma = strchr(at, ','), *value;
        if (comma != NULL)
            *comma = '\0';
        value = strchr(at, '=');
        const char *key = value != NULL ? at : "every";
        value = value != NULL ? value : at;
        if (*value == '=')
            *value++ = '\0';
        bool ok = true;
        if (strcmp(key, "every") == 0) {
            ok = lathe_parse_int(value, &w->curvature_every) && w->curvature_every >= 1;
        } else if (strcmp(key, "by") == 0) {
            ok = false;
            for (int i = 0; bys[i] != NULL; i++)
                if (strcmp(value, bys[i]) == 0) {
                    w->by = (lathe_curve_by) i;
                    ok = true;
                }
        } else if (strcmp(key, "matrices") == 0 || strcmp(key, "split") == 0) {
            bool yes = strcmp(value, "both") == 0 || strcmp(value, "yes") == 0;
            ok = yes || strcmp(value, "no") == 0;
            *(key[0] == 'm' ? &w->matrices : &w->split) = yes;
        } else {
            const char *near = lathe_nearest_name(key, keys);
            return lathe_fail(err, LATHE_ERR_ARG, "--curvature: unknown key '%s'; %s%s", key,
                              near != NULL ? "did you mean " : "there are every, by, matrices, split",
                              near != NULL ? near : "");
        }
        if (!ok)
            return lathe_fail(
                err, LATHE_ERR_ARG,
                "--curvature: %s=%s; want every=N, by=block|tensor|kind, matrices=both|no, split=yes|no", key,
                value);
        at = comma != NULL ? comma + 1 : NULL;
    }
    return LATHE_OK;
}

bool train_watch_wants(void *user, int64_t step) {
    const train_watch *w = user;
    return w->curvature_every > 0 && step % w->curvature_every == 0;
}

/* Appends to the row's fields; what does not fit is left out whole. */
static void field(lathe_train_moment *m, const char *name, double value) {
    char text[96];
    size_t used = strlen(m->fields);
    int n = isfinite(value) ? snprintf(text, sizeof text, ", \"%s\": %.9g", name, value)
                            : snprintf(text, sizeof text, ", \"%s\": null", name);
    if (n > 0 && (size_t) n < sizeof text && used + (size_t) n < m->n_fields)
        memcpy(m->fields + used, text, (size_t) n + 1);
}

static void blocks(lathe_train_moment *m, const lathe_curve *c, const lathe_curvature *r) {
    size_t used = strlen(m->fields), n = (size_t) r->n_layers;
    size_t room = 32 * n * n + 160 * n + 64;
    if (used + room >= m->n_fields)
        return;
    char *at = m->fields + used, name[128];
    at += sprintf(at, ", \"block_names\": [");
    for (size_t i = 0; i < n; i++)
        at += sprintf(at, "%s\"%s\"", i > 0 ? ", " : "",
                      lathe_curve_layer_name(c, (int32_t) i, name, sizeof name));
    at += sprintf(at, "], \"block_matrix\": [");
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < n; k++)
            at += sprintf(at, "%s%s%.6g%s", k == 0 && i > 0 ? ", " : "", k == 0 ? "[" : ", ",
                          isfinite(r->block_matrix[i * n + k]) ? r->block_matrix[i * n + k] : 0,
                          k + 1 == n ? "]" : "");
    sprintf(at, "]");
}

static lathe_status curvature(train_watch *w, lathe_train_moment *m, lathe_error *err) {
    lathe_status status = LATHE_OK;
    if (w->curve == NULL)
        status = lathe_curve_of(m->desc, m->tokens, m->rows, m->ctx, w->threads, &w->curve, err);
    else
        status = lathe_curve_set_batch(w->curve, m->tokens, err);
    if (status != LATHE_OK)
        return status;
    lathe_curve *c = w->curve;
    lathe_curve_group(c, w->by);
    float *z = malloc(lathe_curve_n(c) * sizeof *z);
    if (z == NULL)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a step of %zu parameters", lathe_curve_n(c));
    for (size_t i = 0; i < m->n_tensors; i++) {
        int64_t rows, cols;
        size_t at = lathe_curve_tensor_at(c, i, &rows, &cols);
        lathe_curve_set_weights(c, i, m->before[i]);
        for (size_t k = 0; k < (size_t) (rows * cols); k++)
            z[at + k] = m->before[i][k] - m->after[i][k];
    }
    lathe_curvature r, only;
    status = lathe_probe_curvature(c, z, w->split, NULL, &r, err);
    if (status == LATHE_OK) {
        field(m, "gain", r.gain);
        field(m, "penalty", r.penalty);
        field(m, "decrease", r.decrease);
        field(m, "predicted", r.gain - r.penalty);
        field(m, "update_norm2", r.update_norm2);
        field(m, "nds", r.nds);
        if (w->split) {
            field(m, "within", r.within);
            field(m, "cross", r.cross);
            field(m, "rho_within", r.within / r.nds);
            blocks(m, c, &r);
        }
        free(r.block_matrix);
    }
    for (size_t i = 0; i < m->n_tensors; i++) {
        int64_t rows, cols;
        size_t at = lathe_curve_tensor_at(c, i, &rows, &cols);
        if (!lathe_curve_is_hidden(c, i))
            memset(z + at, 0, (size_t) (rows * cols) * sizeof *z);
    }
    if (status == LATHE_OK && w->matrices) {
        status = lathe_probe_curvature(c, z, false, NULL, &only, err);
        if (status == LATHE_OK) {
            field(m, "gain_matrices", only.gain);
            field(m, "penalty_matrices", only.penalty);
            field(m, "update_norm2_matrices", only.update_norm2);
            field(m, "nds_matrices", only.nds);
        }
    }
    free(z);
    return status;
}

lathe_status train_watch_observe(void *user, lathe_train_moment *m, lathe_error *err) {
    train_watch *w = user;
    if (w->curvature_every > 0 && m->step % w->curvature_every == 0)
        return curvature(w, m, err);
    return LATHE_OK;
}

/* --- Samples ------------------------------------------------------------------------------------------ */

static bool collect(void *user, const char *text, size_t n_bytes) {
    lathe_buf *b = user;
    return lathe_buf_add(b, text, n_bytes, NULL) == LATHE_OK;
}

static lathe_status generate(const train_watch *w, const char *path, int64_t step, lathe_buf *out,
                             lathe_error *err) {
    lathe_model *model = NULL;
    lathe_session *session = NULL;
    lathe_session_params params = lathe_session_params_default();
    params.n_predict = (int32_t) w->sample_tokens;
    params.sampler.seed = w->seed + (uint64_t) step;
    params.context.n_threads = w->threads;
    lathe_status status = lathe_model_load(path, NULL, &model, err);
    if (status == LATHE_OK)
        status = lathe_session_new(model, &params, &session, err);
    if (status == LATHE_OK)
        status = lathe_session_generate(session, w->prompt, collect, out, err);
    lathe_session_free(session);
    lathe_model_free(model);
    return status;
}

static lathe_status append_line(const train_watch *w, int64_t step, const char *text, lathe_error *err) {
    char path[4200], *line;
    json_t *said = lathe_json_bytes(text, strlen(text));
    json_t *j = json_object();
    snprintf(path, sizeof path, "%s/samples.jsonl", w->folder);
    json_object_set_new(j, "step", json_integer(step));
    json_object_set_new(j, "prompt", json_string(w->prompt));
    json_object_set_new(j, "text", said);
    line = json_dumps(j, JSON_PRESERVE_ORDER);
    json_decref(j);
    FILE *f = line != NULL ? fopen(path, "a") : NULL;
    bool ok = f != NULL && fprintf(f, "%s\n", line) > 0;
    if (f != NULL)
        ok = fclose(f) == 0 && ok;
    free(line);
    return ok ? LATHE_OK : lathe_fail(err, LATHE_ERR_IO, "%s cannot be written: is the disk full?", path);
}

lathe_status train_watch_sample(void *user, int64_t step, const char *model, lathe_error *err) {
    const train_watch *w = user;
    lathe_buf out;
    lathe_buf_init(&out, 1 << 24);
    lathe_status status = generate(w, model, step, &out, err);
    char *text =
        status == LATHE_OK && lathe_buf_add(&out, "", 1, err) == LATHE_OK ? lathe_buf_take(&out, NULL) : NULL;
    lathe_buf_free(&out);
    if (status == LATHE_OK)
        status = text == NULL ? lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a sample")
                              : append_line(w, step, text, err);
    if (status == LATHE_OK)
        lathe_log(&w->cli->logger, LATHE_LOG_INFO, "step %lld: %s%s", (long long) step, w->prompt, text);
    free(text);
    return status;
}

void train_watch_free(train_watch *w) {
    lathe_curve_free(w->curve);
}
