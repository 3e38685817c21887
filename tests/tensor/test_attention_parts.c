/* Attention as an op of graphs: its log-sum-exp and sums of probabilities against doubles, and two parts over
 * disjoint keys merged into what one pass over all keys gives. */
#include "support/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support/graph.h"
#include "tensor/cpu/attention.h"

static lathe_attention_op op;

static int find_kernels(void **state) {
    (void) state;
    op.cpu = lathe_cpu_best(NULL);
    op.n_q_max = INT32_MAX;
    return 0;
}

static struct ggml_context *new_graph(struct ggml_cgraph **graph) {
    struct ggml_context *ctx = ggml_init((struct ggml_init_params){.mem_size = (size_t) 16 << 20});
    *graph = ggml_new_graph(ctx);
    return ctx;
}

static struct ggml_tensor *f32(struct ggml_context *ctx, int64_t a, int64_t b, int64_t c,
                               const float *values) {
    struct ggml_tensor *t = ggml_new_tensor_3d(ctx, GGML_TYPE_F32, a, b, c);
    if (values)
        memcpy(t->data, values, ggml_nbytes(t));
    return t;
}

static float at(const struct ggml_tensor *t, int64_t i) {
    return ((const float *) t->data)[i];
}

static void run(struct ggml_cgraph *graph, const lathe_attention_out *o, int n_threads) {
    ggml_build_forward_expand(graph, o->out);
    if (o->lse)
        ggml_build_forward_expand(graph, o->lse);
    if (o->mass)
        ggml_build_forward_expand(graph, o->mass);
    run_graph(graph, n_threads);
}

/* q = (1, 0), keys (2, 0), (0, 1), (4, 0), (-2, 1), values 1 to 4, scale 1 / sqrt 2: the first two keys have
 * scores sqrt 2 and 0, so o = (e^1.41421 + 2) / (e^1.41421 + 1) = 1.1955703 and lse = log 5.1132503. */
static void the_worked_example_is_merged(void **state) {
    (void) state;
    static const float q[] = {1, 0}, k[] = {2, 0, 0, 1, 4, 0, -2, 1}, v[] = {1, 2, 3, 4};
    struct ggml_cgraph *graph;
    struct ggml_context *ctx = new_graph(&graph);
    lathe_attention_out part[2], whole;
    op.scale = 0.70710678f;
    for (int i = 0; i < 2; i++) {
        const lathe_attention_in in = {.q = f32(ctx, 2, 1, 1, q),
                                       .k = f32(ctx, 2, 2, 1, k + 4 * i),
                                       .v = f32(ctx, 1, 2, 1, v + 2 * i),
                                       .want_lse = true};
        assert_true(lathe_attention_node(&op, ctx, &in, &part[i]));
    }
    whole = lathe_attention_merge(ctx, &part[0], &part[1]);
    run(graph, &whole, 1);
    check_near(at(part[0].out, 0), 1.1955703, 1e-6);
    check_near(at(part[0].lse, 0), 1.6318353, 1e-6);
    check_near(at(part[1].out, 0), 3.0141660, 1e-6);
    check_near(at(part[1].lse, 0), 2.8426945, 1e-6);
    /* Negative: the mean of the two is 2.105, and weights by their key counts give the same. */
    check_near(at(whole.out, 0), 2.5967091, 1e-6);
    check_near(at(whole.lse, 0), 3.1034738, 1e-6);
    ggml_free(ctx);
}

/* A random step over a prefix of n keys and a tree of T: each node sees the prefix and its ancestors. */
typedef struct tree_step {
    int64_t n, T, H, Hk, dk, dv;
    float *q, *k, *v; /* [H][T][dk], [Hk][n + T][dk or dv] */
    int32_t parent[64];
    float scale;
} tree_step;

static float *normals(lathe_rng *rng, int64_t n, float by) {
    float *x = malloc((size_t) n * sizeof *x);
    for (int64_t i = 0; i < n; i++)
        x[i] = by * (float) lathe_rng_normal(rng);
    return x;
}

