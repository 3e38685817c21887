/* test_model.c - parameters, belief propagation and sampling, against enumeration and dense algebra. */
#include "support/check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "lathe/tree.h"

enum { P = 6 };

static const char *const discrete_text =
    "{\"schema\":\"lathe.tree-model/1\",\"kind\":\"discrete\",\"variables\":["
    "{\"name\":\"a\",\"states\":[\"0\",\"1\"],\"parent\":2,\"p\":[0.9,0.1,0.25,0.75,0.5,0.5]},"
    "{\"name\":\"b\",\"states\":[\"x\",\"y\",\"z\"],\"parent\":0,\"p\":[0.2,0.3,0.5,0.7,0.3,0]},"
    "{\"name\":\"c\",\"states\":[\"0\",\"1\",\"2\"],\"parent\":null,\"p\":[0.5,0.1,0.4]},"
    "{\"name\":\"d\",\"states\":[\"0\",\"1\"],\"parent\":2,\"p\":[0.05,0.95,0.6,0.4,0.8,0.2]},"
    "{\"name\":\"e\",\"states\":[\"0\",\"1\"],\"parent\":3,\"p\":[0.7,0.3,0.1,0.9]},"
    "{\"name\":\"f\",\"states\":[\"0\",\"1\"],\"parent\":null,\"p\":[0.35,0.65]}]}";
static const char *const real_text =
    "{\"schema\":\"lathe.tree-model/1\",\"kind\":\"gaussian\",\"variables\":["
    "{\"name\":\"a\",\"parent\":2,\"p\":[1,0.8,0.5]},{\"name\":\"b\",\"parent\":0,\"p\":[-2,1.5,0.25]},"
    "{\"name\":\"c\",\"parent\":null,\"p\":[0.5,0,2]},{\"name\":\"d\",\"parent\":2,\"p\":[0,-1.2,1]},"
    "{\"name\":\"e\",\"parent\":3,\"p\":[3,0.4,0.1]},{\"name\":\"f\",\"parent\":null,\"p\":[-1,0,0.7]}]}";

static void read_model(const char *text, lathe_tree_model *model) {
    lathe_error err = {0};
    check_ok(lathe_tree_model_parse(text, strlen(text), "model.json", model, &err), err);
}

static double joint(const lathe_tree_model *m, const int32_t *x) {
    double product = 1;
    for (int32_t i = 0; i < P; i++) {
        const int32_t up = m->parent[i];
        product *= m->p[i][(up < 0 ? 0 : x[up] * m->variables.columns[i].n_states) + x[i]];
    }
    return product;
}

/* All 144 assignments, under every pattern of what is observed. */
static void discrete_beliefs_are_those_of_enumeration(void **state) {
    (void) state;
    lathe_tree_model model;
    lathe_error err = {0};
    read_model(discrete_text, &model);
    int32_t k[P], n_all = 1, n_impossible = 0;
    for (int i = 0; i < P; i++)
        n_all *= k[i] = model.variables.columns[i].n_states;
    assert_int_equal(n_all, 144);
    lathe_rng rng = lathe_rng_new(5, 48, 1);
    for (int mask = 0; mask < 1 << P; mask++) {
        double evidence[P], marginal[P][3] = {{0}}, total = 0, best = -1;
        int32_t map[P] = {0};
        for (int i = 0; i < P; i++)
            evidence[i] = mask >> i & 1 ? (double) lathe_rng_below(&rng, (uint64_t) k[i]) : NAN;
        for (int32_t code = 0; code < n_all; code++) {
            int32_t x[P], rest = code;
            bool fits = true;
            for (int i = 0; i < P; i++) {
                x[i] = rest % k[i];
                rest /= k[i];
                fits = fits && (isnan(evidence[i]) || evidence[i] == x[i]);
            }
            const double p = fits ? joint(&model, x) : 0;
            total += p;
            for (int i = 0; i < P; i++)
                marginal[i][x[i]] += p;
            if (p > best) {
                best = p;
                memcpy(map, x, sizeof map);
            }
        }
        double log_evidence = 0;
        lathe_tree_belief beliefs[P];
        if (total == 0) { /* a = 1 with b = z */
            n_impossible++;
            assert_int_equal(lathe_tree_infer(&model, evidence, &log_evidence, beliefs, &err),
                             LATHE_ERR_INPUT);
            check_ok(lathe_tree_infer(&model, evidence, &log_evidence, NULL, &err), err);
            assert_true(log_evidence == -INFINITY);
            continue;
        }
        check_ok(lathe_tree_infer(&model, evidence, &log_evidence, beliefs, &err), err);
        check_near(log_evidence, log(total), 1e-12);
        int32_t found[P];
        for (int i = 0; i < P; i++) {
            found[i] = beliefs[i].map;
            for (int s = 0; s < k[i]; s++)
                check_near(beliefs[i].p[s], marginal[i][s] / total, 1e-12);
        }
        check_near(joint(&model, found), best, 1e-15);
        free(beliefs[0].p);
    }
    assert_true(n_impossible < 32);
    lathe_tree_model_free(&model);
}

