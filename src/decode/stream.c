/* stream.c - many prompts, several sequences in one verify batch.
 *
 * Each lane is a guest session with sources of its own. In every round each lane offers a draft
 * (stream_draft.c), the slots of all lanes compete for rows by their probability of being accepted (slots.h),
 * one forward pass computes them, and each lane's sampler follows its own draft. The gate watches the batch
 * as a whole: a round without drafts is what it prices, in units of such a round. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/machine.h"
#include "decode/slots.h"
#include "decode/stream.h"

/* --- Lanes --------------------------------------------------------------------------------------- */

static lathe_status open_lane(lathe_stream *t, int32_t i, lathe_error *err) {
    lathe_lane *l = &t->lanes[i];
    lathe_session_params params = *t->params->answer;
    lathe_status status = lathe_session_guest(t->host, i, t->params->n_ctx, &params, &l->session, err);
    if (!status)
        status =
            lathe_token_tree_init(&l->tree, LATHE_LANE_DRAFTS + 1, lathe_model_n_vocab(t->host->model), err);
    if (!status && t->params->spec) {
        lathe_spec_params spec = *t->params->spec;
        spec.gate = 0;
        spec.on_round = NULL;
        const lathe_spec_lanes lanes = {.first = i > 0 ? t->lanes[0].spec : NULL, .n = t->n_lanes};
        status = lathe_session_spec_beside(l->session, &spec, &lanes, err);
        if (!status)
            l->spec = l->session->step.state;
        if (l->spec)
            l->spec->priced = true; /* costs are the batch's */
        if (!status && l->spec->verifier != &lathe_verifier_match &&
            l->spec->verifier != &lathe_verifier_greedy)
            status = lathe_fail(
                err, LATHE_ERR_UNSUPPORTED,
                "several sequences at once are verified by match or greedy, not by %s; use --parallel 1",
                l->spec->verifier->name);
    }
    return status;
}

static lathe_status admit_prompt(lathe_stream *t, lathe_lane *l, lathe_error *err) {
    const lathe_stream_prompt *prompt = &t->prompts[t->next];
    lathe_sampler_params sampler = t->params->answer->sampler;
    sampler.seed = prompt->seed;
    lathe_session_clear(l->session);
    lathe_status status = lathe_session_set_sampler(l->session, &sampler, err);
    l->session->print = t->params->text;
    l->session->print_user = prompt->user;
    l->began = lathe_now();
    if (!status)
        status = lathe_session_begin(l->session, prompt->ids, prompt->n_ids, err);
    if (status)
        return err ? lathe_fail_within(err, "prompt %zu", t->next + 1) : status;
    l->session->stats.prefill_s = lathe_now() - l->began;
    l->began = lathe_now();
    l->index = t->next++;
    l->busy = true;
    t->n_busy++;
    return LATHE_OK;
}

static lathe_status finish(lathe_stream *t, lathe_lane *l, lathe_error *err) {
    l->session->stats.decode_s = lathe_now() - l->began;
    const lathe_status status = lathe_session_end(l->session, err);
    l->busy = false;
    t->n_busy--;
    t->params->tokens += l->session->stats.n_predicted;
    if (!status && t->params->done && !t->params->done(t->params->user, l->index, l->session))
        return lathe_fail(err, LATHE_ERR_CANCELLED, "interrupted");
    lathe_context_clear(t->host->context, l->session->seq);
    return status;
}

/* --- A round ------------------------------------------------------------------------------------- */

