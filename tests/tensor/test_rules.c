/* Every rule by three independent facts: the adjoint identity <ybar, J v> = <J^T ybar, v>, central
 * differences of the value, and for second derivatives <u, H v> = <v, H u> with central differences of the
 * gradient. */
#include "tensor/rule_cases.h"

static double dot(const T *a, const T *b) {
    double s = 0;
    for (int64_t i = 0; i < ggml_nelements(a); i++)
        s += (double) ((float *) a->data)[i] * ((float *) b->data)[i];
    return s;
}
static double size(const T *a, const T *b) { /* sum of absolute products: the scale of dot's rounding */
    double s = 1e-12;
    for (int64_t i = 0; i < ggml_nelements(a); i++)
        s += fabs((double) ((float *) a->data)[i] * ((float *) b->data)[i]);
    return s;
}
static void shift(problem *p, double h) {
    for (int i = 0; i < p->n; i++)
        for (int64_t k = 0; k < ggml_nelements(p->x[i]); k++)
            ((float *) p->x[i]->data)[k] += (float) h * ((float *) p->v[i]->data)[k];
}

static void first_order(void **state) {
    (void) state;
    for (size_t k = 0; k < LATHE_LEN(cases); k++) {
        problem p = make(&cases[k]);
        lathe_error err = {0};
        T *grads[MAX_IN], *fused[MAX_IN], *tangent, *out[2 * MAX_IN + 2];
        check_ok(lathe_tensor_vjp(p.c, &p.y, &p.weight, 1, p.x, (size_t) p.n, NULL, grads, &err), err);
        check_ok(lathe_tensor_vjp(p.c, &p.y, &p.weight, 1, p.x, (size_t) p.n,
                                  &(lathe_diff_opts){.fused = true}, fused, &err),
                 err);
        check_ok(lathe_tensor_jvp(p.c, &p.y, 1, p.x, p.v, (size_t) p.n, NULL, &tangent, &err), err);
        tangent = ggml_cont(p.c, tangent);
        int n = 0;
        for (int i = 0; i < p.n; i++) {
            out[n++] = grads[i];
            out[n++] = fused[i];
        }
        out[n++] = tangent;
        out[n++] = p.value;
        compute(p.c, out, n);
        double back = 0, back_fused = 0, forward = dot(tangent, p.weight), scale = size(tangent, p.weight);
        for (int i = 0; i < p.n; i++) {
            assert_true(ggml_are_same_shape(grads[i], p.x[i]));
            back += dot(grads[i], p.v[i]);
            back_fused += dot(fused[i], p.v[i]);
        }
        const double h = 4e-3;
        shift(&p, h);
        compute(p.c, &p.value, 1);
        double up = ((float *) p.value->data)[0];
        shift(&p, -2 * h);
        compute(p.c, &p.value, 1);
        double slope = (up - ((float *) p.value->data)[0]) / (2 * h);
        if (fabs(back - forward) > 2e-5 * scale || fabs(back_fused - forward) > 2e-5 * scale ||
            fabs(slope - forward) > 2e-3 * scale)
            fail_msg("%s: J^T %.9g (fused %.9g), J %.9g, difference %.9g", cases[k].name, back, back_fused,
                     forward, slope);
        ggml_free(p.c);
    }
}

