/* spec_round.c - a round: which arm may draft (gate), what the free sources have, which arm drafts how much
 * (controller), one verify batch, what is kept, and what everybody learns from it.
 *
 * Rounds that draft nothing run the plain step and little else, since the promise of `auto` is measured
 * against it. */
#include "decode/spec_round.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/machine.h"

/* READ_MOST: tokens that a free source catches up in one round, after rounds in which it was not asked. */
enum {
    TOP_K = 8,
    WAKE_AFTER = 48,
    NAP = 64,
    NAPS_MAX = 1,
    READ_MOST = 32,
    PEAK_BLOCK = LATHE_SPEC_PEAK_BLOCK
};

/* --- Costs --------------------------------------------------------------------------------------- */

void lathe_spec_reprice(lathe_spec *s) {
    double draft[LATHE_ARMS_MAX];
    lathe_cost_model model = s->cost.model;
    for (int32_t i = 0; i <= s->v_most; i++)
        s->v[i] = lathe_cost_verify(&model, i);
    for (int32_t i = 0; i < s->set.n_arms; i++)
        draft[i] = s->set.arm[i].source >= 0 ? s->source[s->set.arm[i].source].step : 0.0;
    if (s->controller->reprice)
        s->controller->reprice(s->controller_state, &model, draft);
}

double lathe_spec_round_cost(const lathe_spec *s, const lathe_spec_source *source, int32_t k,
                             int32_t behind) {
    double cost = s->v[k + 1];
    if (source && source->proposer->slow && k > 0) {
        cost += source->step * k;
        if (behind > 0 && source->step_s > 0.0)
            cost += source->step * behind * source->read_s / source->step_s;
    }
    return cost;
}

static double rate(const lathe_spec *s) {
    return s->costs > 0.0 ? fmax(1.0, s->tokens / s->costs) : 1.0;
}

/* Most nodes of a source whose round costs at most m. */
static int32_t longest(const lathe_spec *s, const lathe_spec_source *source, int32_t most, double m,
                       int32_t behind) {
    int32_t k = most;
    while (k > 0 && lathe_spec_round_cost(s, source, k, behind) > m)
        k--;
    return k;
}

/* Plain steps that a draft must promise to gain before one of the last shots is spent on it: while little may
 * be lost, a few weak drafts would close the gate for a hundred tokens, and a good one would come too late.
 */
static double wanted_gain(const lathe_spec *s) {
    const double plain = lathe_gate_plain_s(&s->gate), loss = lathe_gate_worst_loss(&s->gate, s->v[2]);
    if (!s->use_gate || !(plain > 0.0) || !(loss > 0.0))
        return 0.0;
    const double shots = (lathe_gate_room(&s->gate) - (s->gate.T - s->gate.P)) / loss;
    /* No more than a single draft could bring if it were surely right: else nothing would ever be good
     * enough. */
    const double measure = fmin(loss / plain, fmax(0.0, 2.0 - s->v[2]));
    return (shots < 4.0 ? 0.8 : shots < 10.0 ? 0.3 : 0.0) * measure;
}

/* --- Free sources -------------------------------------------------------------------------------- */

/* Drafts with source i, at most n_max nodes; A of them into s->A. Returns how many, and lets a source sleep
 * whose time is not repaid by what it promises. */
static lathe_status draft_free(lathe_spec *s, int32_t i, const lathe_session *session, int32_t n_max,
                               int32_t *n, lathe_error *err) {
    lathe_spec_source *source = &s->source[i];
    const double start = lathe_now();
    bool ready;
    const lathe_status status =
        lathe_spec_source_read(source, session->ids, (int32_t) session->n_ids, READ_MOST, &ready, err);
    *n = 0;
    if (status || !ready)
        return status;
    lathe_token_tree_start(&source->tree, session->ids[session->n_ids - 1]);
    source->proposer->draft(source->state, n_max, &source->tree);
    lathe_token_tree_cut(&source->tree, n_max, LATHE_SPEC_DEPTH);
    source->drafted = true;
    *n = lathe_spec_source_values(source, s->A, n_max);
    double expected = 1.0, best = 0.0;
    for (int32_t k = 0; k < *n; k++) {
        expected += s->A[k];
        best = fmax(best, expected - s->v[k + 2]);
    }
    const double wanted = wanted_gain(s);
    source->idle = best > wanted ? 0 : source->idle + 1;
    if (best < wanted)
        *n = 0;
    s->spent[i] += 0.1 * (lathe_now() - start - s->spent[i]);
    if (source->idle > WAKE_AFTER && s->use_gate && s->spent[i] > 0.002 * lathe_gate_plain_s(&s->gate)) {
        source->asleep = NAP << (source->naps < NAPS_MAX ? source->naps++ : NAPS_MAX);
        source->idle = WAKE_AFTER / 2;
    }
    return LATHE_OK;
}

