/* Whole runs of a tiny model: the loss at the start, overfitting, the same bits after being killed, refusals.
 */
#include "support/check.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lathe/train.h"
#include "train/net.h"

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

static lathe_train_params tiny(const char *data, const char *output) {
    lathe_train_params p = lathe_train_params_default();
    p.data = data;
    p.output = output;
    p.n_layer = 2;
    p.n_embd = 32;
    p.n_head = 4;
    p.n_head_kv = 2;
    p.n_ff = 64;
    p.n_ctx = 32;
    p.rows = 2;
    p.accum = 2;
    p.schedule = (lathe_schedule){LATHE_SCHEDULE_WSD, 5, 30, 0, 0.3};
    p.save_every = 3;
    p.resume = true;
    return p;
}

static void clean(const char *folder) {
    char command[4200];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    assert_int_equal(system(command), 0);
}

static char *contents(const char *folder, size_t *n) {
    char path[4200];
    snprintf(path, sizeof path, "%s/model.gguf", folder);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    char *bytes = malloc(1 << 20);
    assert_non_null(bytes);
    *n = fread(bytes, 1, 1 << 20, f);
    fclose(f);
    return bytes;
}

/* Killed with SIGKILL at many moments, resumed each time: the final model has the bytes of the undisturbed
 * run. */
static void survives_kill(void **state) {
    (void) state;
    lathe_error err = {0};
    lathe_train_result result;
    const char *data = data_file(), *whole = temp_file(".whole"), *killed = temp_file(".killed");
    lathe_train_params p = tiny(data, whole);
    check_ok(lathe_train_run(&p, &result, &err), err);
    assert_true(result.finished && result.step == 30);
    p.output = killed;
    lathe_rng rng = lathe_rng_new(11, 36, 0);
    for (int i = 0; i < 50; i++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0)
            _exit(lathe_train_run(&p, &result, NULL) == LATHE_OK ? 0 : 1);
        nanosleep(&(struct timespec){.tv_nsec = 2000000 + (long) lathe_rng_below(&rng, 60000000)}, NULL);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
    }
    check_ok(lathe_train_run(&p, &result, &err), err);
    assert_int_equal(result.step, 30);
    size_t a, b;
    char *x = contents(whole, &a), *y = contents(killed, &b);
    assert_int_equal(a, b);
    assert_memory_equal(x, y, a);
    p.n_embd = 64; /* a checkpoint of another shape is refused with both values */
    p.schedule.total = 40;
    assert_int_equal(lathe_train_run(&p, &result, &err), LATHE_ERR_ARG);
    assert_non_null(strstr(err.text, "embd=32"));
    free(x);
    free(y);
    clean(whole);
    clean(killed);
}

static bool exists(const char *folder, const char *name) {
    char path[8192];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return access(path, F_OK) == 0;
}

/* A rate that blows everything up: the step, the batch, the tensor and the last good checkpoint are named,
 * and the checkpoint is there. */
static void not_finite(void **state) {
    (void) state;
    lathe_error err = {0};
    lathe_train_result result;
    const char *folder = temp_file(".nan");
    lathe_train_params p = tiny(data_file(), folder);
    p.schedule = (lathe_schedule){LATHE_SCHEDULE_CONSTANT, 0, 3, 0, 0};
    check_ok(lathe_train_run(&p, &result, &err), err);
    p.schedule.total = 30;
    p.lr = 1e38;
    assert_int_equal(lathe_train_run(&p, &result, &err), LATHE_ERR_NUMERIC);
    if (strstr(err.text, "step 4") == NULL && strstr(err.text, "step 5") == NULL)
        fail_msg("%s", err.text);
    assert_non_null(strstr(err.text, "checkpoint-000003"));
    if (strstr(err.text, "micro-batch") == NULL && strstr(err.text, "gradient of '") == NULL)
        fail_msg("%s", err.text);
    assert_true(exists(folder, "checkpoint-000003/train.json"));
    clean(folder);
}

