/* bif.c - Bayesian networks of discrete variables: read from the Bayesian Interchange Format, sampled.
 *
 *   network NAME { ... }
 *   variable A { type discrete [ 2 ] { yes, no }; }
 *   probability ( B | A ) { (yes) 0.1, 0.9; (no) 0.5, 0.5; }      or: table 0.2, 0.8;  default 0.5, 0.5;
 *
 * A table under parents lists the child slowest and the last parent fastest. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/csv.h"
#include "base/rng_purpose.h"
#include "tree/tree.h"

enum { MAX_VARIABLES = 20000, MAX_BIF_STATES = 4096, MAX_PARENTS = 24, MAX_WORD = 255 };
static const int64_t MAX_CELLS = (int64_t) 1 << 27;

typedef struct reader {
    const char *p, *end, *name;
    int64_t line, n_cells;
    char word[MAX_WORD + 1]; /* the token; empty at the end */
    bool quoted;
    lathe_bayes_net *net;
    int32_t capacity;
    lathe_error *err;
} reader;

void lathe_bayes_net_free(lathe_bayes_net *net) {
    const int32_t n = net->variables.n_columns;
    for (int32_t i = 0; net->p != NULL && i < n; i++)
        free(net->p[i]);
    for (int32_t i = 0; net->parents != NULL && i < n; i++)
        free(net->parents[i]);
    free(net->p);
    free(net->parents);
    free(net->n_parents);
    free(net->order);
    lathe_table_free(&net->variables);
    memset(net, 0, sizeof *net);
}

static lathe_status bad(reader *r, const char *what) {
    return lathe_fail(r->err, LATHE_ERR_INPUT, "%s, line %lld: %s%s%.60s%s", r->name, (long long) r->line,
                      what, r->word[0] ? ", found '" : ", but the file ends", r->word, r->word[0] ? "'" : "");
}

static lathe_status no_memory(reader *r) {
    return lathe_fail(r->err, LATHE_ERR_MEMORY, "%s: no memory", r->name);
}

static bool is_mark(char c) {
    return c != 0 && strchr("{}()[],;|", c) != NULL;
}

/* The next token into r->word. */
static lathe_status next(reader *r) {
    r->word[0] = 0;
    r->quoted = false;
    for (;;) {
        while (r->p < r->end &&
               (*r->p == ' ' || *r->p == '\t' || *r->p == '\r' || *r->p == '\n' || *r->p == 0))
            r->line += *r->p++ == '\n';
        if (r->end - r->p >= 2 && r->p[0] == '/' && r->p[1] == '/') {
            while (r->p < r->end && *r->p != '\n')
                r->p++;
        } else if (r->end - r->p >= 2 && r->p[0] == '/' && r->p[1] == '*') {
            for (r->p += 2; r->end - r->p >= 2 && (r->p[0] != '*' || r->p[1] != '/'); r->p++)
                r->line += *r->p == '\n';
            if (r->end - r->p < 2)
                return lathe_fail(r->err, LATHE_ERR_INPUT, "%s, line %lld: a comment is never closed",
                                  r->name, (long long) r->line);
            r->p += 2;
        } else {
            break;
        }
    }
    if (r->p == r->end)
        return LATHE_OK;
    size_t n = 0;
    if (is_mark(*r->p)) {
        r->word[n++] = *r->p++;
    } else if (*r->p == '"') {
        r->quoted = true;
        for (r->p++; r->p < r->end && *r->p != '"' && *r->p != '\n' && n < MAX_WORD; r->p++)
            r->word[n++] = *r->p;
        r->word[n] = 0;
        if (r->p == r->end || *r->p != '"')
            return lathe_fail(r->err, LATHE_ERR_INPUT,
                              "%s, line %lld: a quote is never closed, or its text is "
                              "longer than %d characters",
                              r->name, (long long) r->line, MAX_WORD);
        r->p++;
    } else {
        for (; r->p < r->end && strchr(" \t\r\n\"", *r->p) == NULL && !is_mark(*r->p) && *r->p != 0; r->p++) {
            if (n == MAX_WORD)
                return lathe_fail(r->err, LATHE_ERR_INPUT, "%s, line %lld: a word of more than %d characters",
                                  r->name, (long long) r->line, MAX_WORD);
            r->word[n++] = *r->p;
        }
    }
    r->word[n] = 0;
    return LATHE_OK;
}

