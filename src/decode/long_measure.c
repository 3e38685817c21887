/* long_measure.c - drafts for long texts measured: plain decoding and greedy rounds behind the same text, in
 * turn, and what a model of bytes read says of them. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/machine.h"
#include "base/stats.h"
#include "decode/proposer.h"
#include "model/longspec_run.h"
#include "model/sparse.h"

enum { REPEATS_MAX = 16, PREDICT_MAX = 4096 };

lathe_long_params lathe_long_params_default(void) {
    return (lathe_long_params){.struct_size = sizeof(lathe_long_params),
                               .length = 4,
                               .n_predict = 64,
                               .repeats = 1,
                               .std_budget = 1024,
                               .std_queries = 64};
}

/* --- The model of bytes ---------------------------------------------------------------------------- */

double lathe_io_speedup(const lathe_io_model *io, double n, int32_t length, double alpha) {
    const double plain = io->weights + io->batch * io->kv * n;
    const double draft = io->draft_weights + io->batch * io->kv * io->draft_rows;
    return (alpha * length + 1) * plain / (length * draft + io->verify * plain);
}

double lathe_io_break_even(const lathe_io_model *io, double alpha) {
    if (!(alpha > 0))
        return HUGE_VAL;
    const double n =
        ((io->weights + io->batch * io->kv * io->draft_rows) / alpha - io->weights) / (io->batch * io->kv);
    return n > io->draft_rows ? n : io->draft_rows;
}

/* --- Plain decoding and rounds --------------------------------------------------------------------- */

typedef struct measuring {
    lathe_context *c;
    const lathe_long_params *p;
    const lathe_proposer *proposer;
    void *state;
    lathe_sampler *sampler;
    lathe_token_tree tree;
    int32_t *ids;   /* [n + n_predict + length + 1] */
    int32_t n;      /* of the text */
    int32_t *plain; /* [n_predict] */
    float *margins; /* [n_predict] plain's best logit above its second */
    lathe_long_result *r;
} measuring;

static int32_t best_of(const float *x, int32_t n) {
    int32_t best = 0;
    for (int32_t i = 1; i < n; i++)
        if (x[i] > x[best])
            best = i;
    return best;
}

static lathe_status plain_run(measuring *m, double *seconds, lathe_error *err) {
    const int32_t V = lathe_model_n_vocab(lathe_context_model(m->c));
    const double begin = lathe_now();
    lathe_status st = LATHE_OK;
    for (int32_t i = 0; i < m->p->n_predict && !st; i++) {
        st = lathe_context_decode(m->c, &(lathe_batch){.tokens = m->ids + m->n + i - 1, .n_tokens = 1}, err);
        if (st)
            break;
        const float *x = lathe_context_logits(m->c, -1);
        const int32_t best = best_of(x, V);
        float second = -INFINITY;
        for (int32_t k = 0; k < V; k++)
            if (k != best && x[k] > second)
                second = x[k];
        m->margins[i] = x[best] - second;
        m->plain[i] = m->ids[m->n + i] = best;
    }
    *seconds = lathe_now() - begin;
    return st ? st : lathe_context_rollback(m->c, 0, m->n - 1, err);
}

typedef struct run_times {
    double total, draft, verify, begin;
    int64_t drafted, rounds;
} run_times;

/* One greedy round behind ids [n]; emitted tokens go behind them. */
static lathe_status round_of(measuring *m, int32_t n, int32_t most, int32_t *n_emitted, run_times *t,
                             lathe_error *err) {
    const int32_t V = lathe_model_n_vocab(lathe_context_model(m->c));
    uint8_t want[LATHE_TREE_NODES_MAX];
    const double begin = lathe_now();
    lathe_status st = m->proposer->sync(m->state, m->ids, n, err);
    const double synced = lathe_now();
    lathe_token_tree_start(&m->tree, m->ids[n - 1]);
    const lathe_draft_request request = {.n_max = most, .law = LATHE_LAW_POINT, .sampler = m->sampler};
    if (!st)
        st = m->proposer->propose(m->state, &request, &m->tree, err);
    if (st)
        return st;
    const int32_t rows = m->tree.n_nodes;
    const double drafted = lathe_now();
    memset(want, 1, (size_t) rows);
    const bool chain = lathe_token_tree_is_chain(&m->tree);
    st = lathe_context_decode(
        m->c,
        &(lathe_batch){
            .tokens = m->tree.token, .parent = chain ? NULL : m->tree.parent, .want = want, .n_tokens = rows},
        err);
    if (st)
        return st;
    int32_t path[LATHE_LONG_LENGTH_MAX + 2] = {0}, depth = 0;
    for (int32_t node = 0;;) { /* to the child that is the target's own choice */
        const int32_t best = best_of(lathe_context_logits(m->c, node), V);
        m->ids[n + depth] = best;
        const int32_t child = lathe_token_tree_child(&m->tree, node, best);
        const bool grew = lathe_token_tree_depth(&m->tree) > depth;
        if (grew && depth < LATHE_LONG_LENGTH_MAX)
            m->r->reached[depth + 1]++;
        if (child < 0)
            break;
        depth++;
        m->r->accepted_at[depth]++;
        path[depth] = child;
        node = child;
        if (depth >= LATHE_LONG_LENGTH_MAX) {
            m->ids[n + depth] = best_of(lathe_context_logits(m->c, node), V);
            break;
        }
    }
    st = chain ? lathe_context_rollback(m->c, 0, n + depth, err)
               : lathe_context_keep_path(m->c, path, depth + 1, err);
    const double done = lathe_now();
    if (t->rounds == 0)
        t->begin = synced - begin; /* the text's own beginning: rows are chosen, the window is read */
    else
        t->draft += synced - begin;
    t->draft += drafted - synced;
    t->verify += done - drafted;
    t->total += done - begin;
    t->drafted += rows - 1;
    t->rounds++;
    m->r->rounds++;
    m->r->proposed += rows - 1;
    m->r->accepted += depth;
    m->r->emitted += depth + 1;
    *n_emitted = depth + 1;
    return st;
}