/* The dense precision matrix, its block of unobserved nodes inverted by elimination. */
static void normal_beliefs_are_those_of_dense_algebra(void **state) {
    (void) state;
    lathe_tree_model model;
    lathe_error err = {0};
    read_model(real_text, &model);
    lathe_rng rng = lathe_rng_new(6, 48, 2);
    for (int mask = 0; mask < 1 << P; mask++) {
        double K[P][P] = {{0}}, h[P] = {0}, evidence[P], x[P], log_evidence = 0;
        for (int i = 0; i < P; i++) {
            const double a = model.p[i][0], b = model.p[i][1], v = model.p[i][2];
            const int32_t up = model.parent[i];
            K[i][i] += 1 / v;
            h[i] += a / v;
            if (up >= 0) {
                K[up][up] += b * b / v;
                K[i][up] -= b / v;
                K[up][i] -= b / v;
                h[up] -= a * b / v;
            }
            evidence[i] = mask >> i & 1 ? 2 * lathe_rng_normal(&rng) : NAN;
        }
        int u[P], m = 0;
        for (int i = 0; i < P; i++)
            if (isnan(evidence[i]))
                u[m++] = i;
        double A[P][2 * P + 1] = {{0}}, log_det = 0; /* [K_uu | h_u - K_uo e | 1] */
        for (int r = 0; r < m; r++) {
            for (int c = 0; c < m; c++)
                A[r][c] = K[u[r]][u[c]];
            A[r][m] = h[u[r]];
            for (int o = 0; o < P; o++)
                if (!isnan(evidence[o]))
                    A[r][m] -= K[u[r]][o] * evidence[o];
            A[r][m + 1 + r] = 1;
        }
        for (int pivot = 0; pivot < m; pivot++) {
            log_det += log(A[pivot][pivot]);
            const double d = A[pivot][pivot];
            for (int c = 0; c <= 2 * m; c++)
                A[pivot][c] /= d;
            for (int r = 0; r < m; r++) {
                const double f = A[r][pivot];
                for (int c = 0; c <= 2 * m && r != pivot; c++)
                    A[r][c] -= f * A[pivot][c];
            }
        }
        lathe_tree_belief beliefs[P];
        check_ok(lathe_tree_infer(&model, evidence, &log_evidence, beliefs, &err), err);
        memcpy(x, evidence, sizeof x);
        for (int r = 0; r < m; r++) {
            x[u[r]] = A[r][m];
            check_near(beliefs[u[r]].mean, A[r][m], 1e-10);
            check_near(beliefs[u[r]].variance, A[r][m + 1 + r], 1e-10);
        }
        /* log p(e) = log p(mode, e) - log p(mode | e) */
        double whole = -0.5 * log_det + 0.5 * m * log(2 * acos(-1.0));
        for (int i = 0; i < P; i++) {
            const double up = model.parent[i] < 0 ? 0 : x[model.parent[i]];
            const double d = x[i] - model.p[i][0] - model.p[i][1] * up;
            whole -= 0.5 * (d * d / model.p[i][2] + log(2 * acos(-1.0) * model.p[i][2]));
        }
        check_near(log_evidence, whole, 1e-9);
    }
    lathe_tree_model_free(&model);
}

