/* Runs that begin with a model, and runs that learn from one. */
#include "support/check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lathe/train.h"

enum { VOCAB = 64, TOKENS = 4000 };

static const char *data_file(void) {
    static int32_t ids[TOKENS];
    lathe_error err = {0};
    lathe_rng rng = lathe_rng_new(5, 36, 0);
    for (int i = 0; i < TOKENS; i++) /* each token mostly decides the next */
        ids[i] = i == 0 || lathe_rng_uniform(&rng) < 0.2 ? (int32_t) lathe_rng_below(&rng, VOCAB)
                                                         : (ids[i - 1] * 5 + 3) % VOCAB;
    const char *path = temp_file(".ltok");
    check_ok(lathe_tokens_write(path, ids, TOKENS, VOCAB, NULL, &err), err);
    return path;
}

static lathe_train_params tiny(const char *data, const char *output, int32_t embd) {
    lathe_train_params p = lathe_train_params_default();
    p.data = data;
    p.output = output;
    p.n_layer = 1;
    p.n_embd = embd;
    p.n_head = 4;
    p.n_head_kv = 2;
    p.n_ff = 64;
    p.n_ctx = 32;
    p.rows = 8;
    p.lr = 1e-2;
    p.schedule = (lathe_schedule){LATHE_SCHEDULE_CONSTANT, 5, 120, 0, 0};
    p.save_every = 0;
    return p;
}

static void clean(const char *folder) {
    char command[8192];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    assert_int_equal(system(command), 0);
}

/* Field `name` of the last row of metrics.jsonl. */
static double last_value(const char *folder, const char *name) {
    char path[8192], line[1024];
    double value = NAN;
    snprintf(path, sizeof path, "%s/metrics.jsonl", folder);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f) != NULL) {
        const char *at = strstr(line, name);
        if (at != NULL)
            value = strtod(at + strlen(name) + 3, NULL);
    }
    fclose(f);
    return value;
}

static void init_and_distill(void **state) {
    (void) state;
    lathe_error err = {0};
    lathe_train_result result;
    const char *data = data_file();
    char first[1024], second[1024], third[1024], model[2048];
    snprintf(first, sizeof first, "%s", temp_file(".first"));
    snprintf(second, sizeof second, "%s", temp_file(".second"));
    snprintf(third, sizeof third, "%s", temp_file(".third"));
    lathe_train_params p = tiny(data, first, 32);
    check_ok(lathe_train_run(&p, &result, &err), err);
    assert_true(result.loss < 2.2); /* the source has entropy .2 log 64 + H(.2) = 1.33 */
    snprintf(model, sizeof model, "%s/model.gguf", first);
    /* Goes on where the first stopped, at twice the context. */
    lathe_train_params q = tiny(data, second, 8); /* the width is the file's */
    q.init = model;
    q.n_ctx = 64;
    q.rows = 4;
    q.schedule.total = 1;
    check_ok(lathe_train_run(&q, &result, &err), err);
    assert_true(result.loss < 1.9);
    assert_int_equal(result.n_params, 64 * 32 + 32 * 32 * 3 + 3 * 64 * 32 + 3 * 32);
    /* A narrower model learns from it: the divergence falls below a tenth of that at the start, log 64 - H.
     */
    lathe_train_params d = tiny(data, third, 16);
    d.distill = model;
    d.distill_weight = 1; /* of the teacher alone, no label */
    check_ok(lathe_train_run(&d, &result, &err), err);
    double kl = last_value(third, "kl");
    if (!(kl > 0 && kl < 0.28 && result.loss < 2.6))
        fail_msg("after 120 steps: divergence %.4f, cross entropy %.4f", kl, result.loss);
    /* Another vocabulary is refused. */
    int32_t few[200] = {0};
    const char *other = temp_file(".ltok");
    check_ok(lathe_tokens_write(other, few, 200, 65, NULL, &err), err);
    d.data = q.data = other;
    d.resume = q.resume = false;
    assert_int_equal(lathe_train_run(&d, &result, &err), LATHE_ERR_INPUT);
    assert_non_null(strstr(err.text, "64"));
    assert_int_equal(lathe_train_run(&q, &result, &err), LATHE_ERR_INPUT);
    clean(first);
    clean(second);
    clean(third);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(init_and_distill)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
