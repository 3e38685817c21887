/* latent_model.c - a Gaussian model of a tree with hidden nodes, from its lengths and the columns' scales. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/stats.h"
#include "tree/tree.h"

typedef struct scale {
    double center, spread;
} scale;

static lathe_status no_memory(lathe_error *err) {
    return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a model with hidden nodes");
}

/* Mean and standard deviation, or median and 1.4826 median absolute deviations, of the cells that are there.
 */
static lathe_status measure(const lathe_column *c, int64_t n_rows, bool robust, double *scratch, scale *out,
                            lathe_error *err) {
    size_t n = 0;
    for (int64_t t = 0; t < n_rows; t++)
        if (!isnan(c->values[t]))
            scratch[n++] = c->values[t];
    double center = 0, spread = 0;
    if (n > 0 && robust) {
        center = lathe_select(scratch, n, n / 2);
        for (size_t k = 0; k < n; k++)
            scratch[k] = fabs(scratch[k] - center);
        spread = 1.4826 * lathe_select(scratch, n, n / 2);
    } else if (n > 0) {
        for (size_t k = 0; k < n; k++)
            center += scratch[k] / (double) n;
        for (size_t k = 0; k < n; k++)
            spread += (scratch[k] - center) * (scratch[k] - center);
        spread = sqrt(spread / (double) n);
    }
    if (!(spread > 0))
        return lathe_fail(err, LATHE_ERR_INPUT, "column '%.60s': no spread to scale a model by", c->name);
    *out = (scale){center, spread};
    return LATHE_OK;
}

/* Products of scaled cells, of their signs where robust, summed over the rows that have both. */
static void correlate(const lathe_table *table, const scale *scales, bool robust, double *r) {
    const int64_t p = table->n_columns;
    for (int64_t i = 0; i < p; i++)
        for (int64_t j = 0; j <= i; j++) {
            const double *x = table->columns[i].values, *y = table->columns[j].values;
            double sum = 0;
            for (int64_t t = 0; t < table->n_rows; t++) {
                const double product =
                    (x[t] - scales[i].center) * (y[t] - scales[j].center); /* NaN: a gap in either */
                if (product > 0 || product < 0)
                    sum += robust ? (product > 0 ? 1 : -1) : product / (scales[i].spread * scales[j].spread);
            }
            r[i * p + j] = r[j * p + i] = sum / (double) table->n_rows;
        }
}

static lathe_status name_variables(const lathe_table *table, const lathe_tree *tree, lathe_tree_model *model,
                                   lathe_error *err) {
    for (int32_t i = 0; i < tree->n_nodes; i++) {
        model->hidden[i] = i >= tree->n_observed;
        model->variables.columns[i].name =
            lathe_tree_strdup(model->hidden[i] ? tree->names[i] : table->columns[i].name);
        if (model->variables.columns[i].name == NULL)
            return no_memory(err);
    }
    return LATHE_OK;
}

/* Length of the edge that joins two nodes. */
static double length_of(const lathe_tree *tree, const lathe_adjacency *adj, int32_t u, int32_t v) {
    for (int32_t k = adj->start[u]; k < adj->start[u + 1]; k++)
        if (adj->to[k] == v)
            return tree->edges[adj->edge[k]].length;
    return NAN;
}

/* x = center + sign spread z with z standard normal and correlations exp(-length) between neighbours' z. */
static lathe_status set_parameters(const lathe_tree *tree, const scale *scales, const double *sign,
                                   lathe_tree_model *model, lathe_error *err) {
    lathe_adjacency adj;
    lathe_status st = lathe_adjacency_new(tree, &adj, err);
    for (int32_t i = 0; i < tree->n_nodes && !st; i++) {
        const int32_t up = model->parent[i];
        double *p = model->p[i] = malloc(3 * sizeof *p), rho = 0;
        if (p == NULL) {
            st = no_memory(err);
            break;
        }
        if (up >= 0) {
            const double length = length_of(tree, &adj, i, up);
            if (!isfinite(length))
                st = lathe_fail(err, LATHE_ERR_INPUT, "the edge of '%.60s' and '%.60s' has no length",
                                tree->names[i], tree->names[up]);
            rho = exp(-fmax(0, length));
        }
        p[1] = up < 0 ? 0 : rho * sign[i] * sign[up] * scales[i].spread / scales[up].spread;
        p[0] = scales[i].center - (up < 0 ? 0 : p[1] * scales[up].center);
        p[2] = scales[i].spread * scales[i].spread * fmax(1 - rho * rho, 1e-12);
    }
    lathe_adjacency_free(&adj);
    return st;
}

lathe_status lathe_latent_model_fit(const lathe_table *table, const lathe_tree *tree, bool robust,
                                    lathe_tree_model *model, lathe_error *err) {
    const int32_t p = table->n_columns, n = tree->n_nodes;
    memset(model, 0, sizeof *model);
    if (p != tree->n_observed)
        return lathe_fail(err, LATHE_ERR_INPUT,
                          "%d columns and %d observed nodes: a model wants one column a node", (int) p,
                          (int) tree->n_observed);
    for (int32_t i = 0; i < p; i++)
        if (table->columns[i].discrete)
            return lathe_fail(err, LATHE_ERR_INPUT,
                              "column '%.60s' is discrete: models with hidden nodes are for real columns",
                              table->columns[i].name);
    lathe_status st = lathe_tree_model_new(model, n, err);
    model->real = true;
    scale *scales = malloc((size_t) n * sizeof *scales);
    double *sign = malloc((size_t) n * sizeof *sign), *r = malloc((size_t) p * (size_t) p * sizeof *r),
           *scratch = malloc((size_t) table->n_rows * sizeof *scratch + 1);
    if (!st && (scales == NULL || sign == NULL || r == NULL || scratch == NULL))
        st = no_memory(err);
    for (int32_t i = 0; i < p && !st; i++)
        st = measure(&table->columns[i], table->n_rows, robust, scratch, &scales[i], err);
    if (!st) {
        correlate(table, scales, robust, r);
        st = lathe_tree_signs(r, p, sign, err);
    }
    for (int32_t i = p; i < n && !st; i++) {
        scales[i] = (scale){0, 1};
        sign[i] = 1;
    }
    st = st ? st : name_variables(table, tree, model, err);
    st = st ? st : lathe_tree_model_orient(tree, model, err);
    st = st ? st : set_parameters(tree, scales, sign, model, err);
    free(scales);
    free(sign);
    free(r);
    free(scratch);
    if (st)
        lathe_tree_model_free(model);
    return st;
}
