/* verb_bench.c - `lathe bench`: prompts and tokens a second, and how far that is from what the memory allows.
 */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/machine.h"
#include "base/text.h"
#include "cli/bench_kernels.h"
#include "cli/cli.h"
#include "cli/shared_options.h"
#include "decode/speed.h"

enum { LIST_MAX = 32 };

typedef struct bench_args {
    lathe_shared_args shared;
    const char *depths, *rows;
    bool kernels;
    int64_t n_prompt, n_predict, repeats;
} bench_args;

#define AT(field) offsetof(bench_args, field)
// clang-format off
static const lathe_option options[] = {
    { .name = "depths", .short_name = "d", .group = "bench", .arg = "N,...", .kind = LATHE_OPTION_LIST, .offset = AT(depths), .default_text = "0",
      .help = "tokens in the cache before each measurement" },
    { .name = "rows", .group = "bench", .arg = "N,...", .kind = LATHE_OPTION_LIST, .offset = AT(rows),
      .help = "time of a step of so many tokens, as when drafts are verified: 1,2,4,8" },
    { .name = "kernels", .group = "bench", .kind = LATHE_OPTION_FLAG, .offset = AT(kernels),
      .help = "products of this machine's kernels, no model needed; --rows: their columns (1,2,4,8,16,64)" },
    { .name = "n-prompt", .group = "bench", .arg = "N", .kind = LATHE_OPTION_INT, .min = 1, .max = 1048576, .offset = AT(n_prompt),
      .default_text = "512", .help = "tokens of a prompt" },
    { .name = "n-predict", .short_name = "n", .group = "bench", .arg = "N", .kind = LATHE_OPTION_INT, .min = 1, .max = 1048576, .offset = AT(n_predict),
      .default_text = "64", .help = "tokens of an answer" },
    { .name = "repeats", .short_name = "r", .group = "bench", .arg = "N", .kind = LATHE_OPTION_INT, .min = 1, .max = LATHE_SPEED_REPEATS_MAX,
      .offset = AT(repeats), .default_text = "5", .help = "runs of which the median counts" },
};
// clang-format on
static const lathe_option *const tables[] = {lathe_options_model, lathe_options_context, options};
static const size_t counts[] = {LATHE_N_OPTIONS_MODEL, LATHE_N_OPTIONS_CONTEXT, LATHE_LEN(options)};

static void defaults(void *args_) {
    bench_args *args = args_;
    lathe_shared_defaults(&args->shared, 0);
    args->depths = "0";
    args->n_prompt = 512;
    args->n_predict = 64;
    args->repeats = 5;
}

/* "0,2048" as numbers; NULL gives none. */
static lathe_status read_list(const char *name, const char *text, int64_t min, int32_t list[LIST_MAX], int *n,
                              lathe_error *err) {
    *n = 0;
    for (const char *p = text; p && *p;) {
        char word[24];
        const size_t k = strcspn(p, ",");
        int64_t value = -1;
        if (k < sizeof word) {
            memcpy(word, p, k);
            word[k] = '\0';
            if (!lathe_parse_int(word, &value))
                value = -1;
        }
        if (value < min || value > 1 << 24 || *n == LIST_MAX)
            return lathe_fail(err, LATHE_ERR_ARG,
                              "--%s %s: up to %d whole numbers of at least %lld, separated by commas", name,
                              text, LIST_MAX, (long long) min);
        list[(*n)++] = (int32_t) value;
        p += k + (p[k] == ',');
    }
    return LATHE_OK;
}

/* One row as text and JSON; bandwidth: bytes a second of this machine, 0: not of interest. */
static void report(const char *list, const lathe_speed *s, double bytes_per_token, double bandwidth,
                   lathe_cli *cli) {
    const double rate = s->n / s->median_s;
    const double spread = (s->high_s - s->low_s) / s->median_s;
    const double fraction = bandwidth > 0 ? rate * bytes_per_token / bandwidth : 0;
    if (!cli->json) {
        fprintf(cli->out, "%-8s %8d %6d %12.2f  %5.0f%%", list, s->depth, s->n, rate, 100 * spread);
        if (bandwidth > 0)
            fprintf(cli->out, "  %5.1f%% of the bandwidth", 100 * fraction);
        fputc('\n', cli->out);
        return;
    }
    json_t *row = json_pack("{s:i, s:i, s:o, s:o}", "depth", s->depth, "n", s->n, "tokens_per_s",
                            lathe_json_real(rate), "spread", lathe_json_real(spread));
    if (bandwidth > 0)
        json_object_set_new(row, "fraction_of_bandwidth", lathe_json_real(fraction));
    json_array_append_new(json_object_get(cli->result, list), row);
}

static void report_step(const lathe_speed *s, int32_t n_steps, lathe_cli *cli) {
    const double ms = 1e3 * s->median_s / n_steps;
    if (cli->json)
        json_array_append_new(
            json_object_get(cli->result, "steps"),
            json_pack("{s:i, s:i, s:o}", "rows", s->rows, "depth", s->depth, "ms", lathe_json_real(ms)));
    else
        fprintf(cli->out, "step     %8d %6d %12.4f ms\n", s->depth, s->rows, ms);
}

/* Is the processor the only device? */
static bool runs_here(const lathe_shared_args *a) {
    return a->rpc == NULL && (a->device == NULL || strcmp(a->device, "CPU") == 0);
}