/* --- What a round may do, and does --------------------------------------------------------------- */

typedef struct round_plan {
    lathe_choice choice;
    int32_t limit[LATHE_ARMS_MAX], offered[LATHE_SPEC_SOURCES_MAX], behind[LATHE_SPEC_SOURCES_MAX];
    double features[5];
    bool refused;
} round_plan;

static void make_features(const lathe_spec *s, const lathe_session *session, double *z) {
    const lathe_spec_totals *t = &s->totals;
    double best = 0.0, usual = 0.0;
    for (int32_t i = 0; i < s->set.n_sources; i++) {
        if (s->source[i].drafted && s->source[i].tree.n_nodes > 1)
            best = fmax(best, s->source[i].value[1]);
        usual = fmax(usual, s->source[i].usual);
    }
    z[0] = 1.0;
    z[1] = best;
    z[2] = usual;
    z[3] = t->proposed > 0 ? (double) t->accepted / (double) t->proposed : 0.0;
    z[4] = fmin(1.0, log((double) session->n_ids) / log(131072.0));
}

static lathe_status plan_round(lathe_spec *s, const lathe_session *session, int32_t room, round_plan *plan,
                               lathe_error *err) {
    double most = INFINITY;
    plan->choice = (lathe_choice){0, 0};
    plan->refused = false;
    if (room < 1 || s->set.n_sources == 0)
        return LATHE_OK;
    if (s->use_gate) {
        if (lathe_gate_probe_due(&s->gate)) {
            s->gate.probes++;
            return LATHE_OK;
        }
        most = lathe_gate_most(&s->gate);
        /* No single draft takes all that may be lost: a few short ones are more often right once. */
        const double part = lathe_gate_part(&s->gate, 0.4);
        if (s->v[2] <= part)
            most = part;
        if (s->v[2] > most) {
            s->gate.refused++;
            plan->refused = true;
            return LATHE_OK;
        }
    }
    bool any = false;
    for (int32_t i = 0; i < s->set.n_sources; i++) {
        lathe_spec_source *source = &s->source[i];
        const int32_t cap = source->length < room ? source->length : room;
        plan->offered[i] = plan->behind[i] = 0;
        if (source->asleep > 0) {
            source->asleep--;
            continue;
        }
        if (source->proposer->slow) {
            if (source->proposer->behind)
                plan->behind[i] = source->proposer->behind(source->state, (int32_t) session->n_ids);
            plan->offered[i] = longest(s, source, cap, most, plan->behind[i]);
        } else {
            const int32_t k = longest(s, source, cap, most, 0);
            if (k < 1)
                continue;
            const lathe_status status = draft_free(s, i, session, k, &plan->offered[i], err);
            if (status)
                return status;
            if (s->controller->offer)
                for (int32_t a = 1; a < s->set.n_arms; a++)
                    if (s->set.arm[a].source == i)
                        s->controller->offer(s->controller_state, a, s->A, plan->offered[i]);
        }
        any = any || plan->offered[i] > 0;
    }
    if (!any) {
        /* Offers hold for one choice only, so it is made even where there is nothing to choose. */
        if (!s->controller->offer)
            return LATHE_OK;
    }
    for (int32_t a = 0; a < s->set.n_arms; a++) {
        const lathe_spec_arm *arm = &s->set.arm[a];
        const int32_t n = arm->source >= 0 ? plan->offered[arm->source] : 0;
        plan->limit[a] = arm->length < n ? arm->length : n;
    }
    make_features(s, session, plan->features);
    plan->choice = s->controller->select(s->controller_state, plan->limit, plan->features);
    return LATHE_OK;
}