static void second_order(void **state) {
    (void) state;
    for (size_t k = 0; k < LATHE_LEN(cases); k++) {
        problem p = make(&cases[k]);
        lathe_error err = {0};
        T *grads[MAX_IN], *hv[MAX_IN], *hu[MAX_IN], *fused[MAX_IN], *out[4 * MAX_IN];
        T *squared = ggml_sum(p.c, ggml_sqr(p.c, ggml_add(p.c, ggml_cont(p.c, p.y), p.weight)));
        check_ok(lathe_tensor_hvp(p.c, squared, p.x, p.v, (size_t) p.n, NULL, grads, hv, &err), err);
        check_ok(lathe_tensor_hvp(p.c, squared, p.x, p.u, (size_t) p.n, NULL, NULL, hu, &err), err);
        check_ok(lathe_tensor_hvp(p.c, squared, p.x, p.v, (size_t) p.n, &(lathe_diff_opts){.fused = true},
                                  NULL, fused, &err),
                 err);
        for (int i = 0; i < p.n; i++) {
            out[3 * p.n + i] = fused[i] = ggml_cont(p.c, fused[i]);
            out[i] = grads[i] = ggml_cont(p.c, grads[i]);
            out[p.n + i] = hv[i] = ggml_cont(p.c, hv[i]);
            out[2 * p.n + i] = hu[i] = ggml_cont(p.c, hu[i]);
        }
        compute(p.c, out, 4 * p.n);
        double uhv = 0, by_fused = 0, vhu = 0, scale = 0, up = 0, down = 0;
        for (int i = 0; i < p.n; i++) {
            uhv += dot(p.u[i], hv[i]);
            by_fused += dot(p.u[i], fused[i]);
            vhu += dot(p.v[i], hu[i]);
            scale += size(p.u[i], hv[i]) + size(p.v[i], hu[i]);
        }
        const double h = 4e-3;
        shift(&p, h);
        compute(p.c, grads, p.n);
        for (int i = 0; i < p.n; i++)
            up += dot(grads[i], p.u[i]);
        shift(&p, -2 * h);
        compute(p.c, grads, p.n);
        for (int i = 0; i < p.n; i++)
            down += dot(grads[i], p.u[i]);
        double slope = (up - down) / (2 * h);
        if (fabs(uhv - vhu) > 1e-4 * scale || fabs(by_fused - uhv) > 1e-4 * scale ||
            (!(cases[k].flags & KINKS) && fabs(slope - uhv) > 4e-3 * scale))
            fail_msg("%s: <u,Hv> %.9g (fused %.9g), <v,Hu> %.9g, difference %.9g", cases[k].name, uhv,
                     by_fused, vhu, slope);
        ggml_free(p.c);
    }
}

/* Values of PyTorch's autograd: x = (1, 2, -1), g = (.5, -1, 2), eps 1e-5. */
static void known_numbers(void **state) {
    (void) state;
    const struct {
        T *(*make)(C *, T *const *);
        double dx[3], tol;
    } known[] = {
        {make_rms, {.7660284, .1178467, 1.0017342}, 2e-6},
        {make_norm, {.2577137, -.1718169, -.0858968}, 2e-6},
        {make_softmax, {.1055653, -.2358643, .1302990}, 1e-6},
        {make_softcap, {.3932239, -.4199743, 1.5728955}, 1e-6},
        {make_gelu_erf, {.5 * 1.08331547, -1.08523180, 2 * -.08331547}, 2e-6},
        {make_silu, {.5 * .92767051, -1.09078425, 2 * .07232949}, 2e-6},
    };
    for (size_t k = 0; k < LATHE_LEN(known); k++) {
        C *c = context();
        lathe_error err = {0};
        T *x = ggml_new_tensor_1d(c, GGML_TYPE_F32, 3), *g = ggml_new_tensor_1d(c, GGML_TYPE_F32, 3), *dx;
        memcpy(x->data, (float[]){1, 2, -1}, 12);
        memcpy(g->data, (float[]){.5f, -1, 2}, 12);
        T *y = known[k].make(c, &x);
        check_ok(lathe_tensor_vjp(c, &y, &g, 1, &x, 1, NULL, &dx, &err), err);
        compute(c, &dx, 1);
        for (int i = 0; i < 3; i++)
            check_near(((float *) dx->data)[i], known[k].dx[i], known[k].tol);
        ggml_free(c);
    }
}

/* PyTorch's autograd on ops of images and attention (tests/reference/rules.py): the first four elements of
 * each gradient and the sum of absolute values. */
