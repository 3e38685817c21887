/* Every rule in double precision by the evaluator (learning.md D.j): the adjoint identity to 1e-12, central
 * differences of the value and of the gradient to 1e-8, symmetry of the Hessian to 1e-10; each with and
 * without `fused`. The evaluator's values agree with ggml's kernels to f32's rounding. Ops of ours are not
 * known to it: test_rules.c has them. */
#include "tensor/rule_cases.h"

#include "support/eval_double.h"

enum { OWN_OPS = 7 }; /* cases that are custom ops */

/* A problem's graph in double. */
typedef struct exact {
    double_graph *g;
    problem *p;
} exact;

static double inner(const exact *e, const T *a, const T *b) {
    double s = 0;
    const double *x = double_graph_of(e->g, a), *y = double_graph_of(e->g, b);
    for (int64_t i = 0; i < ggml_nelements(a); i++)
        s += x[i] * y[i];
    return s;
}
static double inner_size(const exact *e, const T *a, const T *b) {
    double s = 1e-12;
    const double *x = double_graph_of(e->g, a), *y = double_graph_of(e->g, b);
    for (int64_t i = 0; i < ggml_nelements(a); i++)
        s += fabs(x[i] * y[i]);
    return s;
}
/* x += h v, and computes. */
static void move(const exact *e, double h) {
    for (int i = 0; i < e->p->n; i++) {
        double *x = double_graph_of(e->g, e->p->x[i]);
        for (int64_t k = 0; k < ggml_nelements(e->p->x[i]); k++)
            x[k] += h * (double) ((const float *) e->p->v[i]->data)[k];
    }
    double_graph_compute(e->g);
}

/* Directions and weights belong to the graph, too, so that inner products find them. */
static exact open_exact(problem *p, T **out, int n) {
    for (int i = 0; i < p->n; i++) {
        out[n++] = ggml_scale(p->c, p->u[i], 1);
        out[n++] = ggml_scale(p->c, p->v[i], 1);
    }
    out[n++] = ggml_scale(p->c, p->weight, 1);
    exact e = {double_graph_new(out, n), p};
    double_graph_compute(e.g);
    return e;
}

static void agrees_with_ggml(const exact *e, const char *name) {
    T *y = ggml_cont(e->p->c, e->p->y);
    compute(e->p->c, &y, 1);
    double_graph *g = double_graph_new(&y, 1);
    double_graph_compute(g);
    const double *exactly = double_graph_of(g, y);
    for (int64_t i = 0; i < ggml_nelements(y); i++) {
        double a = (double) ((const float *) y->data)[i];
        if (!(fabs(a - exactly[i]) <= 1e-5 * (1 + fabs(a))))
            fail_msg("%s: value %lld is %.9g by ggml, %.9g by the evaluator", name, (long long) i, a,
                     exactly[i]);
    }
    double_graph_free(g);
}

static void first_order(void **state) {
    (void) state;
    int own = 0;
    for (size_t k = 0; k < LATHE_LEN(cases); k++) {
        problem p = make(&cases[k]);
        if (!double_graph_knows(&p.y, 1)) {
            own++;
            ggml_free(p.c);
            continue;
        }
        lathe_error err = {0};
        T *grads[MAX_IN], *fused[MAX_IN], *tangent, *out[64];
        const lathe_diff_opts one_pass = {.fused = true};
        check_ok(lathe_tensor_vjp(p.c, &p.y, &p.weight, 1, p.x, (size_t) p.n, NULL, grads, &err), err);
        check_ok(lathe_tensor_vjp(p.c, &p.y, &p.weight, 1, p.x, (size_t) p.n, &one_pass, fused, &err), err);
        check_ok(lathe_tensor_jvp(p.c, &p.y, 1, p.x, p.v, (size_t) p.n, NULL, &tangent, &err), err);
        int n = 0;
        for (int i = 0; i < p.n; i++) {
            out[n++] = grads[i] = ggml_cont(p.c, grads[i]);
            out[n++] = fused[i] = ggml_cont(p.c, fused[i]);
        }
        out[n++] = tangent = ggml_cont(p.c, tangent);
        out[n++] = p.value;
        exact e = open_exact(&p, out, n);
        double back = 0, back_fused = 0, forward = inner(&e, tangent, p.weight),
               scale = inner_size(&e, tangent, p.weight);
        for (int i = 0; i < p.n; i++) {
            back += inner(&e, grads[i], p.v[i]);
            back_fused += inner(&e, fused[i], p.v[i]);
        }
        const double h = 1e-5;
        move(&e, h);
        double up = double_graph_of(e.g, p.value)[0];
        move(&e, -2 * h);
        double slope = (up - double_graph_of(e.g, p.value)[0]) / (2 * h);
        if (!(fabs(back - forward) <= 1e-12 * scale && fabs(back_fused - forward) <= 1e-12 * scale &&
              fabs(slope - forward) <= 1e-8 * (scale + 1)))
            fail_msg("%s: J^T %.15g (fused %.15g), J %.15g, difference %.15g, scale %.3g", cases[k].name,
                     back, back_fused, forward, slope, scale);
        agrees_with_ggml(&e, cases[k].name);
        double_graph_free(e.g);
        ggml_free(p.c);
    }
    assert_int_equal(own, OWN_OPS);
}