static bool at(const reader *r, const char *text) {
    return !r->quoted && strcmp(r->word, text) == 0;
}

static lathe_status take(reader *r, const char *text) {
    if (!at(r, text)) {
        char what[48];
        memcpy(what, "expected '", 10);
        size_t n = strlen(text) < 30 ? strlen(text) : 30;
        memcpy(what + 10, text, n);
        memcpy(what + 10 + n, "'", 2);
        return bad(r, what);
    }
    return next(r);
}

/* A name as a new string. */
static lathe_status take_name(reader *r, char **name) {
    if (r->word[0] == 0 || (!r->quoted && is_mark(r->word[0])))
        return bad(r, "expected a name");
    *name = lathe_tree_strdup(r->word);
    return *name != NULL ? next(r) : no_memory(r);
}

static lathe_status skip_statement(reader *r) {
    while (r->word[0] && !at(r, ";")) {
        lathe_status st = next(r);
        if (st)
            return st;
    }
    return take(r, ";");
}

static int32_t find_variable(const lathe_bayes_net *net, const char *name) {
    for (int32_t i = 0; i < net->variables.n_columns; i++)
        if (strcmp(net->variables.columns[i].name, name) == 0)
            return i;
    return -1;
}

static int32_t find_state(const lathe_column *c, const char *state) {
    for (int32_t s = 0; s < c->n_states; s++)
        if (strcmp(c->states[s], state) == 0)
            return s;
    return -1;
}

static lathe_status more_variables(reader *r) {
    lathe_bayes_net *net = r->net;
    if (net->variables.n_columns < r->capacity)
        return LATHE_OK;
    if (r->capacity >= MAX_VARIABLES)
        return bad(r, "more than 20000 variables");
    const size_t n = r->capacity ? 2 * (size_t) r->capacity : 16;
    lathe_column *columns = realloc(net->variables.columns, n * sizeof *columns);
    net->variables.columns = columns ? columns : net->variables.columns;
    int32_t *n_parents = realloc(net->n_parents, n * sizeof *n_parents);
    net->n_parents = n_parents ? n_parents : net->n_parents;
    int32_t **parents = realloc(net->parents, n * sizeof *parents);
    net->parents = parents ? parents : net->parents;
    double **p = realloc(net->p, n * sizeof *p);
    net->p = p ? p : net->p;
    if (!columns || !n_parents || !parents || !p)
        return no_memory(r);
    r->capacity = (int32_t) n;
    return LATHE_OK;
}

static lathe_status read_states(reader *r, lathe_column *c) {
    double wanted;
    const char *end;
    lathe_status st = take(r, "discrete");
    st = st ? st : take(r, "[");
    if (st)
        return st;
    if (!lathe_scan_real(r->word, &end, &wanted) || *end || wanted != floor(wanted) || wanted < 1 ||
        wanted > MAX_BIF_STATES)
        return bad(r, "expected a number of states from 1 to 4096");
    st = next(r);
    st = st ? st : take(r, "]");
    st = st ? st : take(r, "{");
    if (st)
        return st;
    c->states = calloc((size_t) wanted, sizeof *c->states);
    if (c->states == NULL)
        return no_memory(r);
    for (int32_t s = 0; s < (int32_t) wanted && !st; s++) {
        if (s > 0)
            st = take(r, ",");
        if (!st && find_state(c, r->word) >= 0)
            st = bad(r, "this state comes twice");
        st = st ? st : take_name(r, &c->states[s]);
        c->n_states += c->states[s] != NULL;
    }
    st = st ? st : take(r, "}");
    return st ? st : take(r, ";");
}