static lathe_status measure(const bench_args *args, const int32_t *depths, int n_depths, const int32_t *rows,
                            int n_rows, lathe_context *context, lathe_cli *cli, lathe_error *err) {
    const lathe_model *model = lathe_context_model(context);
    /* Of this machine's own memory: it says nothing of another device's. */
    const double bandwidth = runs_here(&args->shared)
                                 ? lathe_measure_bandwidth(lathe_context_n_threads(context), 256u << 20)
                                 : 0.0;
    const double weights = (double) lathe_model_step_bytes(model);
    const double cache_row = (double) lathe_context_cache_bytes(context) / lathe_context_n_ctx(context);
    const int32_t n_batch = lathe_context_n_batch(context), repeats = (int32_t) args->repeats;
    lathe_speed s;
    lathe_status st = LATHE_OK;
    double first_fraction = 0;
    json_object_set_new(cli->result, "prefill", json_array());
    json_object_set_new(cli->result, "decode", json_array());
    json_object_set_new(cli->result, "steps", json_array());
    if (!cli->json)
        fprintf(cli->out, "%-8s %8s %6s %12s  %6s\n", "", "depth", "tokens", "tokens/s", "spread");
    for (int d = 0; d < n_depths && !st; d++) {
        st = lathe_speed_measure(context, depths[d], (int32_t) args->n_prompt, n_batch, repeats, &s, err);
        if (st)
            break;
        report("prefill", &s, 0, 0, cli);
        st = lathe_speed_measure(context, depths[d], (int32_t) args->n_predict, 1, repeats, &s, err);
        if (st)
            break;
        const double bytes = weights + cache_row * (depths[d] + 0.5 * (double) args->n_predict);
        report("decode", &s, bytes, bandwidth, cli);
        if (d == 0 && bandwidth > 0)
            first_fraction = s.n / s.median_s * bytes / bandwidth;
        for (int r = 0; r < n_rows && !st; r++) {
            const int32_t n_steps = 8;
            st = lathe_speed_measure(context, depths[d], rows[r] * n_steps, rows[r], repeats, &s, err);
            if (!st)
                report_step(&s, n_steps, cli);
        }
        if (!st)
            st = lathe_progress_step(&cli->progress, "bench", d + 1, n_depths, err);
    }
    json_object_set_new(cli->result, "n_threads", json_integer(lathe_context_n_threads(context)));
    json_object_set_new(cli->result, "memory_bandwidth",
                        bandwidth > 0 ? lathe_json_real(bandwidth) : json_null());
    json_object_set_new(cli->result, "fraction_of_bandwidth",
                        bandwidth > 0 ? lathe_json_real(first_fraction) : json_null());
    if (!st && !cli->json && bandwidth > 0)
        fprintf(cli->out, "%d threads; memory is read at %.1f GB/s; a token reads %.1f MB of weights\n",
                lathe_context_n_threads(context), bandwidth * 1e-9, weights * 1e-6);
    return st;
}

static lathe_status run(const void *args_, lathe_cli *cli, lathe_error *err) {
    const bench_args *args = args_;
    lathe_shared_args shared = args->shared;
    if (!shared.model && cli->n_positional > 0)
        shared.model = cli->positional[0];
    lathe_model_params mp;
    lathe_context_params cp;
    float split[64];
    lathe_model *model = NULL;
    lathe_context *context = NULL;
    int32_t depths[LIST_MAX], rows[LIST_MAX];
    int n_depths = 0, n_rows = 0;
    lathe_status st = read_list("depths", args->depths, 0, depths, &n_depths, err);
    if (!st)
        st = read_list("rows", args->rows, 1, rows, &n_rows, err);
    if (!st && args->kernels) {
        static const int32_t usual[] = {1, 2, 4, 8, 16, 64};
        const int threads = shared.n_threads > 0 ? (int) shared.n_threads : 1;
        st = lathe_bench_kernels(n_rows > 0 ? rows : usual, n_rows > 0 ? n_rows : (int) LATHE_LEN(usual),
                                 threads, cli, err);
        if (st || shared.model == NULL)
            return st;
    }
    if (!st)
        st = lathe_shared_model_params(&shared, &mp, split, err);
    if (!st)
        st = lathe_shared_context_params(&shared, &cp, err);
    if (!st) {
        mp.logger = cp.logger = cli->logger;
        st = lathe_model_load(shared.model, &mp, &model, err);
    }
    if (!st) {
        int64_t need = args->n_prompt > args->n_predict ? args->n_prompt : args->n_predict;
        int32_t deepest = 0;
        for (int r = 0; r < n_rows; r++)
            need = 8ll * rows[r] > need ? 8ll * rows[r] : need;
        for (int d = 0; d < n_depths; d++)
            deepest = depths[d] > deepest ? depths[d] : deepest;
        if (cp.n_ctx == 0 && need + deepest <= lathe_model_n_ctx_train(model))
            cp.n_ctx = (int32_t) (need + deepest);
        st = lathe_context_new(model, &cp, &context, err);
    }
    if (!st)
        st = measure(args, depths, n_depths, rows, n_rows, context, cli, err);
    lathe_context_free(context);
    lathe_model_free(model);
    return st;
}

extern const lathe_verb lathe_verb_bench;
const lathe_verb lathe_verb_bench = {
    .name = "bench",
    .summary = "speed of prompts and answers at depths of the context",
    .usage = "lathe bench -m MODEL [--depths 0,2048] [--rows 1,2,4,8], or --kernels [-t 2]",
    .examples = "lathe bench -m model.gguf --depths 0,2048\n"
                "lathe bench -m model.gguf --rows 1,2,4,8 --json\n"
                "lathe bench --kernels --rows 1,4",
    .schema = "lathe.bench/1",
    .options = {tables, counts, LATHE_LEN(tables)},
    .args_size = sizeof(bench_args),
    .defaults = defaults,
    .run = run,
};