/* Drafts of all busy lanes, and how many of each are computed. */
static lathe_status plan(lathe_stream *t, lathe_error *err) {
    double most = INFINITY;
    int32_t n = 0;
    lathe_gate *gate = &t->gates[t->n_busy];
    for (int32_t i = 0; i < t->n_lanes; i++) {
        lathe_lane *l = &t->lanes[i];
        l->source = NULL;
        if (l->busy)
            lathe_token_tree_start(&l->tree, l->session->ids[l->session->n_ids - 1]);
    }
    if (!t->params->spec)
        return LATHE_OK;
    if (t->use_gate) {
        if (lathe_gate_probe_due(gate)) {
            gate->probes++;
            return LATHE_OK;
        }
        most = lathe_gate_most(gate);
    }
    const double base = lathe_cost_verify(&t->cost.model, t->n_busy);
    if (lathe_cost_verify(&t->cost.model, t->n_busy + 1) / base > most) {
        gate->refused++;
        return LATHE_OK;
    }
    const lathe_status status = lathe_stream_draft(t, err);
    if (status)
        return status;
    for (int32_t i = 0; i < t->n_lanes; i++)
        if (t->lanes[i].busy)
            t->n_drafts[n++] = t->lanes[i].source ? t->lanes[i].n_drafts : 0;
    const double latency = t->params->latency < most ? t->params->latency : most;
    /* A fixed arm drafts whether it pays or not; only what the others would wait for it limits it. */
    const bool fixed = t->lanes[0].spec->controller == &lathe_controller_fixed;
    const double rho = fixed ? 0.0 : t->costs > 0.0 ? t->tokens / t->costs : 1.0;
    if (lathe_slots_admit(t->A, t->n_drafts, n, LATHE_LANE_DRAFTS, rho, latency,
                          lathe_context_n_batch(t->host->context), &t->cost.model, t->admitted) < 0)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for the slots of a batch");
    for (int32_t i = 0, k = 0; i < t->n_lanes; i++)
        if (t->lanes[i].busy && t->lanes[i].source)
            lathe_spec_source_pick(t->lanes[i].source, t->admitted[k++], &t->lanes[i].tree);
        else
            k += t->lanes[i].busy;
    return LATHE_OK;
}

/* The trees of all busy lanes one behind the other; how many rows. */
static int32_t fill_batch(lathe_stream *t) {
    int32_t n = 0;
    t->has_tree = false;
    for (int32_t i = 0; i < t->n_lanes; i++) {
        lathe_lane *l = &t->lanes[i];
        if (!l->busy)
            continue;
        const lathe_token_tree *tree = &l->tree;
        t->has_tree = t->has_tree || !lathe_token_tree_is_chain(tree);
        l->first = n;
        l->n_past = lathe_context_n_past(t->host->context, l->session->seq);
        for (int32_t k = 0; k < tree->n_nodes; k++, n++) {
            t->batch_tokens[n] = tree->token[k];
            t->batch_seq[n] = l->session->seq;
            t->batch_parent[n] = k > 0 ? l->first + tree->parent[k] : -1;
        }
    }
    return n;
}

static lathe_verdict *verdict_of(lathe_lane *l) {
    return l->spec ? &l->spec->verdict : &l->plain;
}

/* What the lane's sampler keeps. */
static lathe_status judge(lathe_lane *l, lathe_error *err) {
    lathe_session *session = l->session;
    if (l->spec) {
        l->spec->round_began = session->n_ids;
        const lathe_status status =
            lathe_session_reserve(session, session->n_ids + LATHE_LANE_DRAFTS + 1, err);
        return status ? status : lathe_spec_follow(l->spec, session, &l->tree, l->first, err);
    }
    int32_t id = 0;
    const lathe_status status =
        lathe_sampler_draw(session->sampler, lathe_context_logits(session->context, l->first), session->ids,
                           session->n_ids, &id, err);
    memset(&l->plain, 0, sizeof l->plain);
    lathe_verdict_end(&l->plain, id);
    return status;
}

/* Leaves in the cache the pending token and the kept path of every lane. */
static lathe_status commit(lathe_stream *t, lathe_error *err) {
    lathe_status status = LATHE_OK;
    int32_t n = 0;
    for (int32_t i = 0; !status && i < t->n_lanes; i++) {
        lathe_lane *l = &t->lanes[i];
        if (!l->busy)
            continue;
        const lathe_verdict *v = verdict_of(l);
        if (!t->has_tree)
            status =
                lathe_context_rollback(t->host->context, l->session->seq, l->n_past + 1 + v->n_accepted, err);
        t->path[n++] = l->first;
        for (int32_t k = 0; k < v->n_accepted; k++)
            t->path[n++] = l->first + v->path[k];
    }
    return status || !t->has_tree ? status : lathe_context_keep_path(t->host->context, t->path, n, err);
}

