/* spec_cost.c - see spec_cost.h. The file is small JSON under a name made of all that the costs depend on. */
#include "decode/spec_cost.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/file.h"
#include "base/json.h"
#include "base/machine.h"
#include "base/sha256.h"

enum { FILE_LIMIT = 1 << 16, DAYS_KEPT = 30, WRITE_AFTER_ROUNDS = 64 };

/* --- Steps on scratch rows ----------------------------------------------------------------------- */

double lathe_spec_step_seconds(lathe_context *context, int32_t n_rows) {
    int32_t tokens[64] = {0};
    uint8_t want[64];
    if (n_rows < 1 || n_rows > 64)
        return -1.0;
    const int32_t n_past = lathe_context_n_past(context, 0);
    memset(want, 1, sizeof want);
    const lathe_batch batch = {.tokens = tokens, .want = want, .n_tokens = n_rows};
    const double start = lathe_now();
    const lathe_status status = lathe_context_decode(context, &batch, NULL);
    const double seconds = lathe_now() - start;
    if (lathe_context_rollback(context, 0, n_past, NULL) != LATHE_OK || status)
        return -1.0;
    return seconds;
}

static double timed_step(void *user, int32_t n) {
    return lathe_spec_step_seconds(user, n);
}

/* --- The key ------------------------------------------------------------------------------------- */

static void processor_name(char *out, size_t n_out) {
    char line[256];
    snprintf(out, n_out, "unknown");
    FILE *file = fopen("/proc/cpuinfo", "r");
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, "model name", 10) == 0) {
            snprintf(out, n_out, "%s", strchr(line, ':') ? strchr(line, ':') + 1 : line);
            break;
        }
    if (file)
        fclose(file);
}

static int32_t context_bucket(int32_t n_past) {
    int32_t bucket = 256;
    while (bucket < n_past / 4)
        bucket *= 4;
    return bucket;
}

static void make_key(lathe_context *context, const lathe_context_params *params, char key[17]) {
    char text[768], cpu[256];
    uint8_t digest[32];
    lathe_sha256 hash;
    processor_name(cpu, sizeof cpu);
    const int n = snprintf(text, sizeof text,
                           "cache %d %d\ncontext %d\ncpu %s\nexact %d\nflash %d\nmodel %016llx\nthreads %d\n"
                           "version %s\n",
                           (int) params->type_k, (int) params->type_v,
                           (int) context_bucket(lathe_context_n_past(context, 0)), cpu, (int) params->exact,
                           (int) params->flash,
                           (unsigned long long) lathe_model_fingerprint(lathe_context_model(context)),
                           (int) lathe_context_n_threads(context), lathe_version());
    lathe_sha256_begin(&hash);
    lathe_sha256_add(&hash, text, n > 0 && (size_t) n < sizeof text ? (size_t) n : sizeof text - 1);
    lathe_sha256_end(&hash, digest);
    for (int i = 0; i < 8; i++)
        snprintf(key + 2 * i, 3, "%02x", digest[i]);
}

/* --- The file ------------------------------------------------------------------------------------ */

/* v: [[rows, ratio, passes], ...] that starts with 1 row of ratio 1 and never falls. */
static bool take_curve(const json_t *v, lathe_calibration *out) {
    const size_t n = json_array_size(v);
    lathe_cost_model *c = &out->cost;
    if (n < 2 || n > LATHE_LEN(c->rows))
        return false;
    for (size_t i = 0; i < n; i++) {
        const json_t *row = json_array_get(v, i);
        const json_t *rows = json_array_get(row, 0), *ratio = json_array_get(row, 1);
        const json_t *passes = json_array_get(row, 2);
        if (!json_is_integer(rows) || !json_is_number(ratio) || !json_is_integer(passes))
            return false;
        const json_int_t k = json_integer_value(rows);
        const double r = json_number_value(ratio);
        if (k < 1 || k > 4096 || !(r >= 1.0 && r <= 1e6))
            return false;
        if (i == 0 ? k != 1 || r != 1.0 : k <= c->rows[i - 1] || r < c->ratio[i - 1])
            return false;
        c->rows[i] = (int32_t) k;
        c->ratio[i] = r;
        out->passes[i] = (int32_t) json_integer_value(passes);
    }
    c->n = (int32_t) n;
    return true;
}