/* A newest checkpoint that was cut short is passed over with a warning; a full disk keeps the one before. */
static void warned(void *user, lathe_log_level level, const char *text) {
    if (level == LATHE_LOG_WARN && strstr(text, "incomplete") != NULL)
        *(int *) user += 1;
}
static void cut_and_full(void **state) {
    (void) state;
    lathe_error err = {0};
    lathe_train_result result;
    const char *folder = temp_file(".cut");
    char path[8192];
    int warnings = 0;
    lathe_train_params p = tiny(data_file(), folder);
    p.schedule = (lathe_schedule){LATHE_SCHEDULE_CONSTANT, 0, 6, 0, 0};
    check_ok(lathe_train_run(&p, &result, &err), err);
    snprintf(path, sizeof path, "%s/checkpoint-000006/state.gguf", folder);
    assert_int_equal(truncate(path, 1000), 0);
    p.logger = (lathe_logger){warned, &warnings};
    p.schedule.total = 7;
    check_ok(lathe_train_run(&p, &result, &err), err); /* from step 3 */
    assert_int_equal(warnings, 1);
    assert_int_equal(result.step, 7);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) { /* no file may grow beyond 4 KiB: as a full disk */
        signal(SIGXFSZ, SIG_IGN);
        const struct rlimit limit = {4096, 4096};
        p.schedule.total = 9;
        p.logger = (lathe_logger){0};
        bool refused =
            setrlimit(RLIMIT_FSIZE, &limit) == 0 && lathe_train_run(&p, &result, &err) == LATHE_ERR_IO;
        _exit(refused ? 0 : 1);
    }
    int code;
    waitpid(child, &code, 0);
    assert_true(WIFEXITED(code) && WEXITSTATUS(code) == 0);
    assert_true(exists(folder, "checkpoint-000007/train.json") && !exists(folder, "checkpoint-000009"));
    assert_true(exists(folder, "report.html") && exists(folder, "latest"));
    clean(folder);
}

/* One byte that changed in either file is an error with the file's name, for training and for what reads
 * states; the checkpoint holds the kernels. */
static void damaged(void **state) {
    (void) state;
    lathe_error err = {0};
    lathe_train_result result;
    const char *folder = temp_file(".crc"), *const files[] = {"model.gguf", "state.gguf"};
    lathe_train_params p = tiny(data_file(), folder);
    p.schedule = (lathe_schedule){LATHE_SCHEDULE_CONSTANT, 0, 3, 0, 0};
    check_ok(lathe_train_run(&p, &result, &err), err);
    p.schedule.total = 4;
    for (int i = 0; i < 2; i++) {
        char path[8192], part[64];
        snprintf(part, sizeof part, "checkpoint-000003/%s", files[i]);
        snprintf(path, sizeof path, "%s/%s", folder, part);
        FILE *f = fopen(path, "r+b");
        assert_non_null(f);
        assert_int_equal(fseek(f, -5000, SEEK_END), 0); /* among the tensors */
        int byte = fgetc(f);
        for (int back = 0; back < 2; back++) {
            assert_int_equal(fseek(f, -5000, SEEK_END), 0);
            fputc(back ? byte : byte ^ 4, f);
            fflush(f);
            if (back)
                continue;
            err = (lathe_error){0};
            assert_int_equal(lathe_train_run(&p, &result, &err), LATHE_ERR_INPUT);
            assert_non_null(strstr(err.text, part));
            snprintf(path, sizeof path, "%s/checkpoint-000003", folder);
            lathe_train_state *s;
            if (i == 1)
                assert_int_equal(lathe_train_state_open(path, &s, &err), LATHE_ERR_INPUT);
        }
        fclose(f);
    }
    err = (lathe_error){0};
    check_ok(lathe_train_run(&p, &result, &err), err);
    assert_int_equal(result.step, 4);
    char command[9000];
    snprintf(command, sizeof command, "grep -q 'product-dw 32 64 64: ' '%s/checkpoint-000004/state.gguf'",
             folder);
    assert_int_equal(system(command), 0);
    clean(folder);
}

