/* threads.c - how many threads a context uses where nobody said (engine.md 3.3): a short measurement at
 * start, and a watch while running. On shared virtual processors a second spinning thread can cost
 * milliseconds a barrier. */
#include <stdlib.h>
#include <string.h>

#include "base/machine.h"
#include "model/model_impl.h"

enum { PROBE_RUNS = 5, PROBE_NODES = 12, TRIAL_EVERY = 256, TRIAL_TOKENS = 3 };
static const double PROBE_SECONDS = 0.008, GIVE_UP = 3.0, WORTH_IT = 0.9, STALL = 4.0, BACK_OFF_MIN = 2.0,
                    BACK_OFF_MAX = 60.0;
/* Multiplications in one run of the probe, for decoding and for the prompt: about a millisecond. */
static const double PROBE_WORK_DECODE = 4e6, PROBE_WORK_PROMPT = 32e6;

/* --- Before the first token ---------------------------------------------------------------------- */

/* Products of the model's own matrices with T columns: packed ones whole, as our kernels take them, until
 * they are work enough; of others some rows. */
typedef struct probe {
    struct ggml_context *ctx;
    struct ggml_cgraph *gf;
    ggml_gallocr_t alloc;
    double deadline;
} probe;

static bool probe_new(const lathe_context *c, int32_t n_tokens, probe *p) {
    const lathe_model *m = c->model;
    size_t n_nodes = 6 * PROBE_NODES;
    p->ctx = ggml_init((struct ggml_init_params){.mem_size = n_nodes * ggml_tensor_overhead() +
                                                             ggml_graph_overhead_custom(n_nodes, false),
                                                 .no_alloc = true});
    if (p->ctx == NULL)
        return false;
    p->gf = ggml_new_graph_custom(p->ctx, n_nodes, false);
    struct ggml_tensor *x = ggml_new_tensor_2d(p->ctx, GGML_TYPE_F32, m->desc.n_embd, n_tokens);
    ggml_set_input(x);
    double work = n_tokens == 1 ? PROBE_WORK_DECODE : PROBE_WORK_PROMPT, done = 0.0;
    int64_t rows = (int64_t) (work / PROBE_NODES / ((double) m->desc.n_embd * n_tokens));
    for (int32_t i = 0; i < PROBE_NODES && done < work; i++) {
        int32_t layer = i % m->desc.n_layer;
        struct ggml_tensor *w = m->weights.by_role.layers[layer].ffn_up, *y = NULL;
        if (m->layer_device[layer] != m->n_devices - 1)
            continue;
        if (c->kernels.linear != NULL)
            y = c->kernels.linear(c->kernels.user, p->ctx, w, x);
        if (y == NULL) {
            int64_t n = rows < 32 ? 32 : rows;
            n = n < w->ne[1] ? n : w->ne[1];
            y = ggml_mul_mat(p->ctx, ggml_view_2d(p->ctx, w, w->ne[0], n, w->nb[1], 0), x);
        }
        done += (double) w->ne[0] * (double) y->ne[0] * n_tokens;
        ggml_set_output(y);
        ggml_build_forward_expand(p->gf, y);
    }
    p->alloc = done > 0.0
                   ? ggml_gallocr_new(ggml_backend_get_default_buffer_type(lathe_device_backend(c->cpu)))
                   : NULL;
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

static bool too_late(void *user) {
    return lathe_now() > ((const probe *) user)->deadline;
}

/* The second smallest time of a few runs (the smallest lies on noisy machines); a run that takes longer than
 * `limit` ends the measurement between two nodes. */
static double probe_time(const lathe_context *c, probe *p, double limit) {
    double times[PROBE_RUNS], begin = lathe_now();
    int n = 0;
    lathe_device_set_abort(c->cpu, too_late, p);
    while (n < PROBE_RUNS && (n < 2 || lathe_now() - begin < PROBE_SECONDS)) {
        double t0 = lathe_now();
        p->deadline = t0 + limit;
        if (ggml_backend_graph_compute(lathe_device_backend(c->cpu), p->gf) != GGML_STATUS_SUCCESS) {
            lathe_device_set_abort(c->cpu, NULL, NULL);
            return lathe_now() - t0;
        }
        double t = lathe_now() - t0;
        int i = n++;
        for (; i > 0 && times[i - 1] > t; i--)
            times[i] = times[i - 1];
        times[i] = t;
    }
    lathe_device_set_abort(c->cpu, NULL, NULL);
    return times[n > 1 ? 1 : 0];
}

static int32_t choose(lathe_context *c, int32_t n_tokens, double *best_time, double *two_time) {
    probe p = {0};
    int32_t best = 1, cores = lathe_n_cores();
    *best_time = *two_time = 0.0;
    if (cores == 1)
        return 1;
    if (probe_new(c, n_tokens, &p) && lathe_device_set_threads(c->cpu, 1, NULL) == LATHE_OK) {
        double one = probe_time(c, &p, 1.0), fastest = one;
        for (int32_t n = 2; n <= cores; n = n == cores ? cores + 1 : n * 2 < cores ? n * 2 : cores) {
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
    c->n_threads = choose(c, 1, &best, &two);
    lathe_log(&c->params.logger, LATHE_LOG_INFO,
              "threads: %d for decoding (measured %.0f us; two threads %.0f us; -t N overrides)",
              c->n_threads, best * 1e6, two * 1e6);
    if (c->n_threads_prompt == 0) {
        c->n_threads_prompt = choose(c, 64, &best, &two);
        lathe_log(&c->params.logger, LATHE_LOG_INFO,
                  "threads: %d for the prompt (measured %.0f us; two threads %.0f us)", c->n_threads_prompt,
                  best * 1e6, two * 1e6);
    }
    c->watch.on = lathe_n_cores() > 1;
    return lathe_device_set_threads(c->cpu, c->n_threads, err);
}

/* --- While running ------------------------------------------------------------------------------- */

static double median(const double *x, int n) {
    double s[LATHE_WATCH_TIMES];
    for (int i = 0; i < n; i++) {
        int j = i;
        for (; j > 0 && s[j - 1] > x[i]; j--)
            s[j] = s[j - 1];
        s[j] = x[i];
    }
    return s[n / 2];
}

static void change(lathe_context *c, int32_t n, const char *why) {
    lathe_log(&c->params.logger, LATHE_LOG_INFO, "threads: %d for decoding from here on (%s)", n, why);
    c->n_threads = n;
    c->watch.n = 0;
}

static void back_off(lathe_thread_watch *w, double now) {
    w->back_off = w->back_off < BACK_OFF_MIN         ? BACK_OFF_MIN
                  : w->back_off * 2.0 < BACK_OFF_MAX ? w->back_off * 2.0
                                                     : BACK_OFF_MAX;
    w->quiet_until = now + w->back_off;
}

void lathe_context_watch_threads(lathe_context *c, double seconds) {
    lathe_thread_watch *w = &c->watch;
    if (!w->on)
        return;
    double now = lathe_now();
    if (w->n_before > 0) { /* a trial of more threads: the first token wakes them */
        w->trial[w->n_trial++] = seconds;
        bool stalled = seconds > STALL * w->before;
        if (w->n_trial < TRIAL_TOKENS && !stalled)
            return;
        double t = w->trial[w->n_trial - 1] < w->trial[w->n_trial > 1 ? 1 : 0]
                       ? w->trial[w->n_trial - 1]
                       : w->trial[w->n_trial > 1 ? 1 : 0];
        int32_t before = w->n_before;
        w->n_before = 0;
        if (stalled || t >= WORTH_IT * w->before) {
            c->n_threads = before;
            back_off(w, now);
        } else {
            w->back_off = 0.0;
            change(c, c->n_threads, "measured faster");
        }
        return;
    }
    w->times[w->n++ % LATHE_WATCH_TIMES] = seconds;
    if (w->n < 8)
        return;
    int n_held = w->n < LATHE_WATCH_TIMES ? w->n : LATHE_WATCH_TIMES;
    if (c->n_threads > 1) {
        double usual = median(w->times, n_held);
        int stalls = 0;
        for (int i = 1; i <= 8; i++)
            stalls += w->times[(w->n - i) % LATHE_WATCH_TIMES] > STALL * usual;
        if (stalls >= 2) {
            back_off(w, now);
            change(c, c->n_threads / 2, "barriers stall");
            return;
        }
    }
    if (w->n % TRIAL_EVERY == 0 && now >= w->quiet_until && c->n_threads * 2 <= lathe_n_cores()) {
        w->before = median(w->times, n_held);
        w->n_before = c->n_threads;
        w->n_trial = 0;
        c->n_threads *= 2;
    }
}