static lathe_status read_variable(reader *r) {
    lathe_status st = more_variables(r);
    if (st)
        return st;
    lathe_bayes_net *net = r->net;
    if (find_variable(net, r->word) >= 0)
        return bad(r, "this variable comes twice");
    const int32_t i = net->variables.n_columns;
    lathe_column *c = &net->variables.columns[i];
    memset(c, 0, sizeof *c);
    c->discrete = true;
    net->n_parents[i] = -1; /* no probabilities yet */
    net->parents[i] = NULL;
    net->p[i] = NULL;
    st = take_name(r, &c->name);
    net->variables.n_columns += c->name != NULL;
    st = st ? st : take(r, "{");
    while (!st && r->word[0] && !at(r, "}")) {
        if (!at(r, "type")) {
            st = skip_statement(r);
            continue;
        }
        if (c->states != NULL)
            return bad(r, "a second type");
        st = next(r);
        st = st ? st : read_states(r, c);
    }
    st = st ? st : take(r, "}");
    if (!st && c->states == NULL)
        return lathe_fail(r->err, LATHE_ERR_INPUT, "%s, line %lld: variable '%.60s' has no states", r->name,
                          (long long) r->line, c->name);
    return st;
}

static int64_t n_contexts(const lathe_bayes_net *net, int32_t i) {
    int64_t n = 1;
    for (int32_t k = 0; k < net->n_parents[i]; k++) {
        n *= net->variables.columns[net->parents[i][k]].n_states;
        if (n > MAX_CELLS)
            return n;
    }
    return n;
}

/* Reads k numbers to values[k] and the semicolon. */
static lathe_status read_numbers(reader *r, int64_t k, int64_t step, double *values) {
    lathe_status st = LATHE_OK;
    for (int64_t j = 0; j < k && !st; j++) {
        const char *end;
        double x = 0;
        if (j > 0)
            st = take(r, ",");
        if (!st && (!lathe_scan_real(r->word, &end, &x) || *end || x < 0 || x > 1))
            st = bad(r, "expected a probability");
        values[j * step] = x;
        st = st ? st : next(r);
    }
    return st ? st : take(r, ";");
}

/* "(yes, low) 0.1, 0.9;" */
static lathe_status read_row(reader *r, int32_t i) {
    const lathe_bayes_net *net = r->net;
    const int32_t k = net->variables.columns[i].n_states;
    int64_t row = 0;
    lathe_status st = take(r, "(");
    for (int32_t q = 0; q < net->n_parents[i] && !st; q++) {
        const lathe_column *parent = &net->variables.columns[net->parents[i][q]];
        if (q > 0)
            st = take(r, ",");
        const int32_t s = st ? 0 : find_state(parent, r->word);
        if (!st && s < 0)
            st = lathe_fail(r->err, LATHE_ERR_INPUT, "%s, line %lld: '%.60s' is no state of '%.60s'", r->name,
                            (long long) r->line, r->word, parent->name);
        row = row * parent->n_states + s;
        st = st ? st : next(r);
    }
    st = st ? st : take(r, ")");
    if (!st && net->n_parents[i] == 0)
        return bad(r, "a row for parents that are not there");
    double *p = net->p[i] + row * k;
    if (!st && !isnan(p[0]))
        return bad(r, "this row comes twice");
    return st ? st : read_numbers(r, k, 1, p);
}

static lathe_status check_rows(reader *r, int32_t i, const double *fallback) {
    const lathe_column *c = &r->net->variables.columns[i];
    const int64_t n = n_contexts(r->net, i);
    for (int64_t row = 0; row < n; row++) {
        double *p = r->net->p[i] + row * c->n_states, sum = 0;
        if (isnan(p[0]) && fallback != NULL)
            memcpy(p, fallback, (size_t) c->n_states * sizeof *p);
        if (isnan(p[0]))
            return lathe_fail(
                r->err, LATHE_ERR_INPUT,
                "%s, line %lld: '%.60s' lacks probabilities for %lld of %lld rows, the first being %lld",
                r->name, (long long) r->line, c->name, 1LL, (long long) n, (long long) row + 1);
        for (int32_t s = 0; s < c->n_states; s++)
            sum += p[s];
        if (fabs(sum - 1) > 1e-3)
            return lathe_fail(r->err, LATHE_ERR_INPUT,
                              "%s, line %lld: the probabilities of '%.60s' in row %lld add up to %g, not 1",
                              r->name, (long long) r->line, c->name, (long long) row + 1, sum);
        for (int32_t s = 0; s < c->n_states; s++)
            p[s] /= sum;
    }
    return LATHE_OK;
}