/* Early stop, and the best checkpoint outlives the newest ones. */
static void stops_early(void **state) {
    (void) state;
    lathe_error err = {0};
    lathe_train_result result;
    const char *folder = temp_file(".early"), *data = data_file();
    lathe_train_params p = tiny(data, folder);
    p.eval_data = data;
    p.eval_every = p.save_every = 1;
    p.keep = 2;
    p.schedule = (lathe_schedule){LATHE_SCHEDULE_CONSTANT, 0, 200, 0, 0};
    p.lr = 2; /* it soon gets worse */
    p.patience = 4;
    check_ok(lathe_train_run(&p, &result, &err), err);
    assert_true(result.finished && result.step < 200);
    char name[64];
    snprintf(name, sizeof name, "checkpoint-%06d", (int) result.step - 4);
    assert_true(exists(folder, name)); /* the best, older than the two that are kept */
    snprintf(name, sizeof name, "checkpoint-%06d", (int) result.step - 3);
    assert_false(exists(folder, name));
    clean(folder);
}

static lathe_net *net_of(int rows, int ctx) {
    lathe_shape s = lathe_shape_default("llama");
    s.n_layer = 2;
    s.n_embd = 64;
    s.n_head = 4;
    s.n_head_kv = 2;
    s.n_ff = 128;
    s.n_vocab = 256;
    s.n_ctx = ctx;
    s.tied = true;
    lathe_desc desc;
    lathe_net *net;
    lathe_error err = {0};
    check_ok(lathe_desc_from_shape(&s, &desc, &err), err);
    check_ok(lathe_net_new(&desc, rows, ctx, 1, true, &net, &err), err);
    lathe_net_init(net, 42);
    return net;
}

/* Weights depend on (seed, name, index): the numbers of the specification, scaled by 1 / sqrt(fan in). */
static void initial_weights(void **state) {
    (void) state;
    const double z[5] = {1.4144564585, -2.1809657908, .6853287135, -.8662534666, -.4928292088};
    lathe_net *net = net_of(1, 16);
    bool found = false;
    for (size_t i = 0; i < lathe_net_n_tensors(net); i++)
        if (strcmp(lathe_net_tensor(net, i)->name, "blk.0.attn_q.weight") == 0) {
            found = true;
            for (int k = 0; k < 5; k++)
                check_near(lathe_net_weights(net, i)[k] * 8, z[k], 1e-6);
        }
    assert_true(found);
    lathe_net_free(net);
}

/* The gradient of the whole network against differences of the loss along it; log V at the start; one batch
 * of 8 x 64 bytes is learnt by heart in 200 AdamW steps. */
static void learns(void **state) {
    (void) state;
    enum { ROWS = 8, CTX = 64 };
    static int32_t tokens[ROWS * (CTX + 1)];
    lathe_rng rng = lathe_rng_new(3, 36, 0);
    for (int i = 0; i < ROWS * (CTX + 1); i++)
        tokens[i] = (int32_t) lathe_rng_below(&rng, 256);
    lathe_net *net = net_of(ROWS, CTX);
    lathe_error err = {0};
    double loss, up, down, slope = 0;
    check_ok(lathe_net_gradients(net, tokens, &loss, &err), err);
    check_near(loss, log(256), 0.1);
    const float h = 2e-3f;
    size_t n = lathe_net_n_tensors(net);
    float *dir[64];
    double norm = 0;
    for (size_t i = 0; i < n; i++)
        for (int64_t k = 0; k < lathe_net_size(net, i); k++)
            norm += (double) lathe_net_gradient(net, i)[k] * lathe_net_gradient(net, i)[k];
    norm = sqrt(norm);
    for (size_t i = 0; i < n; i++) {
        size_t size = (size_t) lathe_net_size(net, i);
        dir[i] = malloc(size * sizeof(float));
        assert_non_null(dir[i]);
        for (size_t k = 0; k < size; k++) {
            dir[i][k] = (float) (lathe_net_gradient(net, i)[k] / norm);
            slope += (double) dir[i][k] * lathe_net_gradient(net, i)[k];
            lathe_net_weights(net, i)[k] += h * dir[i][k];
        }
    }
    check_ok(lathe_net_loss(net, tokens, &up, &err), err);
    for (size_t i = 0; i < n; i++)
        for (int64_t k = 0; k < lathe_net_size(net, i); k++)
            lathe_net_weights(net, i)[k] -= 2 * h * dir[i][k];
    check_ok(lathe_net_loss(net, tokens, &down, &err), err);
    check_near_rel((up - down) / (2 * h), slope, 2e-2);
    lathe_optim o = lathe_optim_default(LATHE_OPTIM_ADAMW);
    o.weight_decay = 0;
    float *states[64];
    for (size_t i = 0; i < n; i++) {
        free(dir[i]);
        states[i] = calloc((size_t) lathe_net_size(net, i) * 2, sizeof(float));
        assert_non_null(states[i]);
    }
    for (int t = 1; t <= 200; t++) {
        check_ok(lathe_net_gradients(net, tokens, &loss, &err), err);
        for (size_t i = 0; i < n; i++)
            check_ok(lathe_optim_step(&o, "w", lathe_net_weights(net, i), lathe_net_gradient(net, i),
                                      states[i], 1, lathe_net_size(net, i), t, 1e-2, &err),
                     err);
    }
    for (size_t i = 0; i < n; i++)
        free(states[i]);
    if (!(loss < 0.05))
        fail_msg("one batch after 200 steps: loss %.4f", loss);
    lathe_net_free(net);
}

