/* verb_lab.c - `lathe lab`: a paper's claims, measured again. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/machine.h"
#include "base/text.h"
#include "cli/cli.h"
#include "lathe/lab.h"

typedef struct lab_args {
    bool quick, strict, exact_only;
    int64_t seeds, seed, threads;
    const char *output, *claims;
    int32_t data;
    bool val_s_seen, full_a6;
    double val_s;
} lab_args;

#define AT(field) offsetof(lab_args, field)
// clang-format off
static const char *const datas[] = {"tree", "lex", NULL};

static const lathe_option options[] = {
    { .name = "quick", .group = "run", .kind = LATHE_OPTION_FLAG, .offset = AT(quick), .help = "the small version, under a minute: fewer seeds, fewer claims" },
    { .name = "exact-only", .group = "run", .kind = LATHE_OPTION_FLAG, .offset = AT(exact_only), .help = "closed forms alone, where the lab has such: seconds" },
    { .name = "strict", .group = "run", .kind = LATHE_OPTION_FLAG, .offset = AT(strict), .help = "exit status 1 unless all measured claims hold" },
    { .name = "seeds", .group = "run", .arg = "N", .kind = LATHE_OPTION_INT, .offset = AT(seeds), .min = 0, .max = 1000, .default_text = "0", .help = "runs of each setting; 0: the lab's own number" },
    { .name = "seed", .group = "run", .arg = "N", .kind = LATHE_OPTION_INT, .offset = AT(seed), .min = 0, .max = 9e15, .default_text = "0", .help = "seed of the first run" },
    { .name = "data", .group = "run", .arg = "tree|lex", .kind = LATHE_OPTION_CHOICE, .offset = AT(data), .choices = datas, .default_text = "tree", .help = "(muon-curvature) rules of a tree, or words that select each other: 1500 steps instead of 400" },
    { .name = "val-s", .group = "run", .arg = "S", .kind = LATHE_OPTION_REAL, .offset = AT(val_s), .seen_offset = AT(val_s_seen), .min = 0, .max = 3, .default_text = "as trained", .help = "(muon-curvature) imbalance of the held-out text" },
    { .name = "full-a6", .group = "run", .kind = LATHE_OPTION_FLAG, .offset = AT(full_a6), .help = "(muon-curvature) what the claim on imbalance needs: 1089 words, 1500 steps, 30 points, held out at s = 0; half an hour" },
    { .name = "threads", .short_name = "t", .group = "run", .arg = "N", .kind = LATHE_OPTION_INT, .offset = AT(threads), .min = 0, .max = 1024, .env = "LATHE_THREADS", .default_text = "cores, at most 2", .help = "runs that go on at a time" },
    { .name = "output", .short_name = "o", .group = "output", .arg = "FOLDER", .kind = LATHE_OPTION_FILE, .offset = AT(output), .default_text = "lab-NAME", .help = "gets report.html, metrics.json, runs.csv" },
    { .name = "claims", .group = "output", .arg = "FOLDER", .kind = LATHE_OPTION_FILE, .offset = AT(claims), .help = "no run: the page of all claims (-o FILE.md) from FOLDER/NAME.json, the metrics of full runs" },
};
// clang-format on
static const lathe_option *const tables[] = {options};
static const size_t sizes[] = {LATHE_LEN(options)};

static lathe_status list_labs(lathe_cli *cli) {
    json_t *list = json_array();
    for (size_t i = 0; i < lathe_lab_count(); i++) {
        const lathe_lab_info *lab = lathe_lab_at(i);
        json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s, s:I}", "name", lab->name, "summary",
                                              lab->summary, "paper", lab->paper, "scale", lab->scale,
                                              "n_claims", (json_int_t) lab->n_claims));
        if (!cli->json)
            fprintf(cli->out, "%-16s %s\n%-16s %s\n", lab->name, lab->summary, "", lab->paper);
    }
    if (cli->json)
        json_object_set(cli->result, "labs", list);
    json_decref(list);
    return LATHE_OK;
}

static lathe_status unknown(const char *name, lathe_error *err) {
    const char *names[64] = {0};
    char all[512] = "";
    for (size_t i = 0; i < lathe_lab_count() && i < LATHE_LEN(names) - 1; i++) {
        names[i] = lathe_lab_at(i)->name;
        const size_t at = strlen(all);
        const int n = snprintf(all + at, sizeof all - at, "%s%s", i > 0 ? ", " : "", names[i]);
        (void) n;
    }
    const char *near = lathe_nearest_name(name, names);
    if (near)
        return lathe_fail(err, LATHE_ERR_ARG, "no lab '%s'; did you mean '%s'?", name, near);
    return lathe_fail(err, LATHE_ERR_ARG, "no lab '%s'; there are %s", name, all);
}

static void show_text(const lathe_lab_info *lab, const lathe_lab_result *r, const char *folder,
                      lathe_cli *cli) {
    fprintf(cli->out, "%s: %s\n", lab->name, lab->paper);
    for (size_t i = 0; i < r->n_claims; i++) {
        const lathe_claim_result *c = &r->claims[i];
        char x[40], low[40], high[40];
        lathe_format_figure(c->measured, x, sizeof x);
        lathe_format_figure(c->ci95[0], low, sizeof low);
        lathe_format_figure(c->ci95[1], high, sizeof high);
        fprintf(cli->out, "  %-18s %s\n", lathe_claim_verdict_text(c), c->claim->text);
        if (c->n == 0)
            continue;
        fprintf(cli->out, "  %-18s   measured %s", "", x);
        if (c->ci95[0] < c->ci95[1])
            fprintf(cli->out, " [%s, %s], n %lld", low, high, (long long) c->n);
        fprintf(cli->out, " %s; paper: %s\n", c->claim->unit ? c->claim->unit : "",
                c->claim->paper ? c->claim->paper : "-");
    }
    fprintf(cli->out, "report: %s/report.html\n", folder);
}

static lathe_status show_json(const char *folder, lathe_cli *cli, lathe_error *err) {
    char path[4096];
    const int n = snprintf(path, sizeof path, "%s/metrics.json", folder);
    if (n < 0 || (size_t) n >= sizeof path)
        return lathe_fail(err, LATHE_ERR_ARG, "'%s' is too long", folder);
    json_t *m = NULL;
    const lathe_status st = lathe_json_read(path, 16 << 20, &m, err);
    if (st)
        return st;
    const char *key;
    json_t *value;
    json_object_foreach(m, key, value) if (strcmp(key, "schema") && strcmp(key, "version") &&
                                           strcmp(key, "warnings")) json_object_set(cli->result, key, value);
    json_decref(m);
    return LATHE_OK;
}

/* What a reader types to get these figures again. */
static void command_of(const lab_args *a, const char *name, char *out, size_t size) {
    int n = snprintf(out, size, "lathe lab %s%s", name, a->quick ? " --quick" : "");
    if (n > 0 && a->exact_only)
        n += snprintf(out + n, size - (size_t) n, " --exact-only");
    if (n > 0 && a->seeds > 0)
        n += snprintf(out + n, size - (size_t) n, " --seeds %lld", (long long) a->seeds);
    if (n > 0 && a->seed > 0)
        n += snprintf(out + n, size - (size_t) n, " --seed %lld", (long long) a->seed);
    if (n > 0 && (a->full_a6 || a->data > 0))
        n += snprintf(out + n, size - (size_t) n, "%s", a->full_a6 ? " --full-a6" : " --data lex");
    if (n > 0 && a->val_s_seen)
        n += snprintf(out + n, size - (size_t) n, " --val-s %g", a->val_s);
}