static bool read_file(lathe_spec_cost *cost) {
    json_t *file = NULL;
    if (lathe_json_read(cost->path, FILE_LIMIT, &file, NULL) != LATHE_OK)
        return false;
    const char *schema = json_string_value(json_object_get(file, "schema"));
    const char *key = json_string_value(json_object_get(file, "key"));
    const double plain = json_number_value(json_object_get(file, "plain_s"));
    const json_int_t created = json_integer_value(json_object_get(file, "created"));
    const json_int_t now = (json_int_t) time(NULL);
    lathe_calibration read = {0};
    const bool good = schema && strcmp(schema, "lathe.calibration/1") == 0 && key &&
                      strcmp(key, cost->key) == 0 && plain > 0.0 && plain < 1e4 && created <= now &&
                      now - created < DAYS_KEPT * 86400 && take_curve(json_object_get(file, "v"), &read);
    if (good) {
        cost->measured = read;
        cost->measured.plain_s = plain;
        cost->created = created;
        cost->n_past = (int32_t) json_integer_value(json_object_get(file, "ctx"));
        cost->from_file = true;
    }
    json_decref(file);
    return good;
}

/* Not being able to keep it is no error: it is measured again next time. */
static void write_file(const lathe_spec_cost *cost, const lathe_cost_model *model) {
    json_t *v = json_array();
    for (int32_t i = 0; i < model->n; i++)
        json_array_append_new(
            v, json_pack("[i, f, i]", (int) model->rows[i], model->ratio[i], (int) cost->measured.passes[i]));
    json_t *file = json_pack("{s:s, s:s, s:I, s:i, s:f, s:o}", "schema", "lathe.calibration/1", "key",
                             cost->key, "created", (json_int_t) cost->created, "ctx", (int) cost->n_past,
                             "plain_s", cost->measured.plain_s, "v", v);
    char *text = file ? lathe_json_text(file) : NULL;
    if (text)
        (void) !lathe_file_write(cost->path, text, strlen(text), NULL);
    free(text);
    json_decref(file);
}

/* --- Opening ------------------------------------------------------------------------------------- */

void lathe_spec_cost_assume(lathe_spec_cost *cost) {
    memset(cost, 0, sizeof *cost);
    cost->measured.assumed = true;
    cost->measured.cost = (lathe_cost_model){.n = 3, .rows = {1, 2, 3}, .ratio = {1.0, 1.3, 1.4}};
    cost->model = cost->measured.cost;
}

static lathe_status name_file(lathe_spec_cost *cost, const char *cache_dir, lathe_error *err) {
    const size_t n = strlen(cache_dir) + 64;
    cost->path = malloc(n);
    if (!cost->path)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a file name");
    snprintf(cost->path, n, "%s/calibration", cache_dir);
    if (lathe_folder_make(cost->path, NULL) != LATHE_OK) {
        free(cost->path);
        cost->path = NULL;
        return LATHE_OK;
    }
    snprintf(cost->path, n, "%s/calibration/%s.json", cache_dir, cost->key);
    return LATHE_OK;
}

