/* model.c - parameters on a tree: fitted to a table, written and read as JSON. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "tree/tree.h"

enum { MAX_VARIABLES = 1 << 20, MAX_MODEL_STATES = 4096, MAX_CELLS = 1 << 24 };

void lathe_tree_model_free(lathe_tree_model *model) {
    for (int32_t i = 0; model->p != NULL && i < model->variables.n_columns; i++)
        free(model->p[i]);
    free(model->p);
    free(model->parent);
    free(model->order);
    free(model->hidden);
    lathe_table_free(&model->variables);
    memset(model, 0, sizeof *model);
}

static lathe_status no_memory(lathe_error *err) {
    return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a tree model");
}

lathe_status lathe_tree_model_new(lathe_tree_model *model, int32_t n, lathe_error *err) {
    memset(model, 0, sizeof *model);
    model->variables.columns = calloc((size_t) n, sizeof *model->variables.columns);
    model->p = calloc((size_t) n, sizeof *model->p);
    model->parent = malloc((size_t) n * sizeof *model->parent);
    model->order = malloc((size_t) n * sizeof *model->order);
    model->hidden = calloc((size_t) n, sizeof *model->hidden);
    if (model->variables.columns != NULL)
        model->variables.n_columns = n;
    if (model->variables.columns == NULL || model->p == NULL || model->parent == NULL ||
        model->order == NULL || model->hidden == NULL)
        return no_memory(err);
    return LATHE_OK;
}

/* Cells of node i's parameters, 0 beyond the limit. */
static int64_t n_cells(const lathe_tree_model *model, int32_t i) {
    const lathe_column *c = model->variables.columns;
    const int32_t up = model->parent[i];
    if (!c[i].discrete)
        return up < 0 || !c[up].discrete ? 3 : c[up].n_states + 1;
    const int64_t n = (int64_t) c[i].n_states * (up < 0 ? 1 : c[up].n_states);
    return n <= MAX_CELLS ? n : 0;
}

static lathe_status fit_discrete(const lathe_table *table, double smoothing, int32_t i,
                                 lathe_tree_model *model, lathe_error *err) {
    const lathe_column *c = &table->columns[i];
    const lathe_column *up = model->parent[i] < 0 ? NULL : &table->columns[model->parent[i]];
    const int64_t n_cells_i = n_cells(model, i), k = c->n_states;
    if (n_cells_i == 0)
        return lathe_fail(err, LATHE_ERR_INPUT, "column '%.60s': too many states for a table with its parent",
                          c->name);
    double *p = model->p[i] = calloc((size_t) n_cells_i, sizeof *p);
    if (p == NULL)
        return no_memory(err);
    for (int64_t t = 0; t < table->n_rows; t++)
        if (c->codes[t] != LATHE_CODE_MISSING && (up == NULL || up->codes[t] != LATHE_CODE_MISSING))
            p[(up != NULL ? up->codes[t] * k : 0) + c->codes[t]] += 1;
    for (int64_t row = 0; row < n_cells_i / k; row++) {
        double sum = 0;
        for (int64_t s = 0; s < k; s++)
            sum += p[row * k + s] + smoothing;
        for (int64_t s = 0; s < k; s++)
            p[row * k + s] = sum > 0 ? (p[row * k + s] + smoothing) / sum : 1 / (double) k;
    }
    return LATHE_OK;
}

static lathe_status fit_real(const lathe_table *table, int32_t i, lathe_tree_model *model, lathe_error *err) {
    const double *x = table->columns[i].values;
    const double *y = model->parent[i] < 0 ? NULL : table->columns[model->parent[i]].values;
    double n = 0, mx = 0, my = 0, sxx = 0, sxy = 0, syy = 0;
    for (int64_t t = 0; t < table->n_rows; t++)
        if (!isnan(x[t]) && (y == NULL || !isnan(y[t]))) {
            n++;
            mx += x[t];
            my += y != NULL ? y[t] : 0;
        }
    mx /= n;
    my /= n;
    for (int64_t t = 0; t < table->n_rows; t++)
        if (!isnan(x[t]) && (y == NULL || !isnan(y[t]))) {
            const double dx = x[t] - mx, dy = y != NULL ? y[t] - my : 0;
            sxx += dx * dx;
            sxy += dx * dy;
            syy += dy * dy;
        }
    if (!(n >= 2) || !(sxx > 0))
        return lathe_fail(err, LATHE_ERR_INPUT,
                          "column '%.60s': no two different values to fit a variance to",
                          table->columns[i].name);
    double *p = model->p[i] = malloc(3 * sizeof *p);
    if (p == NULL)
        return no_memory(err);
    p[1] = syy > 0 ? sxy / syy : 0;
    p[0] = mx - p[1] * my;
    p[2] = (sxx - p[1] * sxy) / n;
    if (p[2] < 1e-12 * sxx / n) /* a copy of its parent: the floor of the learner's information */
        p[2] = 1e-12 * sxx / n;
    return LATHE_OK;
}