static void random_tree_step(lathe_rng *rng, int64_t n, int64_t T, tree_step *s) {
    *s = (tree_step){.n = n, .T = T};
    s->Hk = 1 + (int64_t) lathe_rng_below(rng, 3);
    s->H = s->Hk * (1 + (int64_t) lathe_rng_below(rng, 3));
    s->dk = 8 * (1 + (int64_t) lathe_rng_below(rng, 5));
    s->dv = 8 * (1 + (int64_t) lathe_rng_below(rng, 5));
    s->scale = 1.0f / sqrtf((float) s->dk);
    s->q = normals(rng, s->dk * T * s->H, 2);
    s->k = normals(rng, s->dk * (n + T) * s->Hk, 1);
    s->v = normals(rng, s->dv * (n + T) * s->Hk, 1);
    for (int32_t i = 0; i < T; i++)
        s->parent[i] = i == 0 ? -1 : (int32_t) lathe_rng_below(rng, (uint32_t) i);
}

static void free_step(tree_step *s) {
    free(s->q);
    free(s->k);
    free(s->v);
}

static bool is_seen(const tree_step *s, int64_t t, int64_t key) {
    if (key < s->n)
        return true;
    for (int32_t a = (int32_t) t; a >= 0; a = s->parent[a])
        if (a == key - s->n)
            return true;
    return false;
}

/* o [dv] and the lse of node t in head h over keys [from, to); p [to] its probabilities. */
static double in_doubles(const tree_step *s, int64_t t, int64_t h, int64_t from, int64_t to, double *o,
                         double *p) {
    const int64_t g = h / (s->H / s->Hk), rows = s->n + s->T;
    double top = -INFINITY, sum = 0.0;
    memset(o, 0, (size_t) s->dv * sizeof *o);
    for (int64_t e = from; e < to; e++) {
        p[e] = -INFINITY;
        if (!is_seen(s, t, e))
            continue;
        double x = 0.0;
        for (int64_t d = 0; d < s->dk; d++)
            x += (double) s->q[(h * s->T + t) * s->dk + d] * (double) s->k[(g * rows + e) * s->dk + d];
        p[e] = x * (double) s->scale;
        top = p[e] > top ? p[e] : top;
    }
    for (int64_t e = from; e < to; e++)
        sum += p[e] = p[e] > -INFINITY ? exp(p[e] - top) : 0.0;
    for (int64_t e = from; e < to; e++) {
        p[e] /= sum;
        for (int64_t d = 0; d < s->dv; d++)
            o[d] += p[e] * (double) s->v[(g * rows + e) * s->dv + d];
    }
    return top + log(sum);
}

static struct ggml_tensor *some_keys(struct ggml_context *ctx, struct ggml_tensor *t, int64_t from,
                                     int64_t n) {
    return ggml_view_3d(ctx, t, t->ne[0], n, t->ne[2], t->nb[1], t->nb[2], (size_t) from * t->nb[1]);
}

/* Keys [from, from + n) for all nodes; the mask hides what is no ancestor. */
static lathe_attention_out attend(const tree_step *s, struct ggml_context *ctx, struct ggml_tensor *q,
                                  struct ggml_tensor *k, struct ggml_tensor *v, int64_t from, int64_t n,
                                  bool masked, bool mass) {
    lathe_attention_in in = {.q = q,
                             .k = some_keys(ctx, k, from, n),
                             .v = some_keys(ctx, v, from, n),
                             .want_lse = true,
                             .want_mass = mass};
    lathe_attention_out out;
    if (masked) {
        in.mask = ggml_new_tensor_2d(ctx, GGML_TYPE_F16, n, s->T);
        for (int64_t t = 0; t < s->T; t++)
            for (int64_t e = 0; e < n; e++)
                ((uint16_t *) in.mask->data)[t * n + e] = is_seen(s, t, from + e) ? 0 : 0xfc00;
    }
    assert_true(lathe_attention_node(&op, ctx, &in, &out));
    return out;
}