/* The lane's kept tokens into its text, and what its sources learn from them. */
static lathe_status settle(lathe_stream *t, lathe_lane *l, double cost, int32_t *emitted, lathe_error *err) {
    lathe_session *session = l->session;
    const lathe_verdict *verdict = verdict_of(l);
    const lathe_token_tree *tree = &l->tree;
    lathe_status status = LATHE_OK;
    if (l->spec) {
        lathe_spec_count(l->spec, l->arm, tree, cost);
        for (int32_t i = 0; i < l->spec->set.n_sources; i++)
            if (l->spec->source[i].drafted)
                (void) lathe_spec_source_judge(&l->spec->source[i], verdict->emitted, verdict->n_emitted);
        if (l->spec->learns)
            lathe_spec_learn_rows(l->spec, session, tree, l->first);
        t->params->drafted += tree->n_nodes - 1;
        t->params->accepted += verdict->n_accepted;
    }
    bool on = true, full = false;
    *emitted += verdict->n_emitted;
    for (int32_t k = 0; !status && on && k < verdict->n_emitted; k++)
        status = lathe_session_accept(session, verdict->emitted[k], &on, err);
    if (!status && (!on || lathe_session_is_done(session, &full)))
        status = finish(t, l, err);
    return status;
}

static lathe_status take_round(lathe_stream *t, lathe_error *err) {
    const double t0 = lathe_now();
    const int32_t n_busy = t->n_busy;
    lathe_status status = plan(t, err);
    if (status)
        return status;
    const int32_t n = fill_batch(t);
    const lathe_batch batch = {.tokens = t->batch_tokens,
                               .seq = t->batch_seq,
                               .parent = t->has_tree ? t->batch_parent : NULL,
                               .want = t->want,
                               .n_tokens = n};
    const double t1 = lathe_now();
    if ((status = lathe_context_decode(t->host->context, &batch, err)))
        return status;
    const double v = lathe_cost_verify(&t->cost.model, n);
    int32_t emitted = 0;
    for (int32_t i = 0; !status && i < t->n_lanes; i++)
        if (t->lanes[i].busy)
            status = judge(&t->lanes[i], err);
    if (!status)
        status = commit(t, err);
    for (int32_t i = 0; !status && i < t->n_lanes; i++)
        if (t->lanes[i].busy)
            status = settle(t, &t->lanes[i], v / n_busy, &emitted, err);
    const double t2 = lathe_now();
    lathe_gate *gate = &t->gates[n_busy];
    const double base = lathe_cost_verify(&t->cost.model, n_busy), plain = lathe_gate_plain_s(gate);
    if (n > n_busy && plain > 0.0)
        (void) lathe_spec_cost_saw(&t->cost, n, (t2 - t1) / plain * base);
    if (n > n_busy)
        lathe_gate_drafted(gate, v / base, t2 - t0, (double) emitted / n_busy);
    else
        lathe_gate_plain(gate, t2 - t0, t2 - t1);
    t->tokens = 0.98 * t->tokens + emitted;
    t->costs = 0.98 * t->costs + v;
    t->params->rounds++;
    t->params->rows += n;
    return status;
}

/* --- The whole ----------------------------------------------------------------------------------- */

static void free_stream(lathe_stream *t) {
    for (int32_t i = 0; t->lanes && i < t->n_lanes; i++) {
        lathe_session_free(t->lanes[i].session);
        lathe_token_tree_free(&t->lanes[i].tree);
    }
    lathe_spec_cost_close(&t->cost);
    free(t->lanes);
    free(t->gates);
    free(t->A);
    free(t->n_drafts);
    free(t->admitted);
    free(t->batch_tokens);
    free(t->batch_seq);
    free(t->batch_parent);
    free(t->path);
    lathe_stream_draft_close(t);
    free(t->want);
}