lathe_status lathe_spec_cost_open(lathe_context *context, const lathe_context_params *params,
                                  const char *cache_dir, int32_t rows_max, bool fresh,
                                  const lathe_logger *logger, lathe_spec_cost *cost, lathe_error *err) {
    memset(cost, 0, sizeof *cost);
    make_key(context, params, cost->key);
    lathe_status status = cache_dir ? name_file(cost, cache_dir, err) : LATHE_OK;
    if (status)
        return status;
    if (fresh || !cost->path || !read_file(cost)) {
        const int32_t left = lathe_context_n_ctx(context) - lathe_context_n_past(context, 0);
        const int32_t n_batch = lathe_context_n_batch(context);
        int32_t most = rows_max < left ? rows_max : left;
        most = most < n_batch ? most : n_batch;
        if (most < 2) {
            char *path = cost->path;
            lathe_spec_cost_assume(cost);
            free(path);
            return LATHE_OK;
        }
        const lathe_stopwatch watch = {.step = timed_step, .user = context};
        if ((status = lathe_calibrate(&watch, most, 0.0, &cost->measured, err))) {
            lathe_spec_cost_close(cost);
            return status;
        }
        cost->created = (int64_t) time(NULL);
        cost->n_past = lathe_context_n_past(context, 0);
        if (cost->path && !cost->measured.assumed)
            write_file(cost, &cost->measured.cost);
        lathe_log(logger, LATHE_LOG_DEBUG,
                  "a step of 2 rows costs %.2f, of 8 rows %.2f plain steps of %.3g ms",
                  lathe_cost_verify(&cost->measured.cost, 2), lathe_cost_verify(&cost->measured.cost, 8),
                  1e3 * cost->measured.plain_s);
    }
    cost->model = cost->measured.cost;
    return LATHE_OK;
}

/* --- While running ------------------------------------------------------------------------------- */

static int32_t bucket_of(int32_t rows) {
    return rows <= 2 ? 0 : rows <= 4 ? 1 : rows <= 8 ? 2 : rows <= 16 ? 3 : 4;
}

static void correct(const lathe_spec_cost *cost, lathe_cost_model *model) {
    *model = cost->measured.cost;
    for (int32_t i = 1; i < model->n; i++) {
        model->ratio[i] *= exp(cost->log_ratio[bucket_of(model->rows[i])]);
        model->ratio[i] = fmax(model->ratio[i], model->ratio[i - 1]);
    }
}

bool lathe_spec_cost_saw(lathe_spec_cost *cost, int32_t rows, double ratio) {
    if (rows < 2 || !(ratio > 0.0) || !isfinite(ratio))
        return false;
    const int32_t b = bucket_of(rows), n = cost->n_seen[b]++;
    double x = log(ratio / lathe_cost_verify(&cost->measured.cost, rows));
    x = fmax(-log(3.0), fmin(log(3.0), x));
    /* Where nothing was measured the first few count in full, or a cautious start would be believed for long.
     */
    const double weight = fmax(0.05, 1.0 / (n + (cost->measured.assumed ? 2.0 : 12.0)));
    cost->log_ratio[b] += weight * (x - cost->log_ratio[b]);
    cost->rounds++;
    if (n > 8 && n % 8 != 0)
        return false;
    correct(cost, &cost->model);
    return true;
}

bool lathe_spec_cost_turn(lathe_spec_cost *cost) {
    bool changed = false;
    for (int32_t b = 0; b < LATHE_COST_BUCKETS; b++) {
        if (cost->n_seen[b] == cost->n_before[b] && cost->log_ratio[b] != 0.0) {
            cost->log_ratio[b] *= 0.5;
            changed = true;
        }
        cost->n_before[b] = cost->n_seen[b];
    }
    if (changed)
        correct(cost, &cost->model);
    return changed;
}

void lathe_spec_cost_close(lathe_spec_cost *cost) {
    double most = 0.0;
    for (int32_t b = 0; b < LATHE_COST_BUCKETS; b++)
        most = fmax(most, fabs(cost->log_ratio[b]));
    if (cost->path && cost->rounds >= WRITE_AFTER_ROUNDS && most > 0.05 && !cost->measured.assumed) {
        lathe_cost_model model;
        correct(cost, &model);
        write_file(cost, &model);
    }
    free(cost->path);
    *cost = (lathe_spec_cost){0};
}
