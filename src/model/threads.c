/* threads.c - how many threads a context uses where nobody said (engine.md 3.3): a short measurement at
 * start. */
#include <stdlib.h>
#include <string.h>

#include "base/machine.h"
#include "model/model_impl.h"

enum { PROBE_RUNS = 5, CANDIDATES_MAX = 8, PROBE_LAYERS = 12 };
static const double PROBE_SECONDS = 0.008, GIVE_UP = 3.0, WORTH_IT = 0.9;

/* A chain of products with the model's own matrices: T columns through layers' attention matrices. */
typedef struct probe {
    struct ggml_context *ctx;
    struct ggml_cgraph *gf;
    ggml_gallocr_t alloc;
} probe;

static bool probe_new(const lathe_context *c, int32_t n_tokens, probe *p) {
    const lathe_model *m = c->model;
    size_t n_nodes = 8 * PROBE_LAYERS;
    p->ctx = ggml_init((struct ggml_init_params){.mem_size = n_nodes * ggml_tensor_overhead() +
                                                             ggml_graph_overhead_custom(n_nodes, false),
                                                 .no_alloc = true});
    if (p->ctx == NULL)
        return false;
    p->gf = ggml_new_graph_custom(p->ctx, n_nodes, false);
    struct ggml_tensor *x = ggml_new_tensor_2d(p->ctx, GGML_TYPE_F32, m->desc.n_embd, n_tokens), *y = x;
    ggml_set_input(x);
    for (int32_t i = 0; i < PROBE_LAYERS; i++) {
        int32_t layer = i % m->desc.n_layer;
        if (m->layer_device[layer] != m->n_devices - 1)
            continue;
        const lathe_layer_weights *w = &m->weights.by_role.layers[layer];
        y = ggml_mul_mat(p->ctx, w->ffn_up, ggml_rms_norm(p->ctx, y, 1e-5f));
        if (y->ne[0] != m->desc.n_ff)
            y = ggml_cont(p->ctx, ggml_view_2d(p->ctx, y, m->desc.n_ff, n_tokens, y->nb[1], 0));
        y = ggml_mul_mat(p->ctx, w->ffn_down, y);
    }
    ggml_set_output(y);
    ggml_build_forward_expand(p->gf, y);
    p->alloc = ggml_gallocr_new(ggml_backend_get_default_buffer_type(lathe_device_backend(c->cpu)));
    if (p->alloc == NULL || !ggml_gallocr_alloc_graph(p->alloc, p->gf))
        return false;
    ggml_backend_tensor_memset(x, 0, 0, ggml_nbytes(x));
    return true;
}

static void probe_free(probe *p) {
    if (p->alloc != NULL)
        ggml_gallocr_free(p->alloc);
    if (p->ctx != NULL)
        ggml_free(p->ctx);
}

/* The second smallest time of a few runs (the smallest lies on noisy machines); a run above `limit` ends it.
 */
static double probe_time(const lathe_context *c, const probe *p, double limit) {
    double times[PROBE_RUNS], begin = lathe_now();
    int n = 0;
    while (n < PROBE_RUNS && (n < 2 || lathe_now() - begin < PROBE_SECONDS)) {
        double t0 = lathe_now();
        if (ggml_backend_graph_compute(lathe_device_backend(c->cpu), p->gf) != GGML_STATUS_SUCCESS)
            return 1e30;
        double t = lathe_now() - t0;
        if (t > limit && n > 0) /* the first run wakes the threads */
            return t;
        int i = n++;
        for (; i > 0 && times[i - 1] > t; i--)
            times[i] = times[i - 1];
        times[i] = t;
    }
    return times[n > 1 ? 1 : 0];
}

static int32_t choose(lathe_context *c, int32_t n_tokens, double *best_time, double *two_time) {
    probe p = {0};
    int32_t best = 1, cores = lathe_n_cores();
    *best_time = *two_time = 0.0;
    if (cores == 1)
        return 1;
    if (probe_new(c, n_tokens, &p) && lathe_device_set_threads(c->cpu, 1, NULL) == LATHE_OK) {
        double one = probe_time(c, &p, 1e30), fastest = one;
        for (int32_t n = 2; n <= cores; n = n * 2 <= cores || n == cores ? n * 2 : cores) {
            if (lathe_device_set_threads(c->cpu, n, NULL) != LATHE_OK)
                break;
            double t = probe_time(c, &p, GIVE_UP * one);
            *two_time = *two_time > 0.0 ? *two_time : t;
            if (t >= WORTH_IT * fastest)
                break;
            fastest = t;
            best = n;
        }
        *best_time = fastest;
    }
    probe_free(&p);
    return best;
}

lathe_status lathe_context_choose_threads(lathe_context *c, lathe_error *err) {
    if (c->n_threads > 0) {
        if (c->n_threads_prompt == 0)
            c->n_threads_prompt = c->n_threads;
        return lathe_device_set_threads(c->cpu, c->n_threads, err);
    }
    double best, two;
    int32_t prompt = c->n_threads_prompt;
    c->n_threads = choose(c, 1, &best, &two);
    lathe_log(&c->params.logger, LATHE_LOG_INFO,
              "threads: %d for decoding (measured %.0f us a graph; two threads %.0f us; -t N overrides)",
              c->n_threads, best * 1e6, two * 1e6);
    if (prompt == 0) {
        c->n_threads_prompt = choose(c, 64, &best, &two);
        lathe_log(&c->params.logger, LATHE_LOG_INFO,
                  "threads: %d for the prompt (measured %.0f us a graph; two threads %.0f us)",
                  c->n_threads_prompt, best * 1e6, two * 1e6);
    }
    return lathe_device_set_threads(c->cpu, c->n_threads, err);
}
