/* lab.c - runs a lab: claims, runs.csv, metrics.json and the report page. */
#include "lab/lab.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/file.h"
#include "base/json.h"
#include "base/machine.h"
#include "base/text.h"
#include "lab/page.h"

enum { RUNS_MAX = 64 << 20 };

lathe_lab_params lathe_lab_params_default(void) {
    return (lathe_lab_params){.struct_size = sizeof(lathe_lab_params), .val_s = NAN, .n_threads = 1};
}

/* --- What a lab calls ------------------------------------------------------------------------------- */

static lathe_claim_result *find(const lathe_lab *lab, const char *id) {
    for (size_t i = 0; i < lab->entry->info.n_claims; i++)
        if (strcmp(lab->results[i].claim->id, id) == 0)
            return &lab->results[i];
    return NULL;
}

/* Beyond the value of "no effect", on the claimed side. */
static bool in_direction(const lathe_claim *c, double low, double high) {
    if (!c->has_neutral)
        return false;
    const bool up = c->kind == LATHE_CLAIM_AT_LEAST || c->kind == LATHE_CLAIM_GREATER ||
                    (c->kind == LATHE_CLAIM_NEAR && c->expected > c->neutral);
    return up ? low > c->neutral : high < c->neutral;
}

static lathe_status set(lathe_lab *lab, const char *id, double value, const double ci[2], int64_t n,
                        lathe_error *err) {
    lathe_claim_result *r = find(lab, id);
    if (!r)
        return lathe_fail(err, LATHE_ERR_INTERNAL, "%s has no claim '%s'", lab->entry->info.name, id);
    *r = (lathe_claim_result){.claim = r->claim, .measured = value, .ci95 = {ci[0], ci[1]}, .n = n};
    r->verdict = lathe_claim_verdict(r->claim, ci[0], ci[1]);
    r->direction = r->verdict != LATHE_VERDICT_HOLDS && in_direction(r->claim, ci[0], ci[1]);
    return LATHE_OK;
}

lathe_status lathe_lab_measure(lathe_lab *lab, const char *id, const lathe_sample *sample, lathe_error *err) {
    double ci[2];
    lathe_sample_ci95(sample, ci);
    if (sample->n < 2) /* one run has no interval: nothing can be decided */
        ci[0] = ci[1] = NAN;
    return set(lab, id, sample->n > 0 ? sample->mean : NAN, ci, sample->n, err);
}

lathe_status lathe_lab_measure_exact(lathe_lab *lab, const char *id, double value, int64_t n,
                                     lathe_error *err) {
    const lathe_status st = set(lab, id, value, (double[2]){value, value}, n, err);
    if (!st)
        find(lab, id)->exact = true;
    return st;
}

/* Empty for what is not finite; whole numbers without an exponent. */
static void csv_number(double x, char *out, size_t size) {
    out[0] = '\0';
    if (x == floor(x) && fabs(x) < 1e15) {
        const int n = snprintf(out, size, "%lld", (long long) x);
        (void) n;
    } else if (isfinite(x))
        lathe_format_double(x, out, size);
}

lathe_status lathe_lab_record(lathe_lab *lab, int64_t seed, const char *setting, const char *quantity,
                              double at, double value, lathe_error *err) {
    char where[32], number[32];
    csv_number(at, where, sizeof where);
    csv_number(value, number, sizeof number);
    if (seed < 0)
        return lathe_buf_printf(&lab->runs, err, ",\"%s\",\"%s\",%s,%s\n", setting, quantity, where, number);
    return lathe_buf_printf(&lab->runs, err, "%lld,\"%s\",\"%s\",%s,%s\n", (long long) seed, setting,
                            quantity, where, number);
}

/* --- metrics.json ----------------------------------------------------------------------------------- */

static const char *const kinds[] = {"at_least", "at_most", "near", "greater"};

static json_t *holds(const lathe_claim_result *r) {
    return r->verdict == LATHE_VERDICT_HOLDS   ? json_true()
           : r->verdict == LATHE_VERDICT_FAILS ? json_false()
                                               : json_null();
}