static void pytorch_numbers(void **state) {
    (void) state;
    const struct {
        const char *name;
        T *(*make)(C *, T *const *);
        int64_t shape[MAX_IN][4];
        double dx[MAX_IN][5];
    } known[] = {
        {"conv_3d",
         make_conv3,
         {{3, 2, 2, 6}, {5, 4, 4, 4}},
         {{-0.1342367, 0.0739216, 0.6871607, 0.2602980, 66.4107912}, {0, 0, 0, 0, 76.3982829}}},
        {"bilinear",
         make_pure_bilinear,
         {{4, 3, 2, 1}},
         {{1.6747839, -1.4789830, -1.0690730, 1.9659800, 34.2753217}}},
        {"aligned",
         make_pure_aligned,
         {{4, 3, 2, 1}},
         {{1.6107273, -1.3427000, -1.0034003, 1.7666883, 34.1418770}}},
        {"antialiased",
         make_pure_smooth,
         {{8, 3, 2, 1}},
         {{0.1175276, 0.1637915, 0.1208450, 0.0778985, 3.8620348}}},
        {"sinks",
         make_sinks_mask,
         {{4, 3, 3, 1}, {4, 3, 1, 1}, {3, 1, 1, 1}},
         {{0.1334969, 0.0705339, -0.0769314, -0.0855606, 3.1533896},
          {0.0485723, 0.0921319, 0.0207398, -0.1333557, 1.0630438},
          {-0.0807921, -0.1106152, -0.0282548, 0, 0.2196621}}},
        {"out_prod",
         make_out_prod,
         {{4, 5, 2, 1}, {3, 5, 4, 2}},
         {{-1.5267995, -0.6153520, 0.8618472, 1.5466681, 43.5573963},
          {2.0232686, -0.7271447, -1.0726816, -2.3627532, 157.7883727}}},
    };
    for (size_t k = 0; k < LATHE_LEN(known); k++) {
        C *c = context();
        lathe_error err = {0};
        T *x[MAX_IN], *dx[MAX_IN];
        int n = 0;
        for (; n < MAX_IN && known[k].shape[n][0] != 0; n++) {
            const int64_t *ne = known[k].shape[n];
            x[n] = ggml_new_tensor_4d(c, GGML_TYPE_F32, ne[0], ne[1], ne[2], ne[3]);
            for (int64_t i = 0; i < ggml_nelements(x[n]); i++)
                ((float *) x[n]->data)[i] = (float) sin(1 + (double) i + 10 * n);
        }
        T *y = known[k].make(c, x), *g = ggml_dup_tensor(c, y);
        for (int64_t i = 0; i < ggml_nelements(g); i++)
            ((float *) g->data)[i] = (float) cos((double) i);
        check_ok(lathe_tensor_vjp(c, &y, &g, 1, x, (size_t) n, NULL, dx, &err), err);
        compute(c, dx, n);
        for (int i = 0; i < n; i++) {
            double size = 0;
            const float *got = dx[i]->data;
            for (int64_t j = 0; j < ggml_nelements(dx[i]); j++) {
                size += fabs((double) got[j]);
                if (j < 4)
                    check_near(got[j], known[k].dx[i][j], 2e-5);
            }
            check_near(size, known[k].dx[i][4], 1e-4);
        }
        ggml_free(c);
    }
}

/* learning.md E.g.1: logistic regression, loss, gradient and Hessian-vector product by hand. */
static void logistic_regression(void **state) {
    (void) state;
    C *c = context();
    lathe_error err = {0};
    T *x = ggml_new_tensor_2d(c, GGML_TYPE_F32, 2, 3), *w = ggml_new_tensor_1d(c, GGML_TYPE_F32, 2);
    T *v = ggml_new_tensor_1d(c, GGML_TYPE_F32, 2), *sign = ggml_new_tensor_1d(c, GGML_TYPE_F32, 3), *g, *hv,
      *out[2];
    memcpy(x->data, (float[]){1, 2, 0, 1, 3, -1}, 24);
    memcpy(w->data, (float[]){.5f, -.25f}, 8);
    memcpy(v->data, (float[]){1, -2}, 8);
    memcpy(sign->data, (float[]){-1, 1, -1}, 12); /* y = 1, 0, 1 */
    T *margin = ggml_mul(c, ggml_reshape_1d(c, ggml_mul_mat(c, x, w), 3), sign);
    T *loss = ggml_scale(c, ggml_sum(c, ggml_softplus(c, margin)), 1.0f / 3);
    check_ok(lathe_tensor_hvp(c, loss, &w, &v, 1, NULL, &g, &hv, &err), err);
    out[0] = g = ggml_cont(c, g);
    out[1] = hv;
    compute(c, out, 2);
    check_near(((float *) loss->data)[0], .4764369170, 1e-6);
    check_near(((float *) g->data)[0], -.314714, 1e-6);
    check_near(((float *) g->data)[1], -.138043, 1e-6);
    check_near(((float *) hv->data)[0], .380646, 2e-6);
    check_near(((float *) hv->data)[1], -.874305, 2e-6);
    ggml_free(c);
}

/* A missing rule and an op in place are errors that name the op; a rule that is wrong is caught by the
 * identity. */
static void refusals(void **state) {
    (void) state;
    C *c = context();
    lathe_error err = {0};
    T *x = ggml_new_tensor_2d(c, GGML_TYPE_F32, 4, 4), *g;
    T *loss = ggml_sum(c, ggml_cumsum(c, x));
    assert_int_equal(lathe_tensor_grad(c, loss, &x, 1, NULL, &g, &err), LATHE_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.text, "CUMSUM"));
    loss = ggml_sum(c, ggml_scale_inplace(c, ggml_sqr(c, x), 2.0f));
    assert_int_equal(lathe_tensor_grad(c, loss, &x, 1, NULL, &g, &err), LATHE_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.text, "in place"));
    assert_int_equal(lathe_tensor_grad(c, ggml_sqr(c, x), &x, 1, NULL, &g, &err), LATHE_ERR_ARG);
    ggml_free(c);
}