static double training_score(const lathe_table *table, lathe_chow_liu_info *info) {
    lathe_tree tree;
    lathe_tree_model model;
    lathe_error err = {0};
    double *evidence, sum = 0;
    check_ok(lathe_chow_liu(table, NULL, &tree, info, &err), err);
    check_ok(lathe_tree_model_fit(table, &tree, 0, &model, &err), err);
    check_ok(lathe_tree_evidence(&model, table, &evidence, &err), err);
    for (int64_t t = 0; t < table->n_rows; t++) {
        double one = 0;
        check_ok(lathe_tree_infer(&model, evidence + t * table->n_columns, &one, NULL, &err), err);
        sum += one;
    }
    free(evidence);
    lathe_tree_model_free(&model);
    lathe_tree_free(&tree);
    return sum;
}

/* The learner's n (sum I - sum H) is the score of its data under the fitted model. */
static void training_data_score_the_learners_likelihood(void **state) {
    (void) state;
    const char *text = "X,Y,Z\n0,0,0\n0,0,0\n0,0,1\n0,1,1\n1,1,1\n1,1,1\n1,1,0\n1,0,0\n";
    const char *real = "X,Y,Z\n0.5,1.5,2\n1.25,2,-1\n3,4.5,0.25\n-1,-2,1\n0,0.75,3.5\n2,1,0\n";
    lathe_table table;
    lathe_error err = {0};
    lathe_chow_liu_info info;
    check_ok(lathe_table_parse(text, strlen(text), "t", NULL, &table, &err), err);
    check_near(training_score(&table, &info), -14.542539, 1e-6);
    lathe_table_free(&table);
    const lathe_table_params how = {.kind = 2};
    check_ok(lathe_table_parse(real, strlen(real), "t", &how, &table, &err), err);
    const double score = training_score(&table, &info);
    check_near_rel(score, info.log_likelihood, 1e-8);
    lathe_table_free(&table);
}

/* 40,000 rows: frequencies within 5.5 standard errors (15 cells), and Chow-Liu finds the four edges. */
static void samples_follow_the_model_and_give_its_tree_back(void **state) {
    (void) state;
    enum { N = 40000 };
    for (int real = 0; real < 2; real++) {
        lathe_tree_model model;
        lathe_error err = {0};
        read_model(real ? real_text : discrete_text, &model);
        double *values = malloc(N * P * sizeof *values), none[P], log_evidence;
        lathe_tree_belief beliefs[P];
        lathe_tree tree;
        for (int i = 0; i < P; i++)
            none[i] = NAN;
        check_ok(lathe_tree_sample(&model, N, 7, values, &err), err);
        check_ok(lathe_tree_infer(&model, none, &log_evidence, beliefs, &err), err);
        check_near(log_evidence, 0, 1e-12);
        lathe_table table = model.variables;
        table.n_rows = N;
        for (int i = 0; i < P; i++) {
            lathe_column *c = &table.columns[i];
            double seen[3] = {0}, mean = 0;
            c->codes = real ? NULL : malloc(N * sizeof *c->codes);
            c->values = real ? malloc(N * sizeof *c->values) : NULL;
            for (int64_t t = 0; t < N; t++) {
                const double x = values[t * P + i];
                mean += x / N;
                if (real) {
                    c->values[t] = x;
                } else {
                    c->codes[t] = (uint16_t) x;
                    seen[c->codes[t]] += 1;
                }
            }
            if (real)
                check_near(mean, beliefs[i].mean, 5.5 * sqrt(beliefs[i].variance / N));
            for (int s = 0; s < c->n_states && !real; s++)
                check_near(seen[s] / N, beliefs[i].p[s], 5.5 * sqrt(0.25 / N));
        }
        const lathe_chow_liu_params params = {.prune = LATHE_PRUNE_BIC};
        check_ok(lathe_chow_liu(&table, &params, &tree, NULL, &err), err);
        assert_int_equal(tree.n_edges, 4);
        for (int e = 0; e < 4; e++)
            assert_true(model.parent[tree.edges[e].u] == tree.edges[e].v ||
                        model.parent[tree.edges[e].v] == tree.edges[e].u);
        free(beliefs[0].p);
        free(values);
        lathe_tree_free(&tree);
        lathe_tree_model_free(&model);
    }
}