static json_t *claim_json(const lathe_claim_result *r) {
    const lathe_claim *c = r->claim;
    json_t *o = json_object();
    json_object_set_new(o, "id", json_string(c->id));
    json_object_set_new(o, "text", json_string(c->text));
    json_object_set_new(o, "kind", json_string(kinds[c->kind]));
    json_object_set_new(o, "expected", lathe_json_real(c->expected));
    if (c->kind == LATHE_CLAIM_NEAR)
        json_object_set_new(o, "tolerance", lathe_json_real(c->tolerance));
    json_object_set_new(o, "unit", lathe_json_string(c->unit));
    json_object_set_new(o, "measured", lathe_json_real(r->measured));
    json_t *ci = json_array();
    json_array_append_new(ci, lathe_json_real(r->ci95[0]));
    json_array_append_new(ci, lathe_json_real(r->ci95[1]));
    json_object_set_new(o, "ci95", ci);
    json_object_set_new(o, "n", json_integer(r->n));
    json_object_set_new(o, "exact", json_boolean(r->exact));
    json_object_set_new(o, "holds", holds(r));
    json_object_set_new(o, "verdict", json_string(lathe_claim_verdict_text(r)));
    json_object_set_new(o, "paper", lathe_json_string(c->paper));
    json_object_set_new(o, "origin", lathe_json_string(c->origin));
    if (c->untestable)
        json_object_set_new(o, "reason", json_string(c->untestable));
    return o;
}

static json_t *metrics(const lathe_lab *lab, const lathe_lab_params *params, double elapsed_s, double cpu_s) {
    const lathe_lab_info *info = &lab->entry->info;
    json_t *o = json_object(), *claims = json_array(), *files = json_array();
    json_object_set_new(o, "schema", json_string("lathe.lab/1"));
    json_object_set_new(o, "version", json_string(lathe_version()));
    json_object_set_new(o, "lab", json_string(info->name));
    json_object_set_new(o, "paper", json_string(info->paper));
    json_object_set_new(o, "scale", lathe_json_string(info->scale));
    json_object_set_new(o, "command", lathe_json_string(params->command));
    json_object_set_new(o, "quick", json_boolean(lab->quick));
    json_object_set_new(o, "exact_only", json_boolean(lab->exact_only));
    json_object_set_new(o, "seed", json_integer((json_int_t) lab->seed));
    json_object_set_new(o, "n_seeds", json_integer(lab->n_seeds));
    json_object_set_new(o, "n_threads", json_integer(lab->n_threads));
    json_object_set_new(o, "elapsed_s", lathe_json_real(elapsed_s));
    json_object_set_new(o, "cpu_s", lathe_json_real(cpu_s));
    for (size_t i = 0; i < info->n_claims; i++)
        json_array_append_new(claims, claim_json(&lab->results[i]));
    json_object_set_new(o, "claims", claims);
    json_array_append_new(files, json_string("report.html"));
    json_array_append_new(files, json_string("runs.csv"));
    json_object_set_new(o, "files", files);
    json_object_set_new(o, "warnings", json_array());
    return o;
}

/* --- The run ---------------------------------------------------------------------------------------- */

static lathe_status path_in(const char *folder, const char *name, char *out, size_t size, lathe_error *err) {
    const int n = snprintf(out, size, "%s/%s", folder, name);
    return n > 0 && (size_t) n < size ? LATHE_OK : lathe_fail(err, LATHE_ERR_ARG, "'%s' is too long", folder);
}

static lathe_status write_files(lathe_lab *lab, const lathe_lab_params *params, double elapsed_s,
                                double cpu_s, lathe_error *err) {
    char path[4096];
    json_t *o = metrics(lab, params, elapsed_s, cpu_s);
    char *text = o ? json_dumps(o, JSON_INDENT(1)) : NULL;
    lathe_status st = text ? path_in(params->folder, "metrics.json", path, sizeof path, err)
                           : lathe_fail(err, LATHE_ERR_MEMORY, "no memory for metrics.json");
    if (!st)
        st = lathe_file_write(path, text, strlen(text), err);
    if (!st)
        st = path_in(params->folder, "runs.csv", path, sizeof path, err);
    if (!st)
        st = lathe_file_write(path, lab->runs.data, lab->runs.n_bytes, err);
    if (!st)
        st = path_in(params->folder, "report.html", path, sizeof path, err);
    if (!st)
        st = lathe_lab_page_write(lab, o, path, err);
    free(text);
    json_decref(o);
    return st;
}