static lathe_status read_probability(reader *r) {
    lathe_bayes_net *net = r->net;
    lathe_status st = take(r, "(");
    if (st)
        return st;
    const int32_t i = find_variable(net, r->word);
    if (i < 0)
        return bad(r, "no such variable");
    if (net->n_parents[i] >= 0)
        return bad(r, "this variable already has its probabilities");
    net->parents[i] = malloc(MAX_PARENTS * sizeof *net->parents[i]);
    if (net->parents[i] == NULL)
        return no_memory(r);
    net->n_parents[i] = 0;
    st = next(r);
    if (!st && at(r, "|")) {
        do {
            st = next(r);
            const int32_t parent = st ? 0 : find_variable(net, r->word);
            if (!st && parent < 0)
                return bad(r, "no such variable");
            if (!st && net->n_parents[i] == MAX_PARENTS)
                return bad(r, "more than 24 parents");
            for (int32_t k = 0; !st && k < net->n_parents[i]; k++)
                if (net->parents[i][k] == parent)
                    return bad(r, "this parent comes twice");
            if (!st)
                net->parents[i][net->n_parents[i]++] = parent;
            st = st ? st : next(r);
        } while (!st && at(r, ","));
    }
    st = st ? st : take(r, ")");
    st = st ? st : take(r, "{");
    if (st)
        return st;
    const int32_t k = net->variables.columns[i].n_states;
    const int64_t n = n_contexts(net, i);
    if (n > MAX_CELLS / k || (r->n_cells += n * k) > MAX_CELLS)
        return bad(r, "the tables have more than 2^27 cells");
    double *p = net->p[i] = malloc((size_t) (n * k) * sizeof *p), *fallback = NULL;
    if (p == NULL)
        return no_memory(r);
    for (int64_t row = 0; row < n; row++)
        p[row * k] = NAN; /* not given yet */
    while (!st && r->word[0] && !at(r, "}")) {
        if (at(r, "(")) {
            st = read_row(r, i);
        } else if (at(r, "table")) {
            st = next(r);
            for (int32_t s = 0; s < k && !st; s++) /* the child is slowest */
                for (int64_t row = 0; row < n && !st; row++) {
                    const char *end;
                    if (s + row > 0)
                        st = take(r, ",");
                    if (!st && (!lathe_scan_real(r->word, &end, &p[row * k + s]) || *end ||
                                !(p[row * k + s] >= 0 && p[row * k + s] <= 1)))
                        st = bad(r, "expected a probability");
                    st = st ? st : next(r);
                }
            st = st ? st : take(r, ";");
        } else if (at(r, "default") && fallback == NULL) {
            fallback = malloc((size_t) k * sizeof *fallback);
            st = fallback != NULL ? next(r) : no_memory(r);
            st = st ? st : read_numbers(r, k, 1, fallback);
        } else {
            st = skip_statement(r);
        }
    }
    st = st ? st : take(r, "}");
    st = st ? st : check_rows(r, i, fallback);
    free(fallback);
    return st;
}

/* Parents first; an error names a variable on a cycle. */
static lathe_status order_variables(reader *r) {
    lathe_bayes_net *net = r->net;
    const int32_t n = net->variables.n_columns;
    bool *placed = calloc((size_t) n, sizeof *placed);
    net->order = malloc((size_t) n * sizeof *net->order);
    if (placed == NULL || net->order == NULL) {
        free(placed);
        return no_memory(r);
    }
    int32_t n_order = 0, stuck = 0;
    for (bool moved = true; moved && n_order < n;) {
        moved = false;
        for (int32_t i = 0; i < n; i++) {
            bool ready = !placed[i];
            for (int32_t k = 0; ready && k < net->n_parents[i]; k++)
                ready = placed[net->parents[i][k]];
            if (ready) {
                net->order[n_order++] = i;
                placed[i] = moved = true;
            } else if (!placed[i]) {
                stuck = i;
            }
        }
    }
    free(placed);
    if (n_order == n)
        return LATHE_OK;
    return lathe_fail(r->err, LATHE_ERR_INPUT, "%s: the parents of '%.60s' close a cycle", r->name,
                      net->variables.columns[stuck].name);
}