static lathe_status open_stream(lathe_stream *t, lathe_error *err) {
    const size_t n = (size_t) t->n_lanes, rows = n * (LATHE_LANE_DRAFTS + 1);
    const lathe_spec_params *spec = t->params->spec;
    t->lanes = calloc(n, sizeof *t->lanes);
    t->gates = calloc(n + 1, sizeof *t->gates);
    t->A = calloc(n * LATHE_LANE_DRAFTS, sizeof *t->A);
    t->n_drafts = calloc(n, sizeof *t->n_drafts);
    t->admitted = calloc(n, sizeof *t->admitted);
    t->batch_tokens = calloc(rows, sizeof *t->batch_tokens);
    t->batch_seq = calloc(rows, sizeof *t->batch_seq);
    t->batch_parent = calloc(rows, sizeof *t->batch_parent);
    t->path = calloc(rows, sizeof *t->path);
    t->want = malloc(rows);
    if (!t->lanes || !t->gates || !t->A || !t->n_drafts || !t->admitted || !t->batch_tokens ||
        !t->batch_seq || !t->batch_parent || !t->path || !t->want)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %zu sequences", n);
    memset(t->want, 1, rows);
    for (size_t i = 0; i <= n; i++)
        lathe_gate_init(&t->gates[i], spec ? spec->max_loss : 0.02);
    lathe_status status = lathe_stream_draft_open(t, err);
    for (int32_t i = 0; !status && i < t->n_lanes; i++)
        status = open_lane(t, i, err);
    lathe_spec_cost_assume(&t->cost);
    if (!status && spec) {
        lathe_spec_cost made;
        if (lathe_spec_cost_open(t->host->context, &t->host->params.context, spec->cache_dir, 33, false,
                                 &spec->logger, &made, NULL) == LATHE_OK)
            t->cost = made;
        t->use_gate = spec->gate > 0 || (spec->gate < 0 && !spec->controller && spec->length == 0);
    }
    return status;
}

lathe_status lathe_session_stream(lathe_session *host, lathe_stream_params *params,
                                  const lathe_stream_prompt *prompts, size_t n, lathe_error *err) {
    if (params->struct_size != sizeof *params || !params->answer)
        return lathe_fail(err, LATHE_ERR_ARG,
                          "lathe_stream_params is of another version of the library, or names no answer");
    if (params->n_parallel < 1 || params->n_parallel > LATHE_LANES_MAX || params->n_ctx < 1 ||
        params->n_parallel * (LATHE_LANE_DRAFTS + 1) > lathe_context_n_batch(host->context))
        return lathe_fail(err, LATHE_ERR_ARG,
                          "%d sequences of %d tokens at once; 1 to %d, and %d rows of a batch each",
                          (int) params->n_parallel, (int) params->n_ctx, (int) LATHE_LANES_MAX,
                          (int) LATHE_LANE_DRAFTS + 1);
    if (params->answer->shift)
        return lathe_fail(err, LATHE_ERR_UNSUPPORTED, "sequences of a batch cannot shift; use --parallel 1");
    lathe_stream t = {.host = host, .params = params, .prompts = prompts, .n_prompts = n};
    t.n_lanes = (size_t) params->n_parallel < n ? params->n_parallel : (int32_t) n;
    t.tokens = t.costs = 1.0;
    params->rounds = params->rows = params->tokens = params->drafted = params->accepted = 0;
    lathe_context_clear(host->context, -1);
    lathe_status status = n > 0 ? open_stream(&t, err) : LATHE_OK;
    const double start = lathe_now();
    while (!status && (t.next < n || t.n_busy > 0)) {
        for (int32_t i = 0; !status && i < t.n_lanes && t.next < n; i++) {
            bool full = false;
            if (t.lanes[i].busy)
                continue;
            status = admit_prompt(&t, &t.lanes[i], err);
            if (!status && lathe_session_is_done(t.lanes[i].session, &full))
                status = finish(&t, &t.lanes[i], err);
        }
        if (!status && host->cancel && host->cancel(host->cancel_user))
            status = lathe_fail(err, LATHE_ERR_CANCELLED, "interrupted");
        if (!status && t.n_busy > 0)
            status = take_round(&t, err);
    }
    params->seconds = lathe_now() - start;
    free_stream(&t);
    return status;
}