static void models_survive_their_text_and_bad_ones_are_named(void **state) {
    (void) state;
    lathe_tree_model model, again;
    lathe_error err = {0};
    char *text = NULL, *second = NULL;
    size_t n = 0;
    read_model(discrete_text, &model);
    check_ok(lathe_tree_model_text(&model, &text, &n, &err), err);
    check_ok(lathe_tree_model_parse(text, n, "again", &again, &err), err);
    check_ok(lathe_tree_model_text(&again, &second, NULL, &err), err);
    assert_string_equal(text, second);
    free(second);
    static const char *const swaps[][3] = {
        {"\"parent\":null,\"p\":[0.5,0.1,0.4]", "\"parent\":0,\"p\":[0.5,0.1,0.4,1,0,0]", "cycle"},
        {"\"parent\":2", "\"parent\":9", "no such parent"},
        {"[0.5,0.1,0.4]", "[0.5,0.1,0.5]", "probability"},
        {"[0.5,0.1,0.4]", "[0.5,0.1]", "2 parameters, not 3"},
        {"[\"x\",\"y\",\"z\"]", "[]", "1 to 4096 states"},
        {"tree-model/1", "tree-model/2", "no tree model"}};
    for (size_t k = 0; k < LATHE_LEN(swaps); k++) {
        const char *at = strstr(discrete_text, swaps[k][0]);
        char bad[1200];
        assert_non_null(at);
        snprintf(bad, sizeof bad, "%.*s%s%s", (int) (at - discrete_text), discrete_text, swaps[k][1],
                 at + strlen(swaps[k][0]));
        lathe_tree_model broken;
        assert_int_equal(lathe_tree_model_parse(bad, strlen(bad), "bad", &broken, &err), LATHE_ERR_INPUT);
        if (strstr(err.text, swaps[k][2]) == NULL)
            fail_msg("'%s' does not say '%s'", err.text, swaps[k][2]);
    }
    lathe_table table;
    double *evidence = NULL;
    const char *rows = "b,a\nx,1\nw,0\n";
    const lathe_table_params how = {.kind = 1};
    check_ok(lathe_table_parse(rows, strlen(rows), "t", &how, &table, &err), err);
    assert_int_equal(lathe_tree_evidence(&model, &table, &evidence, &err), LATHE_ERR_INPUT);
    assert_non_null(strstr(err.text, "row 2, column 'b'"));
    lathe_table_free(&table);
    free(text);
    lathe_tree_model_free(&model);
    lathe_tree_model_free(&again);
}

/* a and b discrete; real r below b, q below r, s below a. */
static const char *const mixed_text =
    "{\"schema\":\"lathe.tree-model/1\",\"kind\":\"mixed\",\"variables\":["
    "{\"name\":\"q\",\"parent\":3,\"p\":[1,-0.7,0.5]},"
    "{\"name\":\"a\",\"states\":[\"0\",\"1\"],\"parent\":null,\"p\":[0.3,0.7]},"
    "{\"name\":\"b\",\"states\":[\"x\",\"y\",\"z\"],\"parent\":1,\"p\":[0.2,0.3,0.5,0.6,0.3,0.1]},"
    "{\"name\":\"r\",\"parent\":2,\"p\":[-1,0.5,2,0.8]},"
    "{\"name\":\"s\",\"parent\":1,\"p\":[0,1.5,0.3]}]}";