/* A real column below a discrete one: a mean for each state, one variance. */
static lathe_status fit_by_state(const lathe_table *table, int32_t i, lathe_tree_model *model,
                                 lathe_error *err) {
    const lathe_column *c = &table->columns[i], *up = &table->columns[model->parent[i]];
    const int32_t k = up->n_states;
    double *p = model->p[i] = calloc((size_t) k + 1, sizeof *p), *rows = calloc((size_t) k, sizeof *rows);
    if (p == NULL || rows == NULL) {
        free(rows);
        return no_memory(err);
    }
    double n = 0, mean = 0, within = 0, total = 0;
    for (int64_t t = 0; t < table->n_rows; t++)
        if (up->codes[t] != LATHE_CODE_MISSING && !isnan(c->values[t])) {
            p[up->codes[t]] += c->values[t];
            rows[up->codes[t]]++;
            mean += c->values[t];
            n++;
        }
    mean /= n;
    for (int32_t r = 0; r < k; r++)
        p[r] = rows[r] > 0 ? p[r] / rows[r] : mean;
    for (int64_t t = 0; t < table->n_rows; t++)
        if (up->codes[t] != LATHE_CODE_MISSING && !isnan(c->values[t])) {
            const double w = c->values[t] - p[up->codes[t]], d = c->values[t] - mean;
            within += w * w;
            total += d * d;
        }
    free(rows);
    if (!(n >= 2) || !(total > 0))
        return lathe_fail(err, LATHE_ERR_INPUT,
                          "column '%.60s': no two different values to fit a variance to", c->name);
    p[k] = fmax(within, 1e-12 * total) / n;
    return LATHE_OK;
}

static lathe_status fit_node(const lathe_table *table, double smoothing, int32_t i, lathe_tree_model *model,
                             lathe_error *err) {
    const int32_t up = model->parent[i];
    const bool above = up >= 0 && table->columns[up].discrete;
    if (!table->columns[i].discrete)
        return above ? fit_by_state(table, i, model, err) : fit_real(table, i, model, err);
    if (up >= 0 && !above)
        return lathe_fail(
            err, LATHE_ERR_INPUT,
            "discrete column '%.60s' hangs on real column '%.60s': discrete columns must be joined "
            "among themselves",
            table->columns[i].name, table->columns[up].name);
    return fit_discrete(table, smoothing, i, model, err);
}

/* Parents from the tree, each component rooted at its smallest node, or smallest discrete one. */
lathe_status lathe_tree_model_orient(const lathe_tree *tree, lathe_tree_model *model, lathe_error *err) {
    const int32_t n = tree->n_nodes;
    lathe_adjacency adj;
    lathe_status st = lathe_adjacency_new(tree, &adj, err);
    if (st)
        return st;
    int32_t *edge = malloc((size_t) n * sizeof *edge);
    bool *done = calloc((size_t) n, sizeof *done);
    int32_t n_order = 0;
    if (edge == NULL || done == NULL)
        st = no_memory(err);
    for (int32_t q = 0; q < 2 * n && !st; q++) { /* discrete nodes first */
        const int32_t i = q % n;
        if (done[i] || (q < n && !model->variables.columns[i].discrete))
            continue;
        const int32_t m = lathe_tree_walk(tree, &adj, i, model->order + n_order, model->parent, edge);
        for (int32_t k = 0; k < m; k++)
            done[model->order[n_order + k]] = true;
        n_order += m;
    }
    free(edge);
    free(done);
    lathe_adjacency_free(&adj);
    return st;
}

lathe_status lathe_tree_model_fit(const lathe_table *table, const lathe_tree *tree, double smoothing,
                                  lathe_tree_model *model, lathe_error *err) {
    const int32_t n = table->n_columns;
    memset(model, 0, sizeof *model);
    if (tree->n_nodes != n || n < 1)
        return lathe_fail(err, LATHE_ERR_INPUT,
                          "%d nodes and %d columns: a model wants a tree of observed nodes alone",
                          (int) tree->n_nodes, (int) n);
    lathe_status st = lathe_tree_model_new(model, n, err);
    model->real = true;
    for (int32_t i = 0; i < n; i++)
        model->real = model->real && !table->columns[i].discrete;
    for (int32_t i = 0; i < n && !st; i++) {
        const lathe_column *from = &table->columns[i];
        lathe_column *to = &model->variables.columns[i];
        to->discrete = from->discrete;
        to->name = lathe_tree_strdup(from->name);
        if (from->discrete)
            to->states = calloc((size_t) from->n_states + 1, sizeof *to->states);
        if (to->name == NULL || (from->discrete && to->states == NULL))
            st = no_memory(err);
        for (int32_t s = 0; from->discrete && s < from->n_states && !st; s++) {
            to->states[to->n_states] = lathe_tree_strdup(from->states[s]);
            if (to->states[to->n_states] == NULL)
                st = no_memory(err);
            else
                to->n_states++;
        }
    }
    st = st ? st : lathe_tree_model_orient(tree, model, err);
    for (int32_t i = 0; i < n && !st; i++)
        st = fit_node(table, smoothing, i, model, err);
    if (st)
        lathe_tree_model_free(model);
    return st;
}

