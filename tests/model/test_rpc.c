/* test_rpc.c - layers on two worker processes of this machine: the same text; who is not there is named. */
#include "support/check.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lathe/model.h"
#include "lathe/tensor.h"
#include "model/weights.h"

static lathe_error err;
static pid_t workers[2];
static char endpoints[2][32];

/* ggml keeps what it knows of a worker until the process ends. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) {
    return "leak:ggml_backend_rpc_\n";
}

/* A port that was free a moment ago. */
static int free_port(void) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t n = sizeof a;
    assert_true(fd >= 0 && bind(fd, (struct sockaddr *) &a, n) == 0 &&
                getsockname(fd, (struct sockaddr *) &a, &n) == 0);
    close(fd);
    return ntohs(a.sin_port);
}

static int start_workers(void **state) {
    (void) state;
    for (int i = 0; i < 2; i++) {
        snprintf(endpoints[i], sizeof endpoints[i], "127.0.0.1:%d", free_port());
        workers[i] = fork();
        if (workers[i] == 0) {
            FILE *quiet = freopen("/dev/null", "w", stdout);
            lathe_status status =
                quiet != NULL ? lathe_worker_serve(endpoints[i], NULL, 1, &err) : LATHE_ERR_IO;
            _exit((int) status);
        }
    }
    struct timespec wait = {.tv_nsec = 300000000};
    nanosleep(&wait, NULL);
    return 0;
}

static int stop_workers(void **state) {
    (void) state;
    for (int i = 0; i < 2; i++)
        if (workers[i] > 0) {
            kill(workers[i], SIGKILL);
            waitpid(workers[i], NULL, 0);
        }
    return 0;
}

static void greedy(const char *path, const char *rpc, int32_t *ids, int32_t n, float *last) {
    lathe_model_params mp = lathe_model_params_default();
    const float split[] = {2, 2, 1};
    mp.rpc = rpc;
    mp.split = rpc != NULL ? split : NULL;
    mp.n_split = rpc != NULL ? 3 : 0;
    lathe_model *m;
    check_ok(lathe_model_load(path, &mp, &m, &err), err);
    lathe_context_params p = lathe_context_params_default();
    p.n_threads = 1;
    p.type_k = p.type_v = LATHE_CACHE_F32;
    lathe_context *c;
    check_ok(lathe_context_new(m, &p, &c, &err), err);
    int32_t n_vocab = lathe_model_n_vocab(m);
    const int32_t prompt[] = {1, 403, 407, 261, 378};
    lathe_batch b = {.tokens = prompt, .n_tokens = 5};
    for (int32_t t = 0; t < n; t++) {
        check_ok(lathe_context_decode(c, &b, &err), err);
        const float *x = lathe_context_logits(c, -1);
        ids[t] = 0;
        for (int32_t i = 1; i < n_vocab; i++)
            ids[t] = x[i] > x[ids[t]] ? i : ids[t];
        b = (lathe_batch){.tokens = &ids[t], .n_tokens = 1};
    }
    memcpy(last, lathe_context_logits(c, -1), (size_t) n_vocab * sizeof(float));
    lathe_context_free(c);
    lathe_model_free(m);
}

static void two_workers_same_text(void **state) {
    (void) state;
    const char *path = need_shared("models/stories260K-f32.gguf");
    char rpc[80];
    snprintf(rpc, sizeof rpc, "%s,%s", endpoints[0], endpoints[1]);
    int32_t local[40], remote[40];
    float a[512], b[512];
    greedy(path, NULL, local, 40, a);
    greedy(path, rpc, remote, 40, b);
    assert_memory_equal(local, remote, sizeof local);
    assert_int_equal(local[0], 432);
    for (int i = 0; i < 512; i++)
        check_near(a[i], b[i], 2e-5);
}

static void nobody_there_is_named(void **state) {
    (void) state;
    char endpoint[32];
    snprintf(endpoint, sizeof endpoint, "127.0.0.1:%d", free_port());
    lathe_model_params mp = lathe_model_params_default();
    lathe_model *m;
    mp.rpc = endpoint;
    assert_int_equal(lathe_model_load(need_shared("models/stories260K-f32.gguf"), &mp, &m, &err),
                     LATHE_ERR_IO);
    assert_non_null(strstr(err.text, endpoint));
    mp.rpc = "no port";
    assert_int_equal(lathe_model_load(need_shared("models/stories260K-f32.gguf"), &mp, &m, &err),
                     LATHE_ERR_ARG);
    assert_int_equal(lathe_worker_serve("127.0.0.1", NULL, 1, &err), LATHE_ERR_ARG);
}

/* engine.md 10.2 */
static void layers_are_split_by_shares(void **state) {
    (void) state;
    int32_t device[8];
    lathe_split_layers(8, (double[]){3, 1}, 2, device);
    for (int i = 0; i < 8; i++)
        assert_int_equal(device[i], i < 6 ? 0 : 1);
    lathe_split_layers(5, (double[]){1, 1}, 2, device);
    for (int i = 0; i < 5; i++)
        assert_int_equal(device[i], i < 2 ? 0 : 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_workers_same_text),
        cmocka_unit_test(nobody_there_is_named),
        cmocka_unit_test(layers_are_split_by_shares),
    };
    return cmocka_run_group_tests(tests, start_workers, stop_workers);
}