static void sums_are_those_of_doubles(void **state) {
    (void) state;
    lathe_rng rng = lathe_rng_new(3, 0, 0);
    static double o[64], p[1024];
    for (int c = 0; c < 30; c++) {
        tree_step s;
        const int64_t n = c % 3 == 0 ? 600 : 1 + (int64_t) lathe_rng_below(&rng, 60);
        random_tree_step(&rng, n, 1 + (int64_t) lathe_rng_below(&rng, 9), &s);
        struct ggml_cgraph *graph;
        struct ggml_context *ctx = new_graph(&graph);
        op.scale = s.scale;
        struct ggml_tensor *q = f32(ctx, s.dk, s.T, s.H, s.q), *k = f32(ctx, s.dk, s.n + s.T, s.Hk, s.k),
                           *v = f32(ctx, s.dv, s.n + s.T, s.Hk, s.v);
        const lathe_attention_out out = attend(&s, ctx, q, k, v, 0, s.n + s.T, true, c % 2 == 0);
        run(graph, &out, 1 + c % 2);
        double *mass = calloc((size_t) (s.H * (s.n + s.T)), sizeof *mass);
        for (int64_t t = 0; t < s.T; t++)
            for (int64_t h = 0; h < s.H; h++) {
                const double lse = in_doubles(&s, t, h, 0, s.n + s.T, o, p);
                check_near(at(out.lse, t * s.H + h), lse, 2e-5);
                for (int64_t d = 0; d < s.dv; d++)
                    check_near(at(out.out, (t * s.H + h) * s.dv + d), o[d], 2e-5);
                for (int64_t e = 0; e < s.n + s.T; e++)
                    mass[h * (s.n + s.T) + e] += p[e];
            }
        /* Per head and key, summed over the nodes: a head's sums are as many as there are nodes. */
        for (int64_t i = 0; out.mass && i < s.H * (s.n + s.T); i++)
            check_near(at(out.mass, i), mass[i], 2e-5);
        free(mass);
        ggml_free(ctx);
        free_step(&s);
    }
}

static void prefix_and_tree_are_merged_to_one_pass(void **state) {
    (void) state;
    lathe_rng rng = lathe_rng_new(5, 0, 0);
    for (int c = 0; c < 30; c++) {
        tree_step s;
        random_tree_step(&rng, c == 0 ? 37 : 1 + (int64_t) lathe_rng_below(&rng, 700),
                         c == 0 ? 5 : 1 + (int64_t) lathe_rng_below(&rng, 40), &s);
        struct ggml_cgraph *graph;
        struct ggml_context *ctx = new_graph(&graph);
        op.scale = s.scale;
        struct ggml_tensor *q = f32(ctx, s.dk, s.T, s.H, s.q), *k = f32(ctx, s.dk, s.n + s.T, s.Hk, s.k),
                           *v = f32(ctx, s.dv, s.n + s.T, s.Hk, s.v);
        const lathe_attention_out whole = attend(&s, ctx, q, k, v, 0, s.n + s.T, true, false),
                                  prefix = attend(&s, ctx, q, k, v, 0, s.n, false, false),
                                  tree = attend(&s, ctx, q, k, v, s.n, s.T, true, false),
                                  merged = lathe_attention_merge(ctx, &prefix, &tree),
                                  other = lathe_attention_merge(ctx, &tree, &prefix);
        run(graph, &whole, 2);
        run(graph, &merged, 2);
        run(graph, &other, 1);
        double apart = 0.0;
        for (int64_t i = 0; i < ggml_nelements(whole.out); i++) {
            check_near(at(merged.out, i), at(whole.out, i), 1e-5);
            apart = fmax(apart, fabs((double) at(prefix.out, i) - (double) at(whole.out, i)));
        }
        for (int64_t i = 0; i < ggml_nelements(whole.lse); i++)
            check_near(at(merged.lse, i), at(whole.lse, i), 1e-5);
        assert_memory_equal(merged.out->data, other.out->data, ggml_nbytes(merged.out)); /* either order */
        if (s.n < 20) /* the tree is a good part of what is seen: the prefix alone is something else */
            assert_true(apart > 1e-3);
        ggml_free(ctx);
        free_step(&s);
    }
}

/* Parts made by hand: out [2, 1] of one head and node each. */
static lathe_attention_out made(struct ggml_context *ctx, float a, float b, float lse) {
    const float out[] = {a, b};
    return (lathe_attention_out){.out = f32(ctx, 2, 1, 1, out), .lse = f32(ctx, 1, 1, 1, &lse)};
}