/* The stop rule of a slow draft: is a step of this depth worth keeping, and what may follow it? */
static bool goes_on(void *user, int32_t depth, double prob) {
    lathe_spec *s = user;
    if (s->by_threshold)
        if (depth > 1 && 1.0 - s->survival > s->params.threshold)
            return false;
    const double here = lathe_spec_source_estimate(s->at_work, prob);
    s->survival *= here;
    if (!s->adaptive || s->by_threshold)
        return true;
    const double rho = rate(s), usual = fmin(0.95, 0.5 * (here + s->at_work->usual));
    /* What `trim` would throw away is not drafted to its end; of drafts from a law it throws nothing away. */
    const double wanted = depth == 1 && s->at_work->law != LATHE_LAW_SAMPLED ? wanted_gain(s) : 0.0;
    double A = s->survival, gain = 0.0;
    for (int32_t j = depth; j <= s->chosen_length; j++, A *= usual) {
        gain += A;
        if (gain > rho * (s->at_work->step * (j - depth) + s->v[j + 1] - s->v[depth]) + wanted)
            return true;
    }
    return false;
}

static lathe_status draft_slow(lathe_spec *s, const lathe_session *session, lathe_spec_source *source,
                               int32_t length, int32_t behind, lathe_error *err) {
    const double start = lathe_now();
    lathe_status status = source->proposer->sync(source->state, session->ids, (int32_t) session->n_ids, err);
    const double synced = lathe_now();
    if (status)
        return status;
    lathe_token_tree_start(&source->tree, session->ids[session->n_ids - 1]);
    source->drafted = true;
    s->survival = 1.0;
    s->chosen_length = length;
    s->at_work = source;
    const lathe_draft_request request = {.n_max = length,
                                         .law = source->law,
                                         .replace = s->verifier == &lathe_verifier_wr,
                                         .gumbel = s->verifier == &lathe_verifier_coupled,
                                         .chance = &s->chance,
                                         .sampler = session->sampler,
                                         .more = goes_on,
                                         .user = s};
    status = source->proposer->propose(source->state, &request, &source->tree, err);
    lathe_token_tree_cut(&source->tree, length, LATHE_SPEC_DEPTH);
    const int32_t k = source->tree.n_nodes - 1;
    if (!status && k > 0 && lathe_gate_plain_s(&s->gate) > 0.0) {
        /* What it catches up is counted apart, so that a long prompt does not make every draft look dear. */
        const double seconds = behind > 0 ? lathe_now() - synced : lathe_now() - start;
        const double step = seconds / k / lathe_gate_plain_s(&s->gate);
        source->step += source->step > 0.0 ? 0.05 * (fmin(step, 5.0 * source->step) - source->step) : step;
    }
    return status;
}

/* Keeps of the chosen draft what pays in this verify batch; drafts drawn from a law stay as they are, since
 * dropping a token after looking at it would bend the law. */
static void trim(lathe_spec *s, lathe_spec_source *source, int32_t length) {
    const int32_t n = lathe_spec_source_values(source, s->A, length);
    if (source->law == LATHE_LAW_SAMPLED)
        return;
    int32_t keep = n;
    if (s->adaptive && !s->by_threshold && source->proposer->slow) {
        const double rho = rate(s);
        double value = 0.0, best = wanted_gain(s);
        keep = 0;
        for (int32_t k = 1; k <= n; k++) {
            value += s->A[k - 1];
            const double gain = value - rho * (s->v[k + 1] - s->v[1]);
            if (gain > best) {
                best = gain;
                keep = k;
            }
        }
    } else if (length < n) {
        keep = length;
    }
    lathe_spec_source_trim(source, keep);
}

/* --- Verifying ----------------------------------------------------------------------------------- */

/* match and greedy: the sampler draws at each node as plain decoding does, down the tree while it drew a
 * drafted token. No law is computed that is not needed. The tokens that a node stands behind are written into
 * the session's own array, past its end: copying a long text each round would cost more than the rest. */
lathe_status lathe_spec_follow(lathe_spec *s, lathe_session *session, const lathe_token_tree *tree,
                               int32_t first, lathe_error *err) {
    lathe_verdict *verdict = &s->verdict;
    const size_t n = session->n_ids;
    int32_t node = 0;
    verdict->n_accepted = verdict->n_emitted = 0;
    verdict->tv_budget = 0.0;
    for (;;) {
        const size_t depth = (size_t) tree->depth[node];
        int32_t id;
        const lathe_status status =
            lathe_sampler_draw(session->sampler, lathe_context_logits(session->context, first + node),
                               session->ids, n + depth, &id, err);
        if (status)
            return status;
        const int32_t child = lathe_token_tree_child(tree, node, id);
        if (child < 0) {
            lathe_verdict_end(verdict, id);
            return LATHE_OK;
        }
        session->ids[n + depth] = id;
        lathe_verdict_keep(verdict, tree, child);
        node = child;
    }
}