/* --- JSON ---------------------------------------------------------------------------------------------- */

lathe_status lathe_tree_model_text(const lathe_tree_model *model, char **text, size_t *n_bytes,
                                   lathe_error *err) {
    json_t *list = json_array();
    for (int32_t i = 0; i < model->variables.n_columns; i++) {
        const lathe_column *c = &model->variables.columns[i];
        json_t *v = json_object(), *p = json_array();
        for (int64_t k = 0; k < n_cells(model, i); k++)
            json_array_append_new(p, lathe_json_real(model->p[i][k]));
        json_object_set_new(v, "name", lathe_json_string(c->name));
        if (model->hidden[i])
            json_object_set_new(v, "hidden", json_true());
        if (c->discrete) {
            json_t *states = json_array();
            for (int32_t s = 0; s < c->n_states; s++)
                json_array_append_new(states, lathe_json_string(c->states[s]));
            json_object_set_new(v, "states", states);
        }
        json_object_set_new(v, "parent", model->parent[i] < 0 ? json_null() : json_integer(model->parent[i]));
        json_object_set_new(v, "p", p);
        json_array_append_new(list, v);
    }
    bool any_real = false;
    for (int32_t i = 0; i < model->variables.n_columns; i++)
        any_real = any_real || !model->variables.columns[i].discrete;
    json_t *root = json_pack("{s:s, s:s, s:o}", "schema", "lathe.tree-model/1", "kind",
                             model->real ? "gaussian"
                             : any_real  ? "mixed"
                                         : "discrete",
                             "variables", list);
    *text = root != NULL ? lathe_json_text(root) : NULL;
    json_decref(root);
    if (*text == NULL)
        return no_memory(err);
    if (n_bytes != NULL)
        *n_bytes = strlen(*text);
    return LATHE_OK;
}

/* discrete: 1, 0, or -1 where having states decides. */
static lathe_status read_variable(const json_t *v, int32_t i, const char *name, int discrete,
                                  lathe_tree_model *model, lathe_error *err) {
    const int32_t n = model->variables.n_columns;
    lathe_column *c = &model->variables.columns[i];
    const json_t *title = json_object_get(v, "name"), *up = json_object_get(v, "parent");
    const json_t *states = json_object_get(v, "states");
    if (!json_is_string(title) || !(json_is_null(up) || json_is_integer(up)))
        return lathe_fail(err, LATHE_ERR_INPUT, "%s: variable %d has no name or parent", name, (int) i);
    const json_int_t above = json_is_null(up) ? -1 : json_integer_value(up);
    if (above < -1 || above >= n || above == i || (json_is_integer(up) && above < 0))
        return lathe_fail(err, LATHE_ERR_INPUT, "%s: variable %d: no such parent", name, (int) i);
    model->parent[i] = (int32_t) above;
    c->discrete = discrete < 0 ? states != NULL : discrete;
    model->hidden[i] = json_is_true(json_object_get(v, "hidden"));
    model->real = model->real && !c->discrete;
    c->name = lathe_tree_strdup(json_string_value(title));
    if (c->name == NULL)
        return no_memory(err);
    if (!c->discrete)
        return LATHE_OK;
    const size_t k = json_array_size(states);
    if (k < 1 || k > MAX_MODEL_STATES)
        return lathe_fail(err, LATHE_ERR_INPUT, "%s: variable '%.60s': 1 to %d states", name, c->name,
                          MAX_MODEL_STATES);
    c->states = calloc(k, sizeof *c->states);
    if (c->states == NULL)
        return no_memory(err);
    for (size_t s = 0; s < k; s++) {
        const char *state = json_string_value(json_array_get(states, s));
        if (state == NULL)
            return lathe_fail(err, LATHE_ERR_INPUT, "%s: variable '%.60s': a state is no text", name,
                              c->name);
        c->states[s] = lathe_tree_strdup(state);
        if (c->states[s] == NULL)
            return no_memory(err);
        c->n_states++;
    }
    return LATHE_OK;
}