static lathe_status spec_run(measuring *m, run_times *t, lathe_error *err) {
    lathe_status st = LATHE_OK;
    *t = (run_times){0};
    int32_t n = m->n;
    const int32_t end = m->n + m->p->n_predict;
    while (n < end && !st) {
        int32_t emitted = 0;
        int32_t most = m->p->length, left = end - n - 1;
        if (m->p->tree == NULL && most > left)
            most = left;
        st = round_of(m, n, most, &emitted, t, err);
        n += emitted;
    }
    for (int32_t i = 0; i < m->p->n_predict && !st && m->r->first_difference < 0; i++)
        if (m->ids[m->n + i] != m->plain[i]) {
            m->r->first_difference = i;
            m->r->same_text = false;
            m->r->margin = m->margins[i];
        }
    return st ? st : lathe_context_rollback(m->c, 0, m->n - 1, err);
}

/* --- Sums ------------------------------------------------------------------------------------------- */

static void sum_up(measuring *m, double *plain, double *spec, const run_times *all, int32_t repeats) {
    lathe_long_result *r = m->r;
    const double n_predict = m->p->n_predict;
    double draft = 0, verify = 0, begins[REPEATS_MAX];
    int64_t drafted = 0, rounds = 0;
    for (int32_t i = 0; i < repeats; i++) {
        draft += all[i].draft;
        verify += all[i].verify;
        drafted += all[i].drafted;
        rounds += all[i].rounds;
        spec[i] -= all[i].begin;
        begins[i] = all[i].begin;
    }
    r->plain_s = lathe_median(plain, (size_t) repeats) / n_predict;
    r->begin_s = lathe_median(begins, (size_t) repeats);
    r->draft_s = drafted > 0 ? draft / (double) drafted : 0;
    r->verify_s = rounds > 0 ? verify / (double) rounds : 0;
    r->speedup = r->plain_s * n_predict / lathe_median(spec, (size_t) repeats);
    const double tau = (double) r->emitted / (double) r->rounds,
                 gamma = (double) r->proposed / (double) r->rounds;
    r->model_speedup = tau * r->plain_s / (gamma * r->draft_s + r->verify_s);
    const lathe_model *target = lathe_context_model(m->c);
    const double n_layer = lathe_model_n_layer(target);
    lathe_io_model io = {.weights = (double) r->weights_bytes,
                         .kv = (double) lathe_context_row_bytes(m->c),
                         .batch = 1,
                         .verify = 1};
    if (m->proposer == &lathe_proposer_std) {
        io.draft_weights = io.weights;
        io.draft_rows = m->p->std_budget < r->n_ctx ? m->p->std_budget : r->n_ctx;
    } else {
        /* The block is about a layer; the head is the target's. */
        io.draft_weights = (double) r->weights_bytes / n_layer + (double) lathe_longspec_head_bytes(target);
        io.draft_rows = r->n_ctx / n_layer;
    }
    r->io_speedup =
        gamma > 0 ? lathe_io_speedup(&io, r->n_ctx, (int32_t) lround(gamma), (tau - 1) / gamma) : 1;
}