static void second_order(void **state) {
    (void) state;
    for (size_t k = 0; k < LATHE_LEN(cases); k++) {
        problem p = make(&cases[k]);
        if (!double_graph_knows(&p.y, 1)) {
            ggml_free(p.c);
            continue;
        }
        lathe_error err = {0};
        T *grads[MAX_IN], *hv[MAX_IN], *hu[MAX_IN], *fused[MAX_IN], *out[64];
        T *squared = ggml_sum(p.c, ggml_sqr(p.c, ggml_add(p.c, ggml_cont(p.c, p.y), p.weight)));
        check_ok(lathe_tensor_hvp(p.c, squared, p.x, p.v, (size_t) p.n, NULL, grads, hv, &err), err);
        check_ok(lathe_tensor_hvp(p.c, squared, p.x, p.u, (size_t) p.n, NULL, NULL, hu, &err), err);
        check_ok(lathe_tensor_hvp(p.c, squared, p.x, p.v, (size_t) p.n, &(lathe_diff_opts){.fused = true},
                                  NULL, fused, &err),
                 err);
        int n = 0;
        for (int i = 0; i < p.n; i++) {
            out[n++] = grads[i] = ggml_cont(p.c, grads[i]);
            out[n++] = hv[i] = ggml_cont(p.c, hv[i]);
            out[n++] = hu[i] = ggml_cont(p.c, hu[i]);
            out[n++] = fused[i] = ggml_cont(p.c, fused[i]);
        }
        exact e = open_exact(&p, out, n);
        double uhv = 0, vhu = 0, by_fused = 0, scale = 0, up = 0, down = 0;
        for (int i = 0; i < p.n; i++) {
            uhv += inner(&e, p.u[i], hv[i]);
            vhu += inner(&e, p.v[i], hu[i]);
            by_fused += inner(&e, p.u[i], fused[i]);
            scale += inner_size(&e, p.u[i], hv[i]) + inner_size(&e, p.v[i], hu[i]);
        }
        const double h = 1e-5;
        move(&e, h);
        for (int i = 0; i < p.n; i++)
            up += inner(&e, grads[i], p.u[i]);
        move(&e, -2 * h);
        for (int i = 0; i < p.n; i++)
            down += inner(&e, grads[i], p.u[i]);
        double slope = (up - down) / (2 * h);
        if (!(fabs(uhv - vhu) <= 1e-10 * scale && fabs(by_fused - uhv) <= 1e-10 * scale &&
              ((cases[k].flags & KINKS) != 0 || fabs(slope - uhv) <= 1e-8 * (scale + 1))))
            fail_msg("%s: <u,Hv> %.15g (fused %.15g), <v,Hu> %.15g, difference %.15g, scale %.3g",
                     cases[k].name, uhv, by_fused, vhu, slope, scale);
        double_graph_free(e.g);
        ggml_free(p.c);
    }
}

/* v^T H v twice by forward mode alone, without any reverse rule, is <v, H v>. */
static void forward_twice(void **state) {
    (void) state;
    for (size_t k = 0; k < LATHE_LEN(cases); k++) {
        problem p = make(&cases[k]);
        if (!double_graph_knows(&p.y, 1)) {
            ggml_free(p.c);
            continue;
        }
        lathe_error err = {0};
        T *hv[MAX_IN], *slope, *bend, *out[64];
        T *squared = ggml_sum(p.c, ggml_sqr(p.c, ggml_add(p.c, ggml_cont(p.c, p.y), p.weight)));
        check_ok(lathe_tensor_hvp(p.c, squared, p.x, p.v, (size_t) p.n, NULL, NULL, hv, &err), err);
        check_ok(lathe_tensor_jvp(p.c, &squared, 1, p.x, p.v, (size_t) p.n, NULL, &slope, &err), err);
        check_ok(lathe_tensor_jvp(p.c, &slope, 1, p.x, p.v, (size_t) p.n, NULL, &bend, &err), err);
        int n = 0;
        for (int i = 0; i < p.n; i++)
            out[n++] = hv[i] = ggml_cont(p.c, hv[i]);
        out[n++] = bend = ggml_cont(p.c, bend);
        exact e = open_exact(&p, out, n);
        double vhv = 0, scale = 0;
        for (int i = 0; i < p.n; i++) {
            vhv += inner(&e, hv[i], p.v[i]);
            scale += inner_size(&e, hv[i], p.v[i]);
        }
        double twice = double_graph_of(e.g, bend)[0];
        if (!(fabs(twice - vhv) <= 1e-10 * scale))
            fail_msg("%s: <v, H v> %.15g, forward mode twice %.15g", cases[k].name, vhv, twice);
        double_graph_free(e.g);
        ggml_free(p.c);
    }
}

/* A wrong rule is far outside: RoPE's way back with the forward rotation. */
static void wrong_rules_are_seen(void **state) {
    (void) state;
    const op_case oc = {"rope", {{6, 2, 3, 1}}, make_rope_plain, 0};
    problem p = make(&oc);
    lathe_error err = {0};
    T *jv, *bad, *out[64];
    check_ok(lathe_tensor_jvp(p.c, &p.y, 1, p.x, p.v, 1, NULL, &jv, &err), err);
    bad = ggml_rope(p.c, p.weight, ids(p.c, 3, (int32_t[]){1, 3, 7}), 6, 0);
    out[0] = jv;
    out[1] = bad;
    exact e = open_exact(&p, out, 2);
    assert_true(fabs(inner(&e, jv, p.weight) - inner(&e, bad, p.v[0])) > 1e-3 * inner_size(&e, jv, p.weight));
    double_graph_free(e.g);
    ggml_free(p.c);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(first_order), cmocka_unit_test(second_order),
                                       cmocka_unit_test(forward_twice),
                                       cmocka_unit_test(wrong_rules_are_seen)};
    lathe_error err = {0};
    if (lathe_fused_new(1, 128, &fused_ops, &err) != LATHE_OK)
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    lathe_fused_free(fused_ops);
    return failed;
}