/* Negative: rope's VJP with the forward rotation, and the norm rule without its second term, break the
 * identity. */
static void wrong_rules_are_seen(void **state) {
    (void) state;
    for (int which = 0; which < 2; which++) {
        C *c = context();
        lathe_error err = {0};
        lathe_rng rng = lathe_rng_new(3, 37, 0);
        T *x = random_like(c, (int64_t[]){6, 2, 3, 1}, &rng, false), *v = random_like(c, x->ne, &rng, false);
        T *g = random_like(c, x->ne, &rng, false), *pos = ids(c, 3, (int32_t[]){1, 3, 7}), *jv, *bad, *out[2];
        T *y = which == 0 ? ggml_rope(c, x, pos, 6, 0) : ggml_rms_norm(c, x, 1e-5f);
        check_ok(lathe_tensor_jvp(c, &y, 1, &x, &v, 1, NULL, &jv, &err), err);
        bad = which == 0 ? ggml_rope(c, g, pos, 6, 0)
                         : ggml_div(c, g,
                                    ggml_sqrt(c, ggml_scale_bias(c, ggml_sum_rows(c, ggml_sqr(c, x)),
                                                                 1.0f / 6, 1e-5f)));
        out[0] = jv;
        out[1] = bad;
        compute(c, out, 2);
        assert_true(fabs(dot(jv, g) - dot(bad, v)) > 1e-3 * size(jv, g));
        ggml_free(c);
    }
}

/* Taylor coefficients of a loss along a line: with gradient and Hessian taken off, what is left of the odd
 * part falls 8 times and of the even part 16 times when the step halves. */
static void taylor(void **state) {
    (void) state;
    C *c = context();
    lathe_error err = {0};
    lathe_rng rng = lathe_rng_new(12, 37, 0);
    T *w = random_like(c, (int64_t[]){5, 6, 1, 1}, &rng, false), *u = random_like(c, w->ne, &rng, false);
    T *x = random_like(c, (int64_t[]){5, 7, 1, 1}, &rng, false),
      *v = random_like(c, (int64_t[]){6, 4, 1, 1}, &rng, false);
    T *labels = ggml_new_tensor_2d(c, GGML_TYPE_F32, 4, 7), *g, *hv;
    memset(labels->data, 0, ggml_nbytes(labels));
    for (int i = 0; i < 7; i++)
        ((float *) labels->data)[4 * i + i % 4] = 1;
    T *loss = ggml_cross_entropy_loss(c, ggml_mul_mat(c, v, ggml_silu(c, ggml_mul_mat(c, w, x))), labels);
    check_ok(lathe_tensor_hvp(c, loss, &w, &u, 1, NULL, &g, &hv, &err), err);
    T *out[3] = {loss, g, hv};
    compute(c, out, 3);
    double l0 = (double) *(float *) loss->data, slope = dot(g, u), bend = dot(hv, u), odd[3], even[3];
    float start[30];
    memcpy(start, w->data, sizeof start);
    for (int k = 0; k < 3; k++) {
        double e = 0.25 / (1 << k), side[2];
        for (int s = 0; s < 2; s++) {
            for (int i = 0; i < 30; i++)
                ((float *) w->data)[i] =
                    (float) (start[i] + (s == 0 ? e : -e) * (double) ((float *) u->data)[i]);
            compute(c, &loss, 1);
            side[s] = (double) *(float *) loss->data;
        }
        odd[k] = (side[0] - side[1]) / 2 - e * slope;
        even[k] = (side[0] + side[1]) / 2 - l0 - e * e / 2 * bend;
    }
    for (int k = 0; k < 2; k++)
        if (!(odd[k] / odd[k + 1] > 6 && odd[k] / odd[k + 1] < 10 && even[k] / even[k + 1] > 10 &&
              even[k] / even[k + 1] < 22))
            fail_msg("step %d: odd %.3g -> %.3g, even %.3g -> %.3g", k, odd[k], odd[k + 1], even[k],
                     even[k + 1]);
    ggml_free(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(taylor),          cmocka_unit_test(first_order),
        cmocka_unit_test(second_order),    cmocka_unit_test(known_numbers),
        cmocka_unit_test(pytorch_numbers), cmocka_unit_test(logistic_regression),
        cmocka_unit_test(refusals),        cmocka_unit_test(wrong_rules_are_seen),
    };
    lathe_error err = {0};
    if (lathe_fused_new(1, 128, &fused_ops, &err) != LATHE_OK)
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    lathe_fused_free(fused_ops);
    return failed;
}