static lathe_status check(const lathe_context *c, int32_t n, const lathe_long_params *p, lathe_error *err) {
    if (p->struct_size != sizeof *p || p->proposer == NULL)
        return lathe_fail(err, LATHE_ERR_ARG, "a measurement needs a proposer: std or longspec:FILE");
    if (p->length < 1 || p->length > LATHE_LONG_LENGTH_MAX || p->n_predict < 1 ||
        p->n_predict > PREDICT_MAX || p->repeats < 1 || p->repeats > REPEATS_MAX)
        return lathe_fail(err, LATHE_ERR_ARG,
                          "%d drafts, %d tokens, %d repeats; 1 to %d, 1 to %d, 1 to %d are right",
                          (int) p->length, (int) p->n_predict, (int) p->repeats, (int) LATHE_LONG_LENGTH_MAX,
                          (int) PREDICT_MAX, (int) REPEATS_MAX);
    if (n < 2 || lathe_context_n_past(c, 0) != n - 1 || n + p->n_predict + p->length > lathe_context_n_ctx(c))
        return lathe_fail(
            err, LATHE_ERR_ARG,
            "a text of %d tokens and %d to come in a context of %d that holds %d; all but the last of the "
            "text, and room for the rest, are wanted",
            n, (int) p->n_predict, lathe_context_n_ctx(c), lathe_context_n_past(c, 0));
    return LATHE_OK;
}

static lathe_status open_proposer(measuring *m, const char *file, lathe_error *err) {
    lathe_proposer_params pp = lathe_proposer_params_default();
    pp.n_vocab = lathe_model_n_vocab(lathe_context_model(m->c));
    pp.file = file;
    pp.target = lathe_context_model(m->c);
    pp.context = m->c;
    pp.tree = m->p->tree;
    pp.logger = m->p->logger;
    pp.std_budget = m->p->std_budget;
    pp.std_queries = m->p->std_queries;
    pp.std_rule = m->p->std_rule;
    pp.span_begin = m->p->span_begin;
    pp.span_end = m->p->span_end;
    return m->proposer->create(&pp, &m->state, err);
}

lathe_status lathe_long_measure(lathe_context *context, const int32_t *ids, int32_t n,
                                const lathe_long_params *params, lathe_long_result *result,
                                lathe_error *err) {
    lathe_long_result r = {.n_ctx = n, .first_difference = -1, .same_text = true, .kept_mass = NAN};
    measuring m = {.c = context, .p = params, .n = n, .r = &r};
    const char *file = NULL;
    lathe_status st = check(context, n, params, err);
    if (!st)
        st = lathe_proposer_find(params->proposer, &m.proposer, &file, err);
    if (!st && !m.proposer->propose)
        st = lathe_fail(err, LATHE_ERR_ARG,
                        "'%s' does not draft with the target's cache; std and longspec:FILE do",
                        m.proposer->name);
    if (st)
        return st;
    lathe_sampler_params sp = lathe_sampler_params_default();
    sp.temp = 0;
    const int32_t n_vocab = lathe_model_n_vocab(lathe_context_model(context));
    st = lathe_sampler_new(NULL, n_vocab, &sp, &m.sampler, err);
    if (!st)
        st = lathe_token_tree_init(&m.tree, params->tree ? LATHE_TREE_NODES_MAX : params->length + 1, n_vocab,
                                   err);
    m.ids = malloc((size_t) (n + params->n_predict + LATHE_LONG_LENGTH_MAX + 2) * sizeof *m.ids);
    m.plain = malloc((size_t) params->n_predict * sizeof *m.plain);
    m.margins = malloc((size_t) params->n_predict * sizeof *m.margins);
    if (!st && (!m.ids || !m.plain || !m.margins))
        st = lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a text of %d tokens", n);
    double plain[REPEATS_MAX], spec[REPEATS_MAX];
    run_times times[REPEATS_MAX];
    if (!st)
        memcpy(m.ids, ids, (size_t) n * sizeof *ids);
    for (int32_t i = 0; i < params->repeats && !st; i++) {
        st = plain_run(&m, &plain[i], err);
        if (!st)
            st = open_proposer(&m, file, err);
        if (!st)
            st = spec_run(&m, &times[i], err);
        spec[i] = times[i].total;
        if (!st && m.proposer == &lathe_proposer_std)
            r.kept_mass = lathe_std_kept_mass(m.state);
        if (!st && m.proposer->bytes)
            r.draft_bytes = m.proposer->bytes(m.state);
        if (m.state)
            m.proposer->destroy(m.state);
        m.state = NULL;
    }
    if (!st) {
        r.weights_bytes = lathe_model_weights_bytes(lathe_context_model(context));
        r.target_bytes = lathe_context_row_bytes(context) * n;
        sum_up(&m, plain, spec, times, params->repeats);
        *result = r;
    }
    lathe_token_tree_free(&m.tree);
    lathe_sampler_free(m.sampler);
    free(m.ids);
    free(m.plain);
    free(m.margins);
    return st;
}

lathe_status lathe_spec_convert_longspec(const char *safetensors, const char *target, int32_t window,
                                         const char *path, int64_t *n_params, lathe_error *err) {
    return lathe_longspec_convert(safetensors, target, window, path, n_params, err);
}