static lathe_status judge_laws(lathe_spec *s, lathe_session *session, const lathe_token_tree *tree,
                               lathe_error *err) {
    const size_t n = session->n_ids, n_vocab = (size_t) tree->n_vocab;
    if (tree->n_nodes > s->p_rows) {
        size_t count, bytes;
        free(s->p);
        s->p_rows = 0;
        s->p = lathe_size_mul((size_t) tree->n_nodes + 3, n_vocab, &count) &&
                       lathe_size_mul(count, sizeof *s->p, &bytes)
                   ? malloc(bytes)
                   : NULL;
        if (!s->p)
            return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for the laws of %d drafted tokens",
                              (int) tree->n_nodes);
        s->p_rows = tree->n_nodes;
    }
    for (int32_t i = 0; i < tree->n_nodes; i++) {
        for (int32_t node = i; node > 0; node = tree->parent[node])
            session->ids[n + (size_t) tree->depth[node] - 1] = tree->token[node];
        const lathe_status status =
            lathe_sampler_law(session->sampler, lathe_context_logits(session->context, i), session->ids,
                              n + (size_t) tree->depth[i], s->p + (size_t) i * n_vocab, err);
        if (status)
            return status;
    }
    lathe_chance chance = s->chance; /* tests put their own choices here */
    chance.seed = lathe_sampler_seed(session->sampler);
    chance.n_committed = n;
    return lathe_verify_tree(s->verifier, tree, s->p, &s->options, &chance,
                             s->p + (size_t) s->p_rows * n_vocab, &s->verdict, err);
}

static lathe_status verify(lathe_spec *s, lathe_session *session, const lathe_token_tree *tree,
                           lathe_error *err) {
    if ((s->verifier == &lathe_verifier_match || s->verifier == &lathe_verifier_greedy) && !s->chance.choose)
        return lathe_spec_follow(s, session, tree, 0, err);
    return judge_laws(s, session, tree, err);
}

/* Leaves in the context the pending token and the kept path. */
static lathe_status commit(lathe_spec *s, lathe_session *session, bool chain, int32_t n_past,
                           lathe_error *err) {
    if (chain)
        return lathe_context_rollback(session->context, 0, n_past + 1 + s->verdict.n_accepted, err);
    int32_t path[LATHE_DRAFT_DEPTH_MAX + 1] = {0};
    memcpy(path + 1, s->verdict.path, (size_t) s->verdict.n_accepted * sizeof *path);
    return lathe_context_keep_path(session->context, path, s->verdict.n_accepted + 1, err);
}

/* --- Learning ------------------------------------------------------------------------------------ */

enum { LANES = 16 };

static float block_peak(const float *x, int32_t n) {
    float lane[LANES], peak = -INFINITY;
    int32_t i = 0;
    for (int32_t j = 0; j < LANES; j++)
        lane[j] = -INFINITY;
    for (; i + LANES <= n; i += LANES)
        for (int32_t j = 0; j < LANES; j++)
            lane[j] = x[i + j] > lane[j] ? x[i + j] : lane[j];
    for (int32_t j = 0; j < LANES; j++)
        peak = lane[j] > peak ? lane[j] : peak;
    for (; i < n; i++)
        peak = x[i] > peak ? x[i] : peak;
    return peak;
}

/* Puts those of [from, to) that reach the bound in their places among the `count` ids so far. */
static int32_t take_above(const float *logits, int32_t from, int32_t to, float bound, int32_t count,
                          int32_t *ids) {
    uint32_t any = 0;
    for (int32_t i = from; i < to; i++)
        any |= logits[i] >= bound;
    for (int32_t i = any ? from : to; i < to; i++) {
        if (!(logits[i] >= bound) || (count == TOP_K && !(logits[i] > logits[ids[TOP_K - 1]])))
            continue;
        int32_t at = count < TOP_K ? count++ : TOP_K - 1;
        for (; at > 0 && logits[ids[at - 1]] < logits[i]; at--)
            ids[at] = ids[at - 1];
        ids[at] = i;
    }
    return count;
}