static void empty_equal_and_extreme_parts_are_merged(void **state) {
    (void) state;
    static const struct {
        float a[2], la, b[2], lb, out[2];
        double lse;
    } cases[] = {
        {{1, 2}, 0.5f, {0, 0}, -INFINITY, {1, 2}, 0.5},
        {{0, 0}, -INFINITY, {3, 4}, -2.0f, {3, 4}, -2.0},
        {{0, 0}, -INFINITY, {0, 0}, -INFINITY, {0, 0}, -INFINITY},
        {{1, 2}, 3.0f, {1, 2}, 3.0f, {1, 2}, 3.6931472},     /* + log 2 */
        {{1, 2}, 1e4f, {5, 6}, 1e4f, {3, 4}, 1e4 + 0.6931},  /* exp of it alone is infinite */
        {{1, 2}, -1e4f, {5, 6}, -1e4f, {3, 4}, -9999.30685}, /* and 0 */
        {{1, 2}, 1e4f, {5, 6}, -1e4f, {1, 2}, 1e4},
    };
    struct ggml_cgraph *graph;
    struct ggml_context *ctx = new_graph(&graph);
    for (size_t i = 0; i < LATHE_LEN(cases); i++) {
        const lathe_attention_out a = made(ctx, cases[i].a[0], cases[i].a[1], cases[i].la),
                                  b = made(ctx, cases[i].b[0], cases[i].b[1], cases[i].lb),
                                  m = lathe_attention_merge(ctx, &a, &b);
        run(graph, &m, 1);
        check_near(at(m.out, 0), cases[i].out[0], 1e-6);
        check_near(at(m.out, 1), cases[i].out[1], 1e-6);
        if (isinf(cases[i].lse))
            assert_true(at(m.lse, 0) == -INFINITY);
        else
            check_near(at(m.lse, 0), cases[i].lse, 1e-3);
    }
    const lathe_attention_out a = made(ctx, 1, 2, NAN), b = made(ctx, 3, 4, 0),
                              m = lathe_attention_merge(ctx, &a, &b);
    run(graph, &m, 1);
    assert_true(isnan(at(m.out, 0)) && isnan(at(m.lse, 0))); /* what is no number is not hidden */
    ggml_free(ctx);
}

/* A node that sees none of a part's keys has zeros and -infinity there, and the other part alone counts. */
static void a_part_that_is_not_seen_takes_no_part(void **state) {
    (void) state;
    lathe_rng rng = lathe_rng_new(7, 0, 0);
    tree_step s;
    random_tree_step(&rng, 20, 6, &s);
    struct ggml_cgraph *graph;
    struct ggml_context *ctx = new_graph(&graph);
    op.scale = s.scale;
    struct ggml_tensor *q = f32(ctx, s.dk, s.T, s.H, s.q), *k = f32(ctx, s.dk, s.n + s.T, s.Hk, s.k),
                       *v = f32(ctx, s.dv, s.n + s.T, s.Hk, s.v);
    struct ggml_tensor *seen = ggml_new_tensor_2d(ctx, GGML_TYPE_I32, 2, s.T);
    memset(seen->data, 0, ggml_nbytes(seen)); /* entries [0, 0) */
    const lathe_attention_in in = {.q = q,
                                   .k = some_keys(ctx, k, 0, s.n),
                                   .v = some_keys(ctx, v, 0, s.n),
                                   .seen = seen,
                                   .want_lse = true};
    lathe_attention_out nothing;
    assert_true(lathe_attention_node(&op, ctx, &in, &nothing));
    const lathe_attention_out tree = attend(&s, ctx, q, k, v, s.n, s.T, true, false),
                              merged = lathe_attention_merge(ctx, &nothing, &tree);
    run(graph, &merged, 2);
    for (int64_t i = 0; i < s.T * s.H; i++)
        assert_true(at(nothing.lse, i) == -INFINITY);
    assert_memory_equal(merged.out->data, tree.out->data, ggml_nbytes(tree.out));
    ggml_free(ctx);
    free_step(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_worked_example_is_merged),
        cmocka_unit_test(sums_are_those_of_doubles),
        cmocka_unit_test(prefix_and_tree_are_merged_to_one_pass),
        cmocka_unit_test(empty_equal_and_extreme_parts_are_merged),
        cmocka_unit_test(a_part_that_is_not_seen_takes_no_part),
    };
    return cmocka_run_group_tests(tests, find_kernels, NULL) != 0;
}
