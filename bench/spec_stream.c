/* spec_stream.c - speculation on a stream of prompts from several texts, all arms interleaved.
 *
 * spec_stream run MODEL N_PREDICT TEMPERATURE FIRST COUNT CACHE|- fresh|stream ARM... -- NAME=FILE...
 *     Prompts FIRST to FIRST + COUNT - 1 of the stream: pieces of 500 characters, taken from the texts in
 * turn. ARM: plain, PROPOSERS (gated, as `run --spec`) or PROPOSERS@LENGTH (always drafts), or
 *     PROPOSERS%CONTROLLER (no gate). Each prompt goes
 * through all arms, in rotating order, before the next. `stream` keeps one session an arm, `fresh` makes one
 * an answer. Prints a line an answer: prompt, text, arm, tokens, seconds, those of the prompt, rounds,
 * microseconds outside the models in all, rounds over 20 of them; median, 99% and most of rounds without
 * drafts, and of those with; and what each arm did. spec_stream table ROWS... Time of plain over that of each
 * arm by text and for the whole stream, from such lines.
 *
 * spec_stream rollback MODEL
 *     Microseconds of leaving 5 of 16 drafted nodes in the cache, from a chain and from a tree, and of
 * copying as many bytes as the rows of the tree's path have. spec_stream noise SECONDS The longest gaps
 * between two looks at the clock: what the machine itself adds to any measured time.
 *
 * One thread. Never part of the tests. */
#define _POSIX_C_SOURCE 199309L
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lathe/decode.h"
#include "lathe/model.h"

enum { ARMS_MAX = 24, TEXTS_MAX = 16, ROUNDS_MAX = 4096, CHARS = 500 };

typedef struct overhead { /* microseconds a round that is neither model nor sampling */
    double drafted[ROUNDS_MAX], declined[ROUNDS_MAX], sum;
    int n_drafted, n_declined, n_over; /* over 20 */
} overhead;

typedef struct arm {
    const char *name;
    lathe_session *session;
    overhead over;
} arm;

typedef struct text {
    const char *name;
    char *bytes;
    size_t n;
} text;

typedef struct setting {
    lathe_model *model;
    int n_predict, first, count, n_arms, n_texts;
    float temp;
    const char *cache;
    bool fresh;
    arm arms[ARMS_MAX];
    text texts[TEXTS_MAX];
} setting;

static void on_round(void *user, const lathe_spec_round *round) {
    overhead *o = user;
    const double us = 1e6 * (round->draft_s + round->other_s);
    o->sum += us;
    o->n_over += us > 20.0;
    if (round->proposed > 0 && o->n_drafted < ROUNDS_MAX)
        o->drafted[o->n_drafted++] = us;
    if (round->proposed == 0 && o->n_declined < ROUNDS_MAX)
        o->declined[o->n_declined++] = us;
}

static int ascending(const void *a_, const void *b_) {
    const double a = *(const double *) a_, b = *(const double *) b_;
    return (a > b) - (a < b);
}

static double quantile(double *x, int n, double q) {
    if (n == 0)
        return 0.0;
    qsort(x, (size_t) n, sizeof *x, ascending);
    const int i = (int) (q * n);
    return x[i < n ? i : n - 1];
}

static bool read_text(const char *argument, text *out) {
    const char *path = strchr(argument, '=');
    FILE *file = path ? fopen(path + 1, "rb") : NULL;
    if (!file)
        return false;
    fseek(file, 0, SEEK_END);
    out->n = (size_t) ftell(file);
    rewind(file);
    out->bytes = malloc(out->n + 1);
    out->name = argument;
    const bool good = out->bytes && fread(out->bytes, 1, out->n, file) == out->n;
    fclose(file);
    if (good)
        out->bytes[out->n] = 0;
    return good && out->n > 4 * CHARS;
}

/* Prompt i: a piece of text i mod n, at places that the golden ratio spreads evenly whatever their number. */
static const char *piece(const setting *s, int i, char *prompt) {
    const text *t = &s->texts[i % s->n_texts];
    const double where = 0.6180339887498949 * (1 + i / s->n_texts);
    size_t at = (size_t) ((where - (double) (long) where) * (double) (t->n - CHARS));
    while (at > 0 && ((unsigned char) t->bytes[at] & 0xC0) == 0x80)
        at--;
    memcpy(prompt, t->bytes + at, CHARS);
    prompt[CHARS] = 0;
    for (int k = CHARS; k > 0 && ((unsigned char) t->bytes[at + (size_t) k] & 0xC0) == 0x80;)
        prompt[--k] = 0;
    for (char *mark; (mark = strstr(prompt, "<|endoftext|>"));)
        memset(mark, ' ', strlen("<|endoftext|>"));
    return t->name;
}