/* Every family of the builder can be trained: its gradient agrees with a difference of the loss along it. */
static void families(void **state) {
    (void) state;
    const lathe_family *family;
    for (size_t f = 0; (family = lathe_family_at(f)) != NULL; f++) {
        lathe_shape s = lathe_shape_default(family->name);
        s.n_layer = 2;
        s.n_embd = 32;
        s.n_head = 4;
        s.n_head_kv = family->head_count_kv_equal ? 4 : 2;
        s.n_ff = 48;
        s.n_vocab = 40;
        s.n_ctx = 12;
        s.window = family->window_period > 0 ? 5 : 0;
        s.tied = family->output != LATHE_MUST;
        lathe_desc desc;
        lathe_net *net;
        lathe_error err = {0};
        int32_t tokens[2 * 13];
        for (int i = 0; i < 2 * 13; i++)
            tokens[i] = i * 17 % 40;
        check_ok(lathe_desc_from_shape(&s, &desc, &err), err);
        check_ok(lathe_net_new(&desc, 2, 12, 1, true, &net, &err), err);
        lathe_net_init(net, 9);
        double loss, up, down, norm = 0;
        check_ok(lathe_net_gradients(net, tokens, &loss, &err), err);
        size_t n = lathe_net_n_tensors(net);
        for (size_t i = 0; i < n; i++)
            for (int64_t k = 0; k < lathe_net_size(net, i); k++)
                norm += (double) lathe_net_gradient(net, i)[k] * lathe_net_gradient(net, i)[k];
        norm = sqrt(norm);
        float h = (float) (3e-3 / norm);
        for (size_t i = 0; i < n; i++)
            for (int64_t k = 0; k < lathe_net_size(net, i); k++)
                lathe_net_weights(net, i)[k] += h * lathe_net_gradient(net, i)[k];
        check_ok(lathe_net_loss(net, tokens, &up, &err), err);
        for (size_t i = 0; i < n; i++)
            for (int64_t k = 0; k < lathe_net_size(net, i); k++)
                lathe_net_weights(net, i)[k] -= 2 * h * lathe_net_gradient(net, i)[k];
        check_ok(lathe_net_loss(net, tokens, &down, &err), err);
        double slope = (up - down) / 6e-3;
        if (!(norm > 1e-3 && fabs(slope - norm) < 2e-2 * norm))
            fail_msg("%s: slope along the gradient %.6g, its length %.6g", family->name, slope, norm);
        lathe_net_free(net);
    }
    assert_true(family == NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(survives_kill), cmocka_unit_test(not_finite),
                                       cmocka_unit_test(cut_and_full),  cmocka_unit_test(damaged),
                                       cmocka_unit_test(stops_early),   cmocka_unit_test(initial_weights),
                                       cmocka_unit_test(learns),        cmocka_unit_test(families)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
