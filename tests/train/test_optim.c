/* Optimisers against numbers made elsewhere: SGD and AdamW by PyTorch, the others by double precision from
 * their equations (learning rates included), on one 2 x 3 matrix over three steps. */
#include "support/check.h"

#include <math.h>
#include <string.h>

#include "lathe/train.h"

static const float start[6] = {1, -2, .5f, 0, 1, -1};
static const float grads[3][6] = {
    {.5f, -1, 0, .25f, 0, 2}, {.1f, .4f, -.3f, -.5f, 1, .2f}, {-.2f, 0, .6f, .3f, -.1f, -1}};

typedef struct known {
    const char *name;
    lathe_optim optim;
    double lr;
    double after[3][6];
    double tol;
} known;

static void three_steps(const known *k) {
    float w[6], state[128] = {0};
    lathe_error err = {0};
    memcpy(w, start, sizeof w);
    assert_true(lathe_optim_state_size(&k->optim, 2, 3) <= 128);
    check_ok(lathe_optim_check(&k->optim, &err), err);
    for (int t = 0; t < 3; t++) {
        check_ok(lathe_optim_step(&k->optim, "w", w, grads[t], state, 2, 3, t + 1, k->lr, &err), err);
        for (int i = 0; i < 6; i++)
            if (!(fabs(w[i] - k->after[t][i]) <= k->tol))
                fail_msg("%s, step %d, element %d: %.9g, want %.9g", k->name, t + 1, i, w[i], k->after[t][i]);
    }
}

static void numbers(void **state) {
    (void) state;
    lathe_optim sgd = lathe_optim_default(LATHE_OPTIM_SGD), nesterov = sgd,
                sign = lathe_optim_default(LATHE_OPTIM_SIGNSGD);
    lathe_optim lion = lathe_optim_default(LATHE_OPTIM_LION), adamw = lathe_optim_default(LATHE_OPTIM_ADAMW);
    lathe_optim muon = lathe_optim_default(LATHE_OPTIM_MUON), original = muon;
    lathe_optim shampoo = lathe_optim_default(LATHE_OPTIM_SHAMPOO),
                soap = lathe_optim_default(LATHE_OPTIM_SOAP);
    nesterov.nesterov = true;
    sign.weight_decay = shampoo.weight_decay = soap.weight_decay = 0;
    original.original_scale = true;
    shampoo.sum = true;
    soap.beta1 = .9;
    soap.refresh = 1;
    const known all[] = {
        {"sgd",
         sgd,
         .1,
         {{.95, -1.9, .5, -.025, 1, -1.2},
          {.895, -1.85, .53, .0025, .9, -1.4},
          {.8655, -1.805, .497, -.00275, .82, -1.48}},
         1e-6},
        {"sgd nesterov",
         nesterov,
         .1,
         {{.905, -1.81, .5, -.0475, 1, -1.38},
          {.8455, -1.805, .557, .02725, .81, -1.58},
          {.83895, -1.7645, .4673, -.007475, .748, -1.552}},
         1e-6},
        {"signsgd",
         sign,
         .1,
         {{.9, -1.9, .5, -.1, 1, -1.1}, {.8, -2, .6, 0, .9, -1.2}, {.9, -2, .5, -.1, 1, -1.1}},
         1e-6},
        {"lion",
         lion,
         .01,
         {{.989, -1.988, .4995, -.01, .999, -1.009},
          {.978011, -1.996012, .509, .00001, .988001, -1.017991},
          {.987033, -1.984016, .498491, -.00999, .997013, -1.006973}},
         2e-6},
        {"adamw",
         adamw,
         .1,
         {{.89, -1.88, .495, -.1, .99, -1.09},
          {.799847, -1.826320, .563546, -.062663, .906604, -1.154112},
          {.756798, -1.780746, .527098, -.067317, .846652, -1.165696}},
         2e-6},
        {"muon original",
         original,
         .02,
         {{.990229, -1.980285, .499690, -.001817, .997655, -1.013912},
          {.971307, -1.985105, .503966, -.001510, .984530, -1.021447},
          {.966058, -1.974464, .487244, -.009328, .968907, -1.020894}},
         2e-6},
        {"muon match_rms",
         muon,
         .02,
         {{.995308, -1.990556, .499239, -.000629, .997881, -1.003512},
          {.987449, -1.989617, .500068, -.000523, .992029, -1.004818},
          {.984329, -1.983327, .493624, -.003231, .985316, -1.003324}},
         2e-6},
        {"shampoo",
         shampoo,
         .1,
         {{.955664, -1.910441, .503547, -.011528, .998227, -1.099316},
          {.922466, -1.948403, .525529, .018433, .948946, -1.109852},
          {.944989, -1.943062, .492907, -.004882, .948859, -1.069338}},
         5e-5},
        {"soap",
         soap,
         .1,
         {{.955662, -1.910437, .503547, -.011528, .998226, -1.099317},
          {.863982, -1.907160, .613046, -.084529, .889608, -1.175931},
          {.842004, -1.885056, .577607, -.164886, .808402, -1.199126}},
         5e-5},
    };
    for (size_t i = 0; i < LATHE_LEN(all); i++) {
        known k = all[i];
        if (k.optim.kind == LATHE_OPTIM_SIGNSGD)
            k.optim.momentum = 0;
        three_steps(&k);
    }
}