/* The ids of the TOP_K largest, ties to the lower id. The TOP_K-th largest of the blocks' peaks bounds the
 * TOP_K-th largest of all from below, so that most blocks need no second look: this runs for every verified
 * row. */
static void top_of(const float *logits, int32_t n, float *peaks, int32_t *ids) {
    const int32_t n_blocks = (n + PEAK_BLOCK - 1) / PEAK_BLOCK;
    float best[TOP_K];
    for (int32_t k = 0; k < TOP_K; k++)
        best[k] = -INFINITY;
    for (int32_t b = 0; b < n_blocks; b++) {
        const int32_t begin = b * PEAK_BLOCK;
        const float peak = peaks[b] =
            block_peak(logits + begin, n - begin < PEAK_BLOCK ? n - begin : PEAK_BLOCK);
        if (!(peak > best[TOP_K - 1]))
            continue;
        int32_t at = TOP_K - 1;
        for (; at > 0 && best[at - 1] < peak; at--)
            best[at] = best[at - 1];
        best[at] = peak;
    }
    const float bound = best[TOP_K - 1];
    int32_t count = 0;
    for (int32_t b = 0; b < n_blocks; b++) {
        if (!(peaks[b] >= bound))
            continue;
        const int32_t end = (b + 1) * PEAK_BLOCK < n ? (b + 1) * PEAK_BLOCK : n;
        for (int32_t from = b * PEAK_BLOCK; from < end; from += LANES)
            count = take_above(logits, from, from + LANES < end ? from + LANES : end, bound, count, ids);
    }
    for (; count < TOP_K; count++)
        ids[count] = -1;
}

/* The rows of this round for the sources that have a use for them; the accepted path comes last and wins. */
void lathe_spec_learn_rows(lathe_spec *s, const lathe_session *session, const lathe_token_tree *tree,
                           int32_t first) {
    bool wanted = false;
    for (int32_t i = 0; i < s->set.n_sources; i++)
        wanted = wanted || (s->source[i].learns && s->source[i].asleep == 0);
    if (!wanted)
        return;
    const double start = lathe_now();
    const int32_t n_vocab = tree->n_vocab, n = tree->n_nodes;
    int32_t rows = 0;
    for (int32_t i = 0; i < n; i++, rows++) {
        s->top_token[rows] = tree->token[i];
        top_of(lathe_context_logits(session->context, first + i), n_vocab, s->peaks,
               s->top + (size_t) rows * TOP_K);
    }
    for (int32_t k = 0; k < s->verdict.n_accepted && n > 1; k++, rows++) {
        const int32_t i = s->verdict.path[k];
        s->top_token[rows] = tree->token[i];
        memcpy(s->top + (size_t) rows * TOP_K, s->top + (size_t) i * TOP_K, TOP_K * sizeof *s->top);
    }
    for (int32_t i = 0; i < s->set.n_sources; i++)
        if (s->source[i].learns && s->source[i].asleep == 0) {
            s->source[i].proposer->learn(s->source[i].state, s->top_token, s->top, rows, TOP_K);
            s->spent[i] += 0.1 * (lathe_now() - start);
        }
}