/* Given a and b the rest is normal: six normal models, weighted by enumeration, give every belief. */
static void mixed_beliefs_are_those_of_enumeration(void **state) {
    (void) state;
    enum { M = 5, Q = 0, A = 1, B = 2, R = 3, S = 4 };
    lathe_tree_model model;
    lathe_error err = {0};
    read_model(mixed_text, &model);
    static const double pa[] = {.3, .7}, pb[2][3] = {{.2, .3, .5}, {.6, .3, .1}}, mr[] = {-1, .5, 2},
                        ms[] = {0, 1.5};
    lathe_rng rng = lathe_rng_new(8, 48, 3);
    for (int mask = 0; mask < 1 << M; mask++) {
        double evidence[M];
        evidence[Q] = mask & 1 ? lathe_rng_normal(&rng) : NAN;
        evidence[A] = mask & 2 ? (double) lathe_rng_below(&rng, 2) : NAN;
        evidence[B] = mask & 4 ? (double) lathe_rng_below(&rng, 3) : NAN;
        evidence[R] = mask & 8 ? lathe_rng_normal(&rng) : NAN;
        evidence[S] = mask & 16 ? lathe_rng_normal(&rng) : NAN;
        double total = 0, marginal_a[2] = {0}, marginal_b[3] = {0}, first[3] = {0}, second[3] = {0},
               best = -1;
        int best_a = -1, best_b = -1;
        for (int a = 0; a < 2; a++)
            for (int b = 0; b < 3; b++) {
                if ((!isnan(evidence[A]) && evidence[A] != a) || (!isnan(evidence[B]) && evidence[B] != b))
                    continue;
                char text[600];
                snprintf(text, sizeof text,
                         "{\"schema\":\"lathe.tree-model/1\",\"kind\":\"gaussian\",\"variables\":["
                         "{\"name\":\"q\",\"parent\":1,\"p\":[1,-0.7,0.5]},"
                         "{\"name\":\"r\",\"parent\":null,\"p\":[%g,0,0.8]},"
                         "{\"name\":\"s\",\"parent\":null,\"p\":[%g,0,0.3]}]}",
                         mr[b], ms[a]);
                lathe_tree_model normal;
                read_model(text, &normal);
                const double seen[] = {evidence[Q], evidence[R], evidence[S]};
                double log_p = 0;
                lathe_tree_belief beliefs[3];
                check_ok(lathe_tree_infer(&normal, seen, &log_p, beliefs, &err), err);
                const double w = pa[a] * pb[a][b] * exp(log_p);
                total += w;
                marginal_a[a] += w;
                marginal_b[b] += w;
                for (int k = 0; k < 3; k++) {
                    first[k] += w * beliefs[k].mean;
                    second[k] += w * (beliefs[k].variance + beliefs[k].mean * beliefs[k].mean);
                }
                if (w > best) { /* the peak of the density has the same height over the mass for all a, b */
                    best = w;
                    best_a = a;
                    best_b = b;
                }
                lathe_tree_model_free(&normal);
            }
        double log_evidence = 0;
        lathe_tree_belief beliefs[M];
        check_ok(lathe_tree_infer(&model, evidence, &log_evidence, beliefs, &err), err);
        check_near(log_evidence, log(total), 1e-12);
        for (int a = 0; a < 2; a++)
            check_near(beliefs[A].p[a], marginal_a[a] / total, 1e-12);
        for (int b = 0; b < 3; b++)
            check_near(beliefs[B].p[b], marginal_b[b] / total, 1e-12);
        assert_int_equal(beliefs[A].map, best_a);
        assert_int_equal(beliefs[B].map, best_b);
        static const int real[] = {Q, R, S};
        for (int k = 0; k < 3; k++) {
            const double mean = first[k] / total, variance = second[k] / total - mean * mean;
            check_near(beliefs[real[k]].mean, mean, 1e-12);
            check_near(beliefs[real[k]].variance, variance, 1e-11);
        }
        free(beliefs[0].p);
    }
    lathe_tree_model_free(&model);
}

