/* spec_report.c - see spec_report.h. */
#include "cli/spec_report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/report.h"

enum { ROUNDS_MAX = 1 << 20, FILE_MAX_BYTES = 1 << 28, ARMS = 33, WINDOW = 32 };

struct lathe_rounds {
    double *x, *kept, *loss, *regret, *share[ARMS]; /* [n] */
    int32_t *arm;
    char name[ARMS][64];
    int32_t n, n_arms, capacity;
    json_t *sums; /* of a file that was read */
};

lathe_status lathe_rounds_new(lathe_rounds **rounds, lathe_error *err) {
    *rounds = calloc(1, sizeof **rounds);
    return *rounds ? LATHE_OK : lathe_fail(err, LATHE_ERR_MEMORY, "no memory for the rounds of an answer");
}

void lathe_rounds_free(lathe_rounds *r) {
    if (!r)
        return;
    free(r->x);
    free(r->kept);
    free(r->loss);
    free(r->regret);
    free(r->arm);
    for (int i = 0; i < ARMS; i++)
        free(r->share[i]);
    json_decref(r->sums);
    free(r);
}

static bool grow(double **p, int32_t n) {
    double *grown = realloc(*p, (size_t) n * sizeof **p);
    if (grown)
        *p = grown;
    return grown != NULL;
}

/* One more; false: no memory, or too many rounds or arms. */
static bool add(lathe_rounds *r, const char *arm, double kept, double loss_s, double regret) {
    int32_t a = 0;
    if (r->n == ROUNDS_MAX)
        return false;
    if (r->n == r->capacity) {
        const int32_t more = r->capacity ? 2 * r->capacity : 1024;
        int32_t *arms = realloc(r->arm, (size_t) more * sizeof *arms);
        if (arms)
            r->arm = arms;
        if (!arms || !grow(&r->x, more) || !grow(&r->kept, more) || !grow(&r->loss, more) ||
            !grow(&r->regret, more))
            return false;
        r->capacity = more;
    }
    while (a < r->n_arms && strcmp(r->name[a], arm) != 0)
        a++;
    if (a == ARMS)
        return false;
    if (a == r->n_arms)
        snprintf(r->name[r->n_arms++], sizeof r->name[0], "%s", arm);
    r->x[r->n] = r->n;
    r->arm[r->n] = a;
    r->kept[r->n] = kept;
    r->regret[r->n] = regret;
    r->loss[r->n++] = 1e3 * loss_s;
    return true;
}

void lathe_rounds_take(void *user, const lathe_spec_round *round) {
    (void) add(user, round->arm, round->accepted, round->loss_s, round->regret);
}

static lathe_status add_round(lathe_rounds *r, const json_t *line, const char *path, int at,
                              lathe_error *err) {
    const char *arm = json_string_value(json_object_get(line, "arm"));
    const json_t *kept = json_object_get(line, "accepted"), *loss = json_object_get(line, "loss_s");
    if (!arm || strlen(arm) >= 64 || !json_is_integer(kept) || !json_is_number(loss))
        return lathe_fail(err, LATHE_ERR_INPUT, "%s: line %d is no round; want a file that --stats wrote",
                          path, at);
    if (!add(r, arm, (double) json_integer_value(kept), json_number_value(loss),
             json_number_value(json_object_get(line, "regret"))))
        return lathe_fail(err, LATHE_ERR_INPUT,
                          "%s: line %d: more than %d rounds or %d arms, or than the memory holds", path, at,
                          (int) ROUNDS_MAX, (int) ARMS);
    return LATHE_OK;
}

static lathe_status read_rounds(const char *path, lathe_rounds *r, lathe_error *err) {
    char *text = NULL;
    size_t n_bytes = 0;
    int at = 0;
    lathe_status st = lathe_file_read(path, FILE_MAX_BYTES, &text, &n_bytes, err);
    for (size_t begin = 0; !st && begin < n_bytes;) {
        const char *newline = memchr(text + begin, '\n', n_bytes - begin);
        const size_t n = newline ? (size_t) (newline - text) - begin : n_bytes - begin;
        json_t *line = NULL;
        at++;
        if (n > 0)
            st = lathe_json_parse(text + begin, n, path, &line, err);
        const char *schema = line ? json_string_value(json_object_get(line, "schema")) : NULL;
        if (schema && strcmp(schema, "lathe.spec-stats/1") == 0) {
            json_decref(r->sums);
            r->sums = json_incref(line);
        } else if (!st && n > 0) {
            st = add_round(r, line, path, at, err);
        }
        json_decref(line);
        begin += n + 1;
    }
    free(text);
    if (!st && (r->n == 0 || !r->sums))
        st = lathe_fail(err, LATHE_ERR_INPUT,
                        "%s: no rounds, or no sums behind them; want a file that --stats wrote", path);
    return st;
}