/* What each source would have brought, and what the controller is told. */
static void learn_round(lathe_spec *s, lathe_session *session, const lathe_token_tree *tree,
                        const round_plan *plan, double cost, double seconds, bool ended) {
    double would[LATHE_ARMS_MAX];
    const lathe_verdict *verdict = &s->verdict;
    const int32_t n = verdict->n_emitted, chosen = s->set.arm[plan->choice.arm].source;
    for (int32_t a = 0; a < s->set.n_arms; a++)
        would[a] = a == 0 ? 1.0 : NAN;
    for (int32_t i = 0; i < s->set.n_sources; i++) {
        lathe_spec_source *source = &s->source[i];
        if (!source->drafted)
            continue;
        const int32_t depth = i == chosen ? n : lathe_token_tree_depth(&source->tree);
        const int32_t had = lathe_spec_source_judge(source, verdict->emitted, n);
        for (int32_t a = 1; a < s->set.n_arms; a++)
            /* A draft that agrees with all that was emitted and goes on might have brought more. */
            if (s->set.arm[a].source == i && (had < n || depth <= n || i == chosen))
                would[a] = 1.0 + (had < s->set.arm[a].length ? had : s->set.arm[a].length);
    }
    would[plan->choice.arm] = verdict->n_accepted + 1.0;
    /* Full information compares laws where there are any: a token drawn at a temperature is a noisy witness.
     * A failure leaves the tokens' word. */
    if (s->controller == &lathe_controller_hedge && !lathe_sampler_is_greedy(session->sampler) &&
        lathe_spec_expect(s, session, tree, would, NULL) != LATHE_OK)
        lathe_log(&s->params.logger, LATHE_LOG_DEBUG, "no laws for the arms in this round");
    for (int32_t a = 0; a < s->set.n_arms; a++)
        if (would[a] >= 1.0) {
            const lathe_spec_source *source =
                s->set.arm[a].source >= 0 ? &s->source[s->set.arm[a].source] : NULL;
            const int32_t k = source && source->drafted ? source->tree.n_nodes - 1 : 0;
            s->set.arm[a].hind_tokens += would[a];
            s->set.arm[a].hind_cost +=
                lathe_spec_round_cost(s, source, k < s->set.arm[a].length ? k : s->set.arm[a].length, 0);
        }
    if (ended)
        return; /* the round was cut short by the end of the text: it would bias every mean */
    const bool by_clock = s->params.reward && strcmp(s->params.reward, "time") == 0;
    const double plain = lathe_gate_plain_s(&s->gate);
    const int32_t proposed = chosen >= 0 ? s->source[chosen].tree.n_nodes - 1 : 0;
    const lathe_round_facts facts = {.proposed = proposed,
                                     .accepted = verdict->n_accepted,
                                     .cost = by_clock && plain > 0.0 ? seconds / plain : cost,
                                     .would_emit = would,
                                     .features = plan->features};
    s->controller->update(s->controller_state, plan->choice, &facts);
    s->tokens = 0.98 * s->tokens + n;
    s->costs = 0.98 * s->costs + facts.cost;
}

void lathe_spec_count(lathe_spec *s, int32_t chosen, const lathe_token_tree *tree, double cost) {
    lathe_spec_totals *t = &s->totals;
    const int32_t which = tree->n_nodes > 1 ? chosen : 0; /* what drafted nothing was plain */
    lathe_spec_arm *arm = &s->set.arm[which];
    const lathe_verdict *v = &s->verdict;
    const int32_t depth = tree->n_nodes > 1 ? lathe_token_tree_depth(tree) : 0;
    for (int32_t k = 1; k <= depth && k <= v->n_accepted + 1; k++) {
        t->reached[k - 1]++;
        t->accepted_at[k - 1] += k <= v->n_accepted;
    }
    t->switches += t->rounds > 0 && which != t->last_arm;
    t->last_arm = which;
    t->rounds++;
    s->rounds_ever++;
    t->rows += tree->n_nodes;
    t->proposed += tree->n_nodes - 1;
    t->accepted += v->n_accepted;
    t->emitted += v->n_emitted;
    t->tv_budget += v->tv_budget;
    t->cost += cost;
    arm->rounds++;
    arm->proposed += tree->n_nodes - 1;
    arm->accepted += v->n_accepted;
    arm->emitted += v->n_emitted;
    arm->cost += cost;
}

/* --- The round ----------------------------------------------------------------------------------- */

static int32_t room_of(const lathe_session *session, int32_t n_max, int32_t n_past) {
    const lathe_context *c = session->context;
    int32_t room = lathe_context_n_ctx(c) - n_past - 1;
    room = room < lathe_context_n_batch(c) - 1 ? room : lathe_context_n_batch(c) - 1;
    return room < n_max - 1 ? room : n_max - 1;
}

static bool has_end(const lathe_session *session, const lathe_verdict *v) {
    for (int32_t i = 0; i < v->n_emitted; i++)
        if (session->vocab && lathe_vocab_is_end(session->vocab, v->emitted[i]))
            return true;
    return false;
}