lathe_status lathe_bayes_net_parse(const char *text, size_t n_bytes, const char *name, lathe_bayes_net *net,
                                   lathe_error *err) {
    reader r = {.p = text, .end = text + n_bytes, .name = name, .line = 1, .net = net, .err = err};
    memset(net, 0, sizeof *net);
    if (n_bytes >= 2 && (uint8_t) text[0] == 0x1f && (uint8_t) text[1] == 0x8b)
        return lathe_fail(err, LATHE_ERR_INPUT, "%s: compressed; 'zcat FILE' into '-' reads it", name);
    lathe_status st = next(&r);
    while (!st && r.word[0]) {
        if (at(&r, "network")) {
            while (!st && r.word[0] && !at(&r, "{"))
                st = next(&r);
            while (!st && r.word[0] && !at(&r, "}"))
                st = next(&r);
            st = st ? st : take(&r, "}");
        } else if (at(&r, "variable")) {
            st = next(&r);
            st = st ? st : read_variable(&r);
        } else if (at(&r, "probability")) {
            st = next(&r);
            st = st ? st : read_probability(&r);
        } else {
            st = bad(&r, "expected 'network', 'variable' or 'probability'");
        }
    }
    if (!st && net->variables.n_columns == 0)
        st = lathe_fail(err, LATHE_ERR_INPUT, "%s: no variables", name);
    for (int32_t i = 0; i < net->variables.n_columns && !st; i++)
        if (net->n_parents[i] < 0)
            st = lathe_fail(err, LATHE_ERR_INPUT, "%s: variable '%.60s' has no probabilities", name,
                            net->variables.columns[i].name);
    st = st ? st : order_variables(&r);
    if (st)
        lathe_bayes_net_free(net);
    return st;
}

lathe_status lathe_bayes_net_sample(const lathe_bayes_net *net, int64_t n, uint64_t seed, lathe_table *table,
                                    lathe_error *err) {
    const int32_t m = net->variables.n_columns;
    memset(table, 0, sizeof *table);
    if (n < 1 || n > INT32_MAX)
        return lathe_fail(err, LATHE_ERR_ARG, "%lld rows: 1 to %d can be drawn", (long long) n, INT32_MAX);
    table->columns = calloc((size_t) m, sizeof *table->columns);
    bool ok = table->columns != NULL;
    table->n_columns = ok ? m : 0;
    table->n_rows = n;
    for (int32_t i = 0; ok && i < m; i++) {
        const lathe_column *from = &net->variables.columns[i];
        lathe_column *to = &table->columns[i];
        to->discrete = true;
        to->name = lathe_tree_strdup(from->name);
        to->codes = malloc((size_t) n * sizeof *to->codes);
        to->states = calloc((size_t) from->n_states, sizeof *to->states);
        ok = to->name && to->codes && to->states;
        for (int32_t s = 0; ok && s < from->n_states; s++) {
            to->states[s] = lathe_tree_strdup(from->states[s]);
            ok = to->states[s] != NULL;
            to->n_states += ok;
        }
    }
    for (int64_t t = 0; ok && t < n; t++)
        for (int32_t q = 0; q < m; q++) {
            const int32_t i = net->order[q], k = table->columns[i].n_states;
            int64_t row = 0;
            for (int32_t a = 0; a < net->n_parents[i]; a++) {
                const int32_t parent = net->parents[i][a];
                row = row * table->columns[parent].n_states + table->columns[parent].codes[t];
            }
            const double *p = net->p[i] + row * k;
            double u = lathe_uniform_at(seed, LATHE_RNG_TREE_SAMPLE, 0, (uint32_t) t, (uint32_t) i);
            int32_t s = 0;
            while (s < k - 1 && u >= p[s])
                u -= p[s++];
            while (s > 0 && p[s] == 0) /* rounding must not reach a state of probability 0 */
                s--;
            table->columns[i].codes[t] = (uint16_t) s;
        }
    if (ok)
        return LATHE_OK;
    lathe_table_free(table);
    return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %lld rows", (long long) n);
}