static lathe_status open_arm(const setting *s, arm *a, lathe_error *err) {
    lathe_session_params params = lathe_session_params_default();
    params.context.n_threads = 1;
    params.context.n_ctx = 1024;
    params.sampler.temp = s->temp;
    params.sampler.seed = 1;
    params.n_predict = s->n_predict;
    params.ignore_eos = true;
    lathe_status status = lathe_session_new(s->model, &params, &a->session, err);
    if (status || strncmp(a->name, "plain", 5) == 0)
        return status;
    char proposers[4096], controller[64] = "";
    const char *at = strpbrk(a->name, "@%");
    snprintf(proposers, sizeof proposers, "%.*s", (int) (at ? at - a->name : (long) strlen(a->name)),
             a->name);
    if (at && *at == '%')
        snprintf(controller, sizeof controller, "%s", at + 1);
    lathe_spec_params spec = lathe_spec_params_default();
    spec.proposers = proposers;
    spec.controller = *controller ? controller : NULL;
    spec.length = at && *at == '@' ? atoi(at + 1) : 0;
    spec.gate = *controller ? 0 : -1;
    spec.cache_dir = s->cache;
    spec.on_round = on_round;
    spec.user = &a->over;
    return lathe_session_spec(a->session, &spec, err);
}

/* What each arm did: rounds, tokens a round, plain steps a round by the model of costs. */
static void print_arms(const lathe_session *session) {
    lathe_session_spec_stats stats;
    if (lathe_session_spec_stats_of(session, &stats))
        for (int k = 0; k < stats.n_arms; k++)
            if (stats.arms[k].rounds > 0)
                printf("%s %d x %.2f for %.2f; ", stats.arms[k].name, (int) stats.arms[k].rounds,
                       stats.arms[k].accepted + 1.0, stats.arms[k].cost);
    printf("\n");
}

static lathe_status answer(const setting *s, arm *a, int i, lathe_error *err) {
    char prompt[CHARS + 1];
    const char *name = piece(s, i, prompt);
    lathe_status status = LATHE_OK;
    a->over.n_drafted = a->over.n_declined = a->over.n_over = 0;
    a->over.sum = 0.0;
    if (!a->session)
        status = open_arm(s, a, err);
    if (status)
        return status;
    lathe_session_clear(a->session);
    if ((status = lathe_session_generate(a->session, prompt, NULL, NULL, err)))
        return status;
    const lathe_session_stats stats = lathe_session_stats_of(a->session);
    overhead *o = &a->over;
    printf("%d\t%.*s\t%s\t%d\t%.6f\t%.6f\t%d\t%.0f\t%d\t%.1f\t%.1f\t%.1f\t%.1f\t%.1f\t%.1f\t", i,
           (int) (strchr(name, '=') - name), name, a->name, (int) stats.n_predicted, stats.decode_s,
           stats.prefill_s, o->n_declined + o->n_drafted, o->sum, o->n_over,
           quantile(o->declined, o->n_declined, 0.5), quantile(o->declined, o->n_declined, 0.99),
           quantile(o->declined, o->n_declined, 1.0), quantile(o->drafted, o->n_drafted, 0.5),
           quantile(o->drafted, o->n_drafted, 0.99), quantile(o->drafted, o->n_drafted, 1.0));
    print_arms(a->session);
    fflush(stdout);
    if (s->fresh) {
        lathe_session_free(a->session);
        a->session = NULL;
    }
    return LATHE_OK;
}

static int run(int argc, char **argv) {
    static setting s;
    lathe_error err = {0};
    if (argc < 9)
        return 2;
    s.n_predict = atoi(argv[1]);
    s.temp = (float) atof(argv[2]);
    s.first = atoi(argv[3]);
    s.count = atoi(argv[4]);
    s.cache = strcmp(argv[5], "-") == 0 ? NULL : argv[5];
    s.fresh = strcmp(argv[6], "fresh") == 0;
    int i = 7;
    for (; i < argc && strcmp(argv[i], "--") != 0 && s.n_arms < ARMS_MAX; i++)
        s.arms[s.n_arms++].name = argv[i];
    for (i++; i < argc && s.n_texts < TEXTS_MAX; i++)
        if (!strchr(argv[i], '=') || !read_text(argv[i], &s.texts[s.n_texts++])) {
            fprintf(stderr, "spec_stream: cannot use %s; want NAME=FILE of at least %d bytes\n", argv[i],
                    4 * CHARS);
            return 1;
        }
    if (s.n_arms == 0 || s.n_texts == 0)
        return 2;
    lathe_status status = lathe_model_load(argv[0], NULL, &s.model, &err);
    for (int p = s.first; !status && p < s.first + s.count; p++)
        for (int k = 0; !status && k < s.n_arms; k++)
            status = answer(&s, &s.arms[(k + p) % s.n_arms], p, &err);
    if (status)
        fprintf(stderr, "spec_stream: %s\n", err.text);
    for (int k = 0; k < s.n_arms; k++)
        lathe_session_free(s.arms[k].session);
    lathe_model_free(s.model);
    for (int k = 0; k < s.n_texts; k++)
        free(s.texts[k].bytes);
    return status ? 1 : 0;
}