lathe_status lathe_spec_take(void *state, lathe_session *session, int32_t *out, int32_t n_max, int32_t *n_out,
                             lathe_error *err) {
    lathe_spec *s = state;
    const double t0 = lathe_now();
    if (session->n_ids > INT32_MAX / 2)
        return lathe_fail(err, LATHE_ERR_ARG, "%zu tokens are too many for speculation", session->n_ids);
    const int32_t n_past = lathe_context_n_past(session->context, 0);
    round_plan plan;
    lathe_token_tree *tree = &s->root;
    for (int32_t i = 0; i < s->set.n_sources; i++)
        s->source[i].drafted = false;
    s->round_began = session->n_ids;
    lathe_status status = plan_round(s, session, room_of(session, n_max, n_past), &plan, err);
    if (status)
        return status;
    lathe_token_tree_start(&s->root, session->ids[session->n_ids - 1]);
    lathe_spec_source *source =
        plan.choice.length > 0 && plan.choice.arm > 0 ? &s->source[s->set.arm[plan.choice.arm].source] : NULL;
    const int32_t behind = source ? plan.behind[s->set.arm[plan.choice.arm].source] : 0;
    if (source && source->proposer->slow)
        status = draft_slow(s, session, source, plan.choice.length, behind, err);
    if (source && !status) {
        trim(s, source, plan.choice.length);
        if (source->tree.n_nodes > 1)
            tree = &source->tree;
    }
    if (!status)
        status = lathe_session_reserve(session, session->n_ids + LATHE_SPEC_DEPTH + 1, err);
    if (status)
        return status;
    const double t1 = lathe_now();
    const bool chain = lathe_token_tree_is_chain(tree);
    const lathe_batch batch = {.tokens = tree->token,
                               .parent = chain ? NULL : tree->parent,
                               .want = s->want,
                               .n_tokens = tree->n_nodes};
    if ((status = lathe_context_decode(session->context, &batch, err)))
        return status;
    const double t2 = lathe_now();
    if ((status = verify(s, session, tree, err)))
        return status;
    const double t3 = lathe_now();
    if (s->learns && !plan.refused)
        lathe_spec_learn_rows(s, session, tree, 0);
    if (tree->n_nodes > 1 && (status = commit(s, session, chain, n_past, err)))
        return status;
    const bool drafted = source != NULL; /* also where nothing came of it: its time was spent */
    const double cost = lathe_spec_round_cost(s, source, tree->n_nodes - 1, behind) +
                        (source && source->proposer->slow && tree->n_nodes == 1 ? source->step : 0.0);
    const double plain = lathe_gate_plain_s(&s->gate);
    if (tree->n_nodes > 1 && plain > 0.0 && lathe_spec_cost_saw(&s->cost, tree->n_nodes, (t3 - t1) / plain))
        lathe_spec_reprice(s);
    memcpy(out, s->verdict.emitted, (size_t) s->verdict.n_emitted * sizeof *out);
    *n_out = s->verdict.n_emitted;
    lathe_spec_count(s, plan.choice.arm, tree, cost);
    learn_round(s, session, tree, &plan, cost, t3 - t0, has_end(session, &s->verdict));
    const double t4 = lathe_now();
    if (drafted && tree->n_nodes > 1) {
        lathe_gate_drafted(&s->gate, cost, t4 - t0, s->verdict.n_emitted);
    } else if (drafted) { /* nothing came of it: a plain step, and the draft's time is lost, all of it */
        const double lost = (t4 - t0) - (t3 - t1);
        lathe_gate_plain(&s->gate, t3 - t1, t3 - t1);
        lathe_gate_advance(&s->gate, lost, lost);
    } else {
        lathe_gate_plain(&s->gate, t4 - t0, t3 - t1);
    }
    lathe_spec_totals *t = &s->totals;
    t->draft_s += t1 - t0;
    t->verify_s += t2 - t1;
    t->sample_s += t3 - t2;
    t->other_s += t4 - t3;
    t->plain_rounds += !drafted;
    t->plain_rounds_s += drafted ? 0.0 : t3 - t1;
    if (s->params.on_round) {
        const char *best_arm = NULL;
        const lathe_spec_round told = {.round = t->rounds - 1,
                                       .position = (int64_t) session->n_ids,
                                       .arm = s->set.arm[s->totals.last_arm].name,
                                       .proposed = tree->n_nodes - 1,
                                       .accepted = s->verdict.n_accepted,
                                       .emitted = s->verdict.n_emitted,
                                       .draft_s = t1 - t0,
                                       .verify_s = t2 - t1,
                                       .sample_s = t3 - t2,
                                       .other_s = t4 - t3,
                                       .cost = cost,
                                       .regret = lathe_spec_regret(s, &best_arm),
                                       .loss_s = s->gate.T - s->gate.P,
                                       .refused = plan.refused};
        s->params.on_round(s->params.user, &told);
    }
    return LATHE_OK;
}