/* 3,000 rows of the mixed model: the learner finds its tree; the fitted model scores the data as the learner
 * does, by information less entropies; the parameters come back; the text reads back. */
static void mixed_models_are_learned_fitted_and_scored(void **state) {
    (void) state;
    enum { M = 5, N = 3000 };
    lathe_tree_model model, fitted, again;
    lathe_error err = {0};
    read_model(mixed_text, &model);
    double *values = malloc(M * N * sizeof *values);
    check_ok(lathe_tree_sample(&model, N, 11, values, &err), err);
    lathe_buf buf;
    lathe_buf_init(&buf, 1 << 24);
    check_ok(lathe_buf_text(&buf, "q,a,b,r,s\n", &err), err);
    for (int t = 0; t < N; t++)
        check_ok(lathe_buf_printf(&buf, &err, "%.17g,%d,%c,%.17g,%.17g\n", values[t * M],
                                  (int) values[t * M + 1], "xyz"[(int) values[t * M + 2]], values[t * M + 3],
                                  values[t * M + 4]),
                 err);
    lathe_table table;
    size_t n_bytes;
    char *text = lathe_buf_take(&buf, &n_bytes);
    check_ok(lathe_table_parse(text, n_bytes, "t", NULL, &table, &err), err);
    free(text);
    lathe_tree tree;
    lathe_chow_liu_info info;
    check_ok(lathe_chow_liu(&table, NULL, &tree, &info, &err), err);
    assert_int_equal(tree.n_edges, M - 1);
    for (int e = 0; e < M - 1; e++)
        assert_true(model.parent[tree.edges[e].u] == tree.edges[e].v ||
                    model.parent[tree.edges[e].v] == tree.edges[e].u);
    check_ok(lathe_tree_model_fit(&table, &tree, 0, &fitted, &err), err);
    assert_int_equal(fitted.parent[3], 2);
    for (int r = 0; r < 3; r++) /* 6 standard errors of the rarest state's mean */
        check_near(fitted.p[3][r], model.p[3][r], 6 * sqrt(.8 / (N * .1)));
    check_near(fitted.p[3][3], .8, 6 * .8 * sqrt(2. / N));
    check_ok(lathe_tree_model_text(&fitted, &text, NULL, &err), err);
    check_ok(lathe_tree_model_parse(text, strlen(text), "m", &again, &err), err);
    double *evidence = NULL, sum = 0;
    check_ok(lathe_tree_evidence(&again, &table, &evidence, &err), err);
    for (int t = 0; t < N; t++) {
        double one;
        check_ok(lathe_tree_infer(&again, evidence + t * M, &one, NULL, &err), err);
        sum += one;
    }
    check_near(sum / info.log_likelihood, 1, 1e-10);
    free(text);
    free(evidence);
    free(values);
    lathe_tree_free(&tree);
    lathe_table_free(&table);
    lathe_tree_model_free(&again);
    lathe_tree_model_free(&fitted);
    lathe_tree_model_free(&model);
    static const char *const bad[][3] = {{"\"parent\":1,\"p\":[0.2,0.3,0.5,0.6,0.3,0.1]",
                                          "\"parent\":0,\"p\":[0.2,0.3,0.5]", "its parent 'q' is not"},
                                         {"[-1,0.5,2,0.8]", "[-1,0.5,2,0]", "variance is not positive"},
                                         {"[-1,0.5,2,0.8]", "[-1,0.5,0.8]", "3 parameters, not 4"}};
    for (size_t k = 0; k < LATHE_LEN(bad); k++) {
        char broken[1200];
        const char *at = strstr(mixed_text, bad[k][0]);
        assert_non_null(at);
        snprintf(broken, sizeof broken, "%.*s%s%s", (int) (at - mixed_text), mixed_text, bad[k][1],
                 at + strlen(bad[k][0]));
        assert_int_equal(lathe_tree_model_parse(broken, strlen(broken), "bad", &again, &err),
                         LATHE_ERR_INPUT);
        if (strstr(err.text, bad[k][2]) == NULL)
            fail_msg("'%s' does not say '%s'", err.text, bad[k][2]);
    }
}