/* Share of each arm among the last rounds. */
static lathe_status fill_shares(lathe_rounds *r, lathe_error *err) {
    for (int32_t a = 0; a < r->n_arms; a++) {
        double count = 0.0;
        if (!(r->share[a] = malloc((size_t) r->n * sizeof *r->share[a])))
            return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %d rounds", (int) r->n);
        for (int32_t i = 0; i < r->n; i++) {
            count += r->arm[i] == a;
            count -= i >= WINDOW && r->arm[i - WINDOW] == a;
            r->share[a][i] = count / (i + 1 < WINDOW ? i + 1 : WINDOW);
        }
    }
    return LATHE_OK;
}

static void figure_acceptance(lathe_report *page, const json_t *sums) {
    const json_t *reached = json_object_get(sums, "reached"), *kept = json_object_get(sums, "accepted_at");
    double x[64], y[64], low[64], high[64];
    size_t n = 0;
    for (size_t k = 0; k < json_array_size(reached) && k < 64; k++) {
        const double m = json_number_value(json_array_get(reached, k)),
                     a = json_number_value(json_array_get(kept, k));
        if (!(m > 0.0))
            continue;
        const double z = 1.96, centre = (a + z * z / 2) / (m + z * z); /* Wilson's interval */
        const double half = z / (m + z * z) * sqrt(fmax(0.0, a * (m - a) / m + z * z / 4));
        x[n] = (double) k + 1.0;
        y[n] = a / m;
        low[n] = centre - half;
        high[n++] = centre + half;
    }
    if (n == 0) {
        lathe_report_paragraph(page, "Nothing was drafted in this answer.");
        return;
    }
    const lathe_series series = {.name = "kept", .x = x, .y = y, .low = low, .high = high, .n = n};
    const lathe_plot plot = {.kind = LATHE_PLOT_LINE,
                             .title = "Acceptance by position",
                             .finding = "share of drafts kept, by their place in the draft",
                             .x_label = "place in the draft",
                             .y_label = "kept where reached",
                             .series = &series,
                             .n_series = 1};
    lathe_report_figure(
        page, &plot,
        "Of the drafts whose predecessors were all kept, the share that was kept; 95% intervals.");
}

static void figure_arms(lathe_report *page, const lathe_rounds *r) {
    lathe_series series[ARMS];
    for (int32_t a = 0; a < r->n_arms; a++)
        series[a] = (lathe_series){.name = r->name[a], .x = r->x, .y = r->share[a], .n = (size_t) r->n};
    const lathe_plot plot = {.kind = LATHE_PLOT_LINE,
                             .title = "Arms over time",
                             .finding = "which arm drafted, among the last 32 rounds",
                             .x_label = "round",
                             .y_label = "share of rounds",
                             .series = series,
                             .n_series = (size_t) r->n_arms};
    lathe_report_figure(page, &plot, "Share of each arm among the last 32 rounds; 'none' is plain decoding.");
}

static void figure_loss(lathe_report *page, const lathe_rounds *r) {
    const lathe_series series = {.name = "loss", .x = r->x, .y = r->loss, .n = (size_t) r->n};
    const lathe_plot plot = {.kind = LATHE_PLOT_LINE,
                             .title = "Time against plain decoding",
                             .finding = "measured time less the price of the same tokens by plain decoding",
                             .x_label = "round",
                             .y_label = "milliseconds",
                             .series = &series,
                             .n_series = 1,
                             .mark_label = "plain",
                             .mark = 0.0};
    lathe_report_figure(page, &plot,
                        "Below zero, speculation has gained time; the gate keeps it from rising far above.");
}

static void figure_regret(lathe_report *page, const lathe_rounds *r) {
    const lathe_series series = {.name = "regret", .x = r->x, .y = r->regret, .n = (size_t) r->n};
    const lathe_plot plot = {.kind = LATHE_PLOT_LINE,
                             .title = "Regret",
                             .finding = "plain steps spent beyond the best arm in hindsight",
                             .x_label = "round",
                             .y_label = "plain steps",
                             .series = &series,
                             .n_series = 1,
                             .mark_label = "best arm",
                             .mark = 0.0};
    lathe_report_figure(page, &plot,
                        "What the answer has cost more than by the arm that was best up to there, as far as "
                        "drafts that were not used can tell; below zero the mixture beats every arm.");
}