/* --- The table ----------------------------------------------------------------------------------- */

enum { ROWS_MAX = 65536 };

typedef struct row {
    int prompt;
    char text[32], arm[256];
    int tokens, rounds, over;
    double seconds, prompt_s, outside_us;
} row;

static row rows[ROWS_MAX];
static int n_rows;

static void read_rows(const char *path) {
    FILE *file = fopen(path, "r");
    char line[4096];
    while (file && n_rows < ROWS_MAX && fgets(line, sizeof line, file)) {
        row *r = &rows[n_rows];
        if (sscanf(line, "%d\t%31[^\t]\t%255[^\t]\t%d\t%lf\t%lf\t%d\t%lf\t%d", &r->prompt, r->text, r->arm,
                   &r->tokens, &r->seconds, &r->prompt_s, &r->rounds, &r->outside_us, &r->over) == 9)
            n_rows++;
    }
    if (file)
        fclose(file);
}

static const row *plain_of(int prompt) {
    for (int i = 0; i < n_rows; i++)
        if (rows[i].prompt == prompt && strcmp(rows[i].arm, "plain") == 0)
            return &rows[i];
    return NULL;
}

/* One arm on one text (NULL: all): sum of plain times over its own, and quartiles over prompts. */
static void print_arm(const char *name, const char *of) {
    static double ratio[ROWS_MAX];
    double own = 0.0, plain = 0.0, tokens = 0.0, rounds = 0.0, outside = 0.0;
    int n = 0, over = 0;
    for (int i = 0; i < n_rows; i++) {
        const row *p = strcmp(rows[i].arm, name) == 0 && (!of || strcmp(rows[i].text, of) == 0)
                           ? plain_of(rows[i].prompt)
                           : NULL;
        if (!p)
            continue;
        own += rows[i].seconds;
        plain += p->seconds;
        tokens += rows[i].tokens;
        rounds += rows[i].rounds;
        outside += rows[i].outside_us;
        over += rows[i].over;
        ratio[n++] = p->seconds / rows[i].seconds;
    }
    if (n > 0)
        printf("%-12s %-44s %4d  %.3f  median %.3f, least %.3f; %.0f tokens/s; %.2f us a round, %d of %.0f "
               "over 20\n",
               of ? of : "all", name, n, plain / own, quantile(ratio, n, 0.5), quantile(ratio, n, 0.0),
               tokens / own, rounds > 0.0 ? outside / rounds : 0.0, over, rounds);
}

static int table(int argc, char **argv) {
    const char *names[ARMS_MAX], *texts[TEXTS_MAX + 1];
    int n_names = 0, n_texts = 0;
    for (int i = 0; i < argc; i++)
        read_rows(argv[i]);
    for (int i = 0; i < n_rows; i++) {
        int k = 0;
        while (k < n_names && strcmp(names[k], rows[i].arm) != 0)
            k++;
        if (k == n_names && n_names < ARMS_MAX)
            names[n_names++] = rows[i].arm;
        for (k = 0; k < n_texts && strcmp(texts[k], rows[i].text) != 0;)
            k++;
        if (k == n_texts && n_texts < TEXTS_MAX)
            texts[n_texts++] = rows[i].text;
    }
    texts[n_texts] = NULL;
    for (int t = 0; t <= n_texts; t++)
        for (int k = 0; k < n_names; k++)
            print_arm(names[k], texts[t]);
    return n_rows > 0 ? 0 : 1;
}

/* --- The machine's own gaps ---------------------------------------------------------------------- */

static double seconds_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double) t.tv_sec + 1e-9 * (double) t.tv_nsec;
}