/* A star of five columns around a hidden node, two of them with negative loadings: the model scores the rows
 * as the covariance of path lengths does, and what it says of a missing cell is that covariance's regression.
 */
static void hidden_nodes_are_part_of_gaussian_models(void **state) {
    (void) state;
    enum { M = 5, N = 2000 };
    lathe_error err = {0};
    lathe_table table = {.n_columns = M, .n_rows = N};
    table.columns = calloc(M, sizeof *table.columns);
    lathe_rng rng = lathe_rng_new(9, 48, 4);
    static const double load[] = {.9, -.8, .7, -.6, .8};
    for (int i = 0; i < M; i++) {
        table.columns[i].name = calloc(2, 1);
        table.columns[i].name[0] = (char) ('a' + i);
        table.columns[i].values = malloc(N * sizeof(double));
    }
    for (int t = 0; t < N; t++) {
        const double h = lathe_rng_normal(&rng);
        for (int i = 0; i < M; i++)
            table.columns[i].values[t] =
                3 * i + (1 + i) * (load[i] * h + sqrt(1 - load[i] * load[i]) * lathe_rng_normal(&rng));
    }
    lathe_distances dist;
    lathe_tree tree;
    const lathe_distance_params far = {.dim = 1};
    const lathe_latent_params how = {.method = LATHE_LATENT_CLRG};
    check_ok(lathe_distances_from_table(&table, &far, &dist, &err), err);
    check_ok(lathe_latent_tree(&dist, &how, &tree, NULL, &err), err);
    assert_true(tree.n_nodes > M);
    for (int robust = 0; robust < 2; robust++) {
        lathe_tree_model model;
        check_ok(lathe_latent_model_fit(&table, &tree, robust, &model, &err), err);
        double expected, bic, sum = 0, *evidence = NULL;
        check_ok(lathe_latent_likelihood(&table, &tree, &expected, &bic, &err), err);
        check_ok(lathe_tree_evidence(&model, &table, &evidence, &err), err);
        for (int t = 0; t < N; t++) {
            double one;
            check_ok(lathe_tree_infer(&model, evidence + t * model.variables.n_columns, &one, NULL, &err),
                     err);
            sum += one;
        }
        if (robust)
            check_near(sum / expected, 1, 5e-3); /* other scales */
        else
            check_near(sum / expected, 1, 1e-9);
        for (int i = 0; i < tree.n_nodes; i++)
            evidence[i] = NAN;
        evidence[1] = table.columns[1].values[0];
        lathe_tree_belief *beliefs = calloc((size_t) tree.n_nodes, sizeof *beliefs);
        check_ok(lathe_tree_infer(&model, evidence, NULL, beliefs, &err), err);
        const double slope =
            (beliefs[3].mean - 9) / (evidence[1] - 3); /* both loadings negative: .48 * 4 / 2 */
        check_near(slope, .96, .25);
        assert_true(model.hidden[M] && !model.hidden[M - 1]);
        free(beliefs);
        free(evidence);
        lathe_tree_model_free(&model);
    }
    lathe_distances_free(&dist);
    lathe_tree_free(&tree);
    lathe_table_free(&table);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(discrete_beliefs_are_those_of_enumeration),
        cmocka_unit_test(normal_beliefs_are_those_of_dense_algebra),
        cmocka_unit_test(training_data_score_the_learners_likelihood),
        cmocka_unit_test(samples_follow_the_model_and_give_its_tree_back),
        cmocka_unit_test(models_survive_their_text_and_bad_ones_are_named),
        cmocka_unit_test(mixed_beliefs_are_those_of_enumeration),
        cmocka_unit_test(mixed_models_are_learned_fitted_and_scored),
        cmocka_unit_test(hidden_nodes_are_part_of_gaussian_models),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