static lathe_status read_parameters(const json_t *v, int32_t i, const char *name, lathe_tree_model *model,
                                    lathe_error *err) {
    const lathe_column *c = &model->variables.columns[i];
    const json_t *list = json_object_get(v, "p");
    const int32_t up = model->parent[i];
    if (c->discrete && up >= 0 && !model->variables.columns[up].discrete)
        return lathe_fail(err, LATHE_ERR_INPUT, "%s: variable '%.60s' is discrete, its parent '%.60s' is not",
                          name, c->name, model->variables.columns[up].name);
    /* of a real variable all but the last are means and slopes, the last of all a variance */
    const int64_t n = n_cells(model, i), k = c->discrete ? c->n_states : n;
    if (n == 0 || (int64_t) json_array_size(list) != n)
        return lathe_fail(err, LATHE_ERR_INPUT, "%s: variable '%.60s': %zu parameters, not %lld", name,
                          c->name, json_array_size(list), (long long) n);
    double *p = model->p[i] = malloc((size_t) n * sizeof *p);
    if (p == NULL)
        return no_memory(err);
    double sum = 0;
    for (int64_t j = 0; j < n; j++) {
        const json_t *x = json_array_get(list, (size_t) j);
        p[j] = json_is_number(x) ? json_number_value(x) : NAN;
        sum = j % k == 0 ? p[j] : sum + p[j];
        const bool good = !c->discrete ? isfinite(p[j]) && (j != n - 1 || p[j] > 0)
                                       : p[j] >= 0 && p[j] <= 1 && (j % k != k - 1 || fabs(sum - 1) < 1e-6);
        if (!good)
            return lathe_fail(err, LATHE_ERR_INPUT, "%s: variable '%.60s': parameter %lld is no %s", name,
                              c->name, (long long) j,
                              !c->discrete ? "finite number, or the variance is not positive"
                                           : "probability, or the row's sum is not 1");
    }
    return LATHE_OK;
}

/* Fills the order from the parents; false where they close a cycle. */
static bool order_by_parents(lathe_tree_model *model, int32_t *depth) {
    const int32_t n = model->variables.n_columns;
    int32_t n_order = 0;
    for (int32_t i = 0; i < n; i++)
        depth[i] = -1; /* not placed */
    for (int32_t i = 0; i < n; i++) {
        int32_t length = 0;
        for (int32_t u = i; u >= 0 && depth[u] < 0; u = model->parent[u])
            if (++length > n)
                return false;
        int32_t at = n_order += length;
        for (int32_t u = i; u >= 0 && depth[u] < 0; u = model->parent[u]) {
            model->order[--at] = u;
            depth[u] = 0;
        }
    }
    return true;
}

lathe_status lathe_tree_model_parse(const char *text, size_t n_bytes, const char *name,
                                    lathe_tree_model *model, lathe_error *err) {
    json_t *root = NULL;
    memset(model, 0, sizeof *model);
    lathe_status st = lathe_json_parse(text, n_bytes, name, &root, err);
    if (st)
        return st;
    const char *schema = json_string_value(json_object_get(root, "schema"));
    const char *kind = json_string_value(json_object_get(root, "kind"));
    const json_t *list = json_object_get(root, "variables");
    const size_t n = json_array_size(list);
    if (schema == NULL || strcmp(schema, "lathe.tree-model/1") != 0 || kind == NULL ||
        (strcmp(kind, "discrete") != 0 && strcmp(kind, "gaussian") != 0 && strcmp(kind, "mixed") != 0) ||
        n < 1 || n > MAX_VARIABLES) {
        json_decref(root);
        return lathe_fail(err, LATHE_ERR_INPUT, "%s: no tree model (as `tree learn -o model.json` writes it)",
                          name);
    }
    st = lathe_tree_model_new(model, (int32_t) n, err);
    model->real = true;
    const int discrete = strcmp(kind, "discrete") == 0 ? 1 : strcmp(kind, "gaussian") == 0 ? 0 : -1;
    for (size_t i = 0; i < n && !st; i++)
        st = read_variable(json_array_get(list, i), (int32_t) i, name, discrete, model, err);
    for (size_t i = 0; i < n && !st; i++)
        st = read_parameters(json_array_get(list, i), (int32_t) i, name, model, err);
    int32_t *depth = malloc(n * sizeof *depth);
    if (!st && depth == NULL)
        st = no_memory(err);
    if (!st && !order_by_parents(model, depth))
        st = lathe_fail(err, LATHE_ERR_INPUT, "%s: the parents close a cycle", name);
    free(depth);
    json_decref(root);
    if (st)
        lathe_tree_model_free(model);
    return st;
}