static int noise(double seconds) {
    const double limits[] = {5e-6, 10e-6, 15e-6, 20e-6, 30e-6};
    int count[5] = {0};
    double longest = 0.0, before = seconds_now();
    for (const double end = before + seconds; before < end;) {
        const double now = seconds_now();
        for (int i = 0; i < 5; i++)
            count[i] += now - before > limits[i];
        longest = now - before > longest ? now - before : longest;
        before = now;
    }
    for (int i = 0; i < 5; i++)
        printf("over %2.0f us: %.1f a second\n", 1e6 * limits[i], count[i] / seconds);
    printf("longest %.0f us\n", 1e6 * longest);
    return 0;
}

/* --- Rolling back -------------------------------------------------------------------------------- */

enum { NODES = 16, KEPT = 5, TIMES = 41, PAST = 256 };

static double rolled_back(lathe_context *c, bool tree, lathe_error *err) {
    int32_t tokens[NODES], parent[NODES], path[KEPT];
    uint8_t want[NODES];
    double us[TIMES];
    memset(want, 1, sizeof want);
    for (int i = 0; i < NODES; i++) { /* each kept node has two others beside it */
        tokens[i] = 10 + i;
        parent[i] = i == 0 ? -1 : tree ? (i - 1) / 3 * 3 : i - 1;
    }
    for (int k = 0; k < KEPT; k++)
        path[k] = tree ? 3 * k : k;
    for (int r = 0; r < TIMES; r++) {
        const lathe_batch batch = {
            .tokens = tokens, .parent = tree ? parent : NULL, .want = want, .n_tokens = NODES};
        if (lathe_context_decode(c, &batch, err))
            return -1.0;
        const double start = seconds_now();
        if (tree ? lathe_context_keep_path(c, path, KEPT, err)
                 : lathe_context_rollback(c, 0, PAST + KEPT, err))
            return -1.0;
        us[r] = 1e6 * (seconds_now() - start);
        if (lathe_context_rollback(c, 0, PAST, err))
            return -1.0;
    }
    return quantile(us, TIMES, 0.5);
}

static int rollback(const char *path) {
    lathe_model *model = NULL;
    lathe_context *c = NULL;
    lathe_error err = {0};
    lathe_context_params params = lathe_context_params_default();
    params.n_ctx = 1024;
    params.n_threads = 1;
    int32_t tokens[PAST];
    for (int i = 0; i < PAST; i++)
        tokens[i] = 5 + i % 100;
    const lathe_batch batch = {.tokens = tokens, .n_tokens = PAST};
    lathe_status status = lathe_model_load(path, NULL, &model, &err);
    if (!status)
        status = lathe_context_new(model, &params, &c, &err);
    if (!status)
        status = lathe_context_decode(c, &batch, &err);
    if (!status) {
        const double chain = rolled_back(c, false, &err), tree = rolled_back(c, true, &err);
        const size_t n = (size_t) lathe_context_cache_bytes(c) / 1024 * (KEPT - 1);
        char *from = calloc(8, n), *to = calloc(8, n); /* copied from cold memory, as the rows are */
        double us[TIMES];
        for (int r = 0; from && to && r < TIMES; r++) {
            memset(from, r, 8 * n);
            const double start = seconds_now();
            memcpy(to + (size_t) (r % 8) * n, from + (size_t) (r % 8) * n, n);
            us[r] = 1e6 * (seconds_now() - start);
        }
        printf("chain %.1f us, tree %.1f us, %zu bytes of rows copied %.1f us\n", chain, tree, n,
               quantile(us, TIMES, 0.5));
        free(from);
        free(to);
        status = chain < 0.0 || tree < 0.0 ? LATHE_ERR_IO : LATHE_OK;
    }
    if (status)
        fprintf(stderr, "spec_stream: %s\n", err.text);
    lathe_context_free(c);
    lathe_model_free(model);
    return status ? 1 : 0;
}

int main(int argc, char **argv) {
    int result = 2;
    if (argc > 2 && strcmp(argv[1], "run") == 0)
        result = run(argc - 2, argv + 2);
    else if (argc > 2 && strcmp(argv[1], "table") == 0)
        result = table(argc - 2, argv + 2);
    else if (argc == 3 && strcmp(argv[1], "rollback") == 0)
        result = rollback(argv[2]);
    else if (argc == 3 && strcmp(argv[1], "noise") == 0)
        result = noise(atof(argv[2]));
    if (result == 2)
        fprintf(stderr,
                "usage: spec_stream run MODEL N_PREDICT TEMPERATURE FIRST COUNT CACHE|- fresh|stream ARM... "
                "-- NAME=FILE...\n       spec_stream table ROWS...\n       spec_stream rollback MODEL\n      "
                " spec_stream noise SECONDS\n");
    return result;
}