/* Image of one singular value, learning.md's table; then whole matrices against it. */
static void orthogonalisation(void **state) {
    (void) state;
    const struct {
        lathe_ns_kind ns;
        double x, y;
    } table[] = {
        {LATHE_NS_JORDAN5, .1, .712120}, {LATHE_NS_JORDAN5, 1, .696436},   {LATHE_NS_YOU5, .01, 1.018025},
        {LATHE_NS_YOU5, 1, .978346},     {LATHE_NS_POLAR5, .001, .846177}, {LATHE_NS_POLAR5, 1, 1.028751},
        {LATHE_NS_POLAR8, .001, 1},      {LATHE_NS_POLAR8, 1e-4, .574713}, {LATHE_NS_CUBIC10, .01, .529450}};
    for (size_t i = 0; i < LATHE_LEN(table); i++)
        check_near(lathe_ns_scalar(table[i].ns, table[i].x), table[i].y, 1e-6);
    const double jordan[6] = {.388571, -.785763, -.034486, .090827, .017243, .795590};
    const double exact[6] = {.443382, -.895631, -.035471, .115279, .017735, .993175};
    float out[6], turned[6], back[6], zero[6] = {0};
    lathe_error err = {0};
    check_ok(lathe_orthogonalise(LATHE_NS_JORDAN5, grads[0], 2, 3, out, &err), err);
    for (int i = 0; i < 6; i++)
        check_near(out[i], jordan[i], 2e-6);
    for (int i = 0; i < 6; i++) /* tall input gives the transpose of the same */
        turned[i / 3 + 2 * (i % 3)] = grads[0][i];
    check_ok(lathe_orthogonalise(LATHE_NS_JORDAN5, turned, 3, 2, back, &err), err);
    for (int i = 0; i < 6; i++)
        check_near(back[i / 3 + 2 * (i % 3)], out[i], 1e-7);
    for (int ns = LATHE_NS_POLAR8; ns <= LATHE_NS_SVD; ns += LATHE_NS_SVD - LATHE_NS_POLAR8) {
        check_ok(lathe_orthogonalise((lathe_ns_kind) ns, grads[0], 2, 3, out, &err), err);
        for (int i = 0; i < 6; i++)
            check_near(out[i], exact[i], 2e-6);
    }
    check_ok(lathe_orthogonalise(LATHE_NS_JORDAN5, zero, 2, 3, out, &err), err);
    for (int i = 0; i < 6; i++)
        assert_true(out[i] == 0);
}

/* eps stands outside the root: the wrong place gives .0099995 instead of .090909. */
static void eps_outside_the_root(void **state) {
    (void) state;
    lathe_optim o = lathe_optim_default(LATHE_OPTIM_ADAMW);
    o.eps = 1e-2;
    o.weight_decay = 0;
    float w = 0, g = 1e-3f, s[2] = {0};
    lathe_error err = {0};
    check_ok(lathe_optim_step(&o, "w", &w, &g, s, 1, 1, 1, 1, &err), err);
    check_near(w, -.0909091, 1e-6);
}

static void refusals(void **state) {
    (void) state;
    lathe_optim o = lathe_optim_default(LATHE_OPTIM_MUON);
    float w[6], s[6] = {0}, g[6] = {0};
    lathe_error err = {0};
    memcpy(w, start, sizeof w);
    assert_int_equal(lathe_optim_step(&o, "blk.0.attn_norm.weight", w, g, s, 1, 6, 1, .1, &err),
                     LATHE_ERR_ARG);
    assert_non_null(strstr(err.text, "blk.0.attn_norm.weight is a vector"));
    g[3] = INFINITY;
    assert_int_equal(lathe_optim_step(&o, "w", w, g, s, 2, 3, 1, .1, &err), LATHE_ERR_NUMERIC);
    assert_memory_equal(w, start, sizeof w);
    o = lathe_optim_default(LATHE_OPTIM_SGD);
    o.nesterov = true;
    o.dampening = .5;
    assert_int_equal(lathe_optim_check(&o, &err), LATHE_ERR_ARG);
}

static void schedules(void **state) {
    (void) state;
    lathe_schedule cosine = {LATHE_SCHEDULE_COSINE, 100, 1000, .1, 0},
                   linear = {LATHE_SCHEDULE_LINEAR, 100, 1000, 0, 0};
    lathe_schedule wsd = {LATHE_SCHEDULE_WSD, 100, 1000, 0, .2};
    const struct {
        int64_t t;
        double cosine, linear, wsd;
    } at[] = {{1, 1e-5, 1e-5, 1e-5},
              {50, 5e-4, 5e-4, 5e-4},
              {500, .000628142, .000555556, .001},
              {800, .000205280, .000222222, .001},
              {801, .000204272, .000221111, .000929289},
              {900, .000127138, .000111111, .000292893},
              {1000, .0001, 0, 0}};
    for (size_t i = 0; i < LATHE_LEN(at); i++) {
        check_near(1e-3 * lathe_schedule_at(&cosine, at[i].t), at[i].cosine, 1e-9);
        check_near(1e-3 * lathe_schedule_at(&linear, at[i].t), at[i].linear, 1e-9);
        check_near(1e-3 * lathe_schedule_at(&wsd, at[i].t), at[i].wsd, 1e-9);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(numbers), cmocka_unit_test(orthogonalisation),
                                       cmocka_unit_test(eps_outside_the_root), cmocka_unit_test(refusals),
                                       cmocka_unit_test(schedules)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