static lathe_status run(lathe_lab *lab, const lathe_lab_params *params, double *elapsed_s, double *cpu_s,
                        lathe_error *err) {
    const double begin = lathe_now();
    const clock_t cpu = clock();
    lathe_status st = lathe_buf_text(&lab->runs, "seed,setting,quantity,at,value\n", err);
    if (!st && params->folder) /* before the work: a folder that cannot be made should not cost ten minutes */
        st = lathe_folder_make(params->folder, err);
    if (!st)
        st = lab->entry->run(lab, err);
    *elapsed_s = lathe_now() - begin;
    *cpu_s = (double) (clock() - cpu) / CLOCKS_PER_SEC;
    if (!st && params->folder)
        st = write_files(lab, params, *elapsed_s, *cpu_s, err);
    return st;
}

lathe_status lathe_lab_run_entry(const lathe_lab_entry *entry, const lathe_lab_params *params,
                                 lathe_lab_result *result, lathe_error *err) {
    const bool own = params->data != LATHE_LAB_TREE || params->full_a6 || !isnan(params->val_s);
    if (own && strcmp(entry->info.name, "muon-curvature") != 0)
        return lathe_fail(err, LATHE_ERR_ARG,
                          "data, held-out imbalance and long runs are choices of muon-curvature, not of %s",
                          entry->info.name);
    if (own && (params->quick || params->exact_only))
        return lathe_fail(err, LATHE_ERR_ARG, "other data and long runs have no quick version");
    if (!isnan(params->val_s) && !(params->val_s >= 0 && params->val_s <= 3))
        return lathe_fail(err, LATHE_ERR_ARG, "the held-out imbalance must be from 0 to 3");
    if (params->n_seeds < 0 || params->n_seeds > 1000 || params->n_threads < 1 || params->n_threads > 1024)
        return lathe_fail(err, LATHE_ERR_ARG,
                          "a lab takes 1 to 1000 seeds and 1 to 1024 threads, not %d and %d", params->n_seeds,
                          params->n_threads);
    lathe_lab lab = {.entry = entry,
                     .quick = params->quick,
                     .exact_only = params->exact_only,
                     .n_seeds = params->n_seeds > 0 ? params->n_seeds
                                : params->quick     ? entry->n_seeds_quick
                                                    : entry->info.n_seeds,
                     .seed = params->seed,
                     .data = params->data,
                     .val_s = params->val_s,
                     .full_a6 = params->full_a6,
                     .n_threads = params->n_threads,
                     .logger = &params->logger,
                     .progress = &params->progress};
    lathe_buf_init(&lab.runs, RUNS_MAX);
    lab.results = calloc(entry->info.n_claims, sizeof *lab.results);
    lab.figures = json_array();
    lathe_status st = lab.results && lab.figures ? lathe_lab_page_new(&lab.page, err)
                                                 : lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a lab");
    for (size_t i = 0; !st && i < entry->info.n_claims; i++)
        lab.results[i] = (lathe_claim_result){.claim = &entry->info.claims[i],
                                              .measured = NAN,
                                              .ci95 = {NAN, NAN},
                                              .verdict = LATHE_VERDICT_UNMEASURED};
    double elapsed_s = 0, cpu_s = 0;
    if (!st)
        st = run(&lab, params, &elapsed_s, &cpu_s, err);
    lathe_buf_free(&lab.runs);
    lathe_lab_page_free(lab.page);
    json_decref(lab.figures);
    if (st) {
        free(lab.results);
        return st;
    }
    *result = (lathe_lab_result){.claims = lab.results,
                                 .n_claims = entry->info.n_claims,
                                 .n_seeds = lab.n_seeds,
                                 .elapsed_s = elapsed_s,
                                 .cpu_s = cpu_s};
    return LATHE_OK;
}

lathe_status lathe_lab_run(const char *name, const lathe_lab_params *params, lathe_lab_result *result,
                           lathe_error *err) {
    for (size_t i = 0; lathe_labs[i]; i++)
        if (strcmp(lathe_labs[i]->info.name, name) == 0)
            return lathe_lab_run_entry(lathe_labs[i], params, result, err);
    return lathe_fail(err, LATHE_ERR_ARG, "no lab '%s'", name);
}

void lathe_lab_result_free(lathe_lab_result *result) {
    if (result) {
        free(result->claims);
        *result = (lathe_lab_result){0};
    }
}