static void figure_time(lathe_report *page, const json_t *sums) {
    static const char *const fields[] = {"draft_s", "verify_s", "sample_s", "other_s"};
    static const char *const names[] = {"draft", "verify", "sample", "the rest"};
    lathe_bar bars[4];
    for (int i = 0; i < 4; i++) {
        const double ms = 1e3 * json_number_value(json_object_get(sums, fields[i]));
        bars[i] = (lathe_bar){.name = names[i], .value = ms, .low = ms, .high = ms};
    }
    const lathe_plot plot = {.kind = LATHE_PLOT_BAR,
                             .title = "Where the time went",
                             .finding = "milliseconds of the answer by part of a round",
                             .x_label = "milliseconds",
                             .bars = bars,
                             .n_bars = 4};
    lathe_report_figure(page, &plot, "Sums over all rounds.");
}

static void table_arms(lathe_report *page, const json_t *sums) {
    static const char *const header[] = {"arm", "rounds", "share", "kept a round", "cost a round"};
    const json_t *arms = json_object_get(sums, "arms"), *arm;
    size_t i;
    lathe_report_table(page, "Arms", header, 5);
    json_array_foreach(arms, i, arm) {
        char text[64];
        const char *name = json_string_value(json_object_get(arm, "name"));
        lathe_report_cell(page, LATHE_CELL_TEXT, name ? name : "?");
        snprintf(text, sizeof text, "%.0f", json_number_value(json_object_get(arm, "rounds")));
        lathe_report_cell(page, LATHE_CELL_NUMBER, text);
        snprintf(text, sizeof text, "%.1f%%", 100.0 * json_number_value(json_object_get(arm, "share")));
        lathe_report_cell(page, LATHE_CELL_NUMBER, text);
        snprintf(text, sizeof text, "%.2f", json_number_value(json_object_get(arm, "accepted")));
        lathe_report_cell(page, LATHE_CELL_NUMBER, text);
        snprintf(text, sizeof text, "%.2f", json_number_value(json_object_get(arm, "cost")));
        lathe_report_cell(page, LATHE_CELL_NUMBER, text);
    }
    lathe_report_table_end(page);
}

lathe_status lathe_rounds_show(lathe_rounds *r, const json_t *sums, lathe_report *page, lathe_error *err) {
    char text[400];
    const char *best = json_string_value(json_object_get(sums, "best_arm"));
    const lathe_status st = r->n > 0 ? fill_shares(r, err) : LATHE_OK;
    if (st)
        return st;
    figure_acceptance(page, sums);
    if (r->n > 0) {
        figure_arms(page, r);
        figure_loss(page, r);
        figure_regret(page, r);
    }
    snprintf(text, sizeof text,
             "Regret against the best arm in hindsight (%.60s), as far as drafts that were not used can "
             "tell: %.1f plain "
             "steps. Rounds in which the gate allowed no draft: %.0f; rounds that were plain to look at the "
             "price: %.0f.",
             best ? best : "unknown", json_number_value(json_object_get(sums, "regret_estimate")),
             json_number_value(json_object_get(sums, "gate_refused")),
             json_number_value(json_object_get(sums, "probes")));
    lathe_report_paragraph(page, text);
    figure_time(page, sums);
    table_arms(page, sums);
    return LATHE_OK;
}

lathe_status lathe_spec_report(const char *path, const char *page_path, int64_t *n_rounds, lathe_error *err) {
    lathe_rounds *r = NULL;
    lathe_report page;
    char text[400];
    lathe_status st = lathe_rounds_new(&r, err);
    if (!st)
        st = read_rounds(path, r, err);
    if (st) {
        lathe_rounds_free(r);
        return st;
    }
    snprintf(text, sizeof text,
             "%d rounds emitted %.0f tokens, %.2f drafts kept a round; %.2f times plain decoding. %s.",
             (int) r->n, json_number_value(json_object_get(r->sums, "emitted")),
             json_number_value(json_object_get(r->sums, "mean_accepted")),
             json_number_value(json_object_get(r->sums, "speedup_vs_plain")),
             json_is_true(json_object_get(r->sums, "lossless"))
                 ? "Lossless"
                 : "Lossy: the law of the text is not the target's");
    lathe_report_begin(&page, "Speculation", text, err);
    st = lathe_rounds_show(r, r->sums, &page, err);
    if (!st)
        st = lathe_report_write(&page, r->sums, page_path);
    lathe_report_free(&page);
    *n_rounds = r->n;
    lathe_rounds_free(r);
    return st;
}