static lathe_status run(const void *args, lathe_cli *cli, lathe_error *err) {
    const lab_args *a = args;
    if (a->claims)
        return cli->n_positional > 0 || a->quick || a->strict
                   ? lathe_fail(err, LATHE_ERR_ARG,
                                "--claims runs no lab; leave the name, --quick and --strict out")
                   : lathe_lab_write_claims(a->claims, a->output ? a->output : "claims.md", err);
    if (cli->n_positional == 0)
        return list_labs(cli);
    if (cli->n_positional > 1)
        return lathe_fail(err, LATHE_ERR_ARG, "one lab at a time, not '%s' too", cli->positional[1]);
    const char *name = cli->positional[0];
    const lathe_lab_info *lab = lathe_lab_find(name);
    if (!lab)
        return unknown(name, err);
    char folder[512], command[256];
    const int n = snprintf(folder, sizeof folder, "lab-%s", name);
    (void) n;
    command_of(a, name, command, sizeof command);
    lathe_lab_params p = lathe_lab_params_default();
    const int cores = lathe_n_cores();
    p.quick = a->quick;
    p.exact_only = a->exact_only;
    p.n_seeds = (int32_t) a->seeds;
    p.seed = (uint64_t) a->seed;
    p.full_a6 = a->full_a6;
    p.data = a->full_a6 ? LATHE_LAB_LEX : (lathe_lab_data) a->data;
    p.val_s = a->val_s_seen ? a->val_s : a->full_a6 ? 0 : NAN;
    p.n_threads = a->threads > 0 ? (int32_t) a->threads : cores < 2 ? cores : 2;
    p.folder = a->output ? a->output : folder;
    p.command = command;
    p.logger = cli->logger;
    p.progress = cli->progress;
    lathe_lab_result r;
    lathe_status st = lathe_lab_run(name, &p, &r, err);
    if (st)
        return st;
    if (cli->json)
        st = show_json(p.folder, cli, err);
    else
        show_text(lab, &r, p.folder, cli);
    int32_t missed = 0;
    for (size_t i = 0; i < r.n_claims; i++) {
        const lathe_claim_result *c = &r.claims[i];
        const bool due =
            !c->claim->untestable && (!a->quick || c->claim->quick) && (!a->exact_only || c->n > 0);
        missed += due && c->verdict != LATHE_VERDICT_HOLDS;
    }
    if (!st && a->strict && missed > 0)
        st = lathe_fail(err, LATHE_ERR_NUMERIC, "%d claims of %s do not hold or are undecided (--strict)",
                        missed, name);
    lathe_lab_result_free(&r);
    return st;
}

extern const lathe_verb lathe_verb_lab;
const lathe_verb lathe_verb_lab = {
    .name = "lab",
    .summary = "a paper's claims, measured again",
    .usage = "lathe lab [NAME] [--quick] [--strict] [--seeds N] [-o FOLDER]",
    .examples = "lathe lab\nlathe lab muon-curvature --quick -o report/",
    .schema = "lathe.lab/1",
    .options = {tables, sizes, 1},
    .args_size = sizeof(lab_args),
    .run = run,
};
