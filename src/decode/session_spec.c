/* session_spec.c - giving a session speculation, and what it reports. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/machine.h"
#include "base/text.h"
#include "decode/spec_round.h"
#include "decode/spec_table.h"

enum { TOP_ROWS_K = 8, SHORT_ANSWER = 32 };

lathe_spec_params lathe_spec_params_default(void) {
    const lathe_verify_options o = lathe_verify_options_default();
    return (lathe_spec_params){.struct_size = sizeof(lathe_spec_params),
                               .proposers = "auto",
                               .gate = -1,
                               .max_loss = 0.02,
                               .cool_delta = o.cool_delta,
                               .cool_nu = o.cool_nu,
                               .typical_epsilon = o.typical_epsilon,
                               .typical_delta = o.typical_delta,
                               .threshold = 0.7,
                               .std_budget = 1024};
}

void lathe_spec_free(void *state) {
    lathe_spec *s = state;
    if (!s)
        return;
    lathe_spec_table_close(s);
    for (int32_t i = 0; i < LATHE_SPEC_SOURCES_MAX; i++)
        lathe_spec_source_close(&s->source[i]);
    if (s->controller_state)
        s->controller->destroy(s->controller_state);
    lathe_spec_cost_close(&s->cost);
    lathe_token_tree_free(&s->root);
    lathe_spec_set_free(&s->set);
    free(s->cache_dir);
    free(s->table_path);
    free(s->top);
    free(s->top_token);
    free(s->peaks);
    free(s->p);
    free(s->law);
    free(s->want);
    free(s);
}

/* --- Opening ------------------------------------------------------------------------------------- */

static lathe_status check_params(const lathe_session *session, const lathe_spec_params *p, lathe_error *err) {
    if (p->struct_size != sizeof *p)
        return lathe_fail(err, LATHE_ERR_ARG,
                          "lathe_spec_params is of another version of the library; start from "
                          "lathe_spec_params_default()");
    if (session->params.sampler.mirostat)
        return lathe_fail(err, LATHE_ERR_ARG,
                          "mirostat changes with every token drawn; it goes without speculation");
    if (p->length < 0 || p->length > LATHE_SPEC_DEPTH)
        return lathe_fail(err, LATHE_ERR_ARG, "drafts of %d tokens; want 0 to %d", (int) p->length,
                          (int) LATHE_SPEC_DEPTH);
    if (p->draft_head < 0 || (p->draft_counts && p->draft_head == 0))
        return lathe_fail(err, LATHE_ERR_ARG,
                          "a draft's head of %d tokens; at least 1, or 0 for all, without counts",
                          (int) p->draft_head);
    if (p->arms_file && p->length > 0)
        return lathe_fail(err, LATHE_ERR_ARG, "a length beside a file of arms, which have their own");
    if (!(p->max_loss > 0.0 && p->max_loss <= 1.0))
        return lathe_fail(err, LATHE_ERR_ARG, "a loss of at most %g; above 0, at most 1", p->max_loss);
    if (p->reward && strcmp(p->reward, "model") != 0 && strcmp(p->reward, "time") != 0 &&
        strcmp(p->reward, "tokens") != 0)
        return lathe_fail(err, LATHE_ERR_ARG, "no reward '%.40s'; there are model, time and tokens",
                          p->reward);
    return LATHE_OK;
}

/* "fixed:NAME" names an arm; the controllers know numbers. */
static lathe_status find_controller(lathe_spec *s, const char *name, int32_t *fixed_arm, lathe_error *err) {
    const char *arm = strncmp(name, "fixed:", 6) == 0 ? name + 6 : NULL;
    int64_t number;
    *fixed_arm = 1;
    if (strcmp(name, "fixed") == 0 || (arm && !lathe_parse_int(arm, &number))) {
        s->controller = &lathe_controller_fixed;
        for (int32_t i = 0; arm && i < s->set.n_arms; i++)
            if (strcmp(s->set.arm[i].name, arm) == 0) {
                *fixed_arm = i;
                return LATHE_OK;
            }
        if (!arm && s->set.n_arms == 2)
            return LATHE_OK;
        char names[512] = "";
        for (int32_t i = 0; i < s->set.n_arms; i++) {
            const size_t used = strlen(names);
            snprintf(names + used, sizeof names - used, "%s%s", i ? ", " : "", s->set.arm[i].name);
        }
        return lathe_fail(err, LATHE_ERR_ARG, "controller '%s'; want fixed:ARM with one of %s", name, names);
    }
    return lathe_controller_find(name, &s->controller, fixed_arm, err);
}

static bool several_lengths(const char *controller) {
    static const char *const names[] = {"ucb",   "exp3", "ducb", "sw",      "linucb",
                                        "hedge", "eps",  "ts",   "uniform", "released"};
    for (size_t i = 0; controller && i < LATHE_LEN(names); i++)
        if (strcmp(controller, names[i]) == 0)
            return true;
    return false;
}

/* Shapes that keep the likeliest of the draft's tokens: those are no draws from its law, whatever the
 * verifier could test. */
static bool keeps_likeliest(const char *tree) {
    return tree && (strncmp(tree, "eagle2", 6) == 0 || strncmp(tree, "beam", 4) == 0);
}

static lathe_status open_sources(lathe_spec *s, const lathe_session *session, const lathe_spec_params *p,
                                 const lathe_spec_lanes *lanes, lathe_error *err) {
    lathe_proposer_params params = lathe_proposer_params_default();
    params.n_vocab = lathe_model_n_vocab(session->model);
    params.target = session->model;
    params.context = session->context;
    params.tree = p->tree;
    params.exact = session->params.context.exact;
    params.cache_dir = p->cache_dir;
    params.logger = p->logger;
    params.std_budget = p->std_budget;
    params.span_begin = p->span_begin;
    params.span_end = p->span_end;
    params.draft_head = p->draft_head;
    params.draft_counts = p->draft_counts;
    params.seq = session->seq;
    params.n_ctx = session->host ? session->n_ctx : 0;
    params.n_seq = lanes ? lanes->n : 1;
    bool shaped = false;
    for (int32_t i = 0; i < s->set.n_sources; i++) {
        lathe_spec_source *source = &s->source[i];
        params.share = lanes && lanes->first ? lanes->first->source[i].state : NULL;
        lathe_status status = lathe_spec_source_open(s->set.source[i], &params, source, err);
        if (status)
            return status;
        const int32_t laws = source->proposer->laws;
        source->trust = source->proposer->slow || !(session->params.sampler.temp > 0.0) ? 1.0 : 0.5;
        const bool is_shaped =
            source->proposer->slow && source->proposer->trees && p->tree && strcmp(p->tree, "chain") != 0;
        const bool drawn = (laws & LATHE_LAW_SAMPLED) && (s->verifier->laws & LATHE_LAW_SAMPLED) &&
                           !s->verifier->same_text && s->verifier != &lathe_verifier_typical &&
                           !(is_shaped && keeps_likeliest(p->tree));
        source->law = drawn ? LATHE_LAW_SAMPLED : LATHE_LAW_POINT;
        const bool tree = source->proposer->slow ? is_shaped : source->proposer->trees;
        shaped = shaped || is_shaped;
        status = lathe_verifier_check(s->verifier, source->law, tree, &s->options,
                                      session->params.sampler.temp, err);
        if (status)
            return err ? lathe_fail_within(err, "proposer %s", s->set.source[i]) : status;
        for (int32_t a = 1; a < s->set.n_arms; a++) {
            if (s->set.arm[a].source != i)
                continue;
            if (is_shaped) /* a shape says itself how large it is */
                s->set.arm[a].length = p->length > 0 ? p->length : LATHE_SPEC_DEPTH;
            source->length = s->set.arm[a].length > source->length ? s->set.arm[a].length : source->length;
        }
    }
    for (int32_t i = 0; i < s->set.n_sources; i++)
        s->v_most = s->source[i].length + 2 > s->v_most ? s->source[i].length + 2 : s->v_most;
    s->v_most = s->v_most < 2 ? 2 : s->v_most > LATHE_TREE_NODES_MAX ? LATHE_TREE_NODES_MAX : s->v_most;
    if (p->tree && strcmp(p->tree, "chain") != 0 && !shaped)
        return lathe_fail(err, LATHE_ERR_ARG, "a tree '%.60s' needs a draft model; give draft:FILE", p->tree);
    return LATHE_OK;
}

static lathe_status open_controller(lathe_spec *s, const lathe_session *session, const lathe_spec_params *p,
                                    int32_t fixed_arm, lathe_error *err) {
    lathe_controller_params c = lathe_controller_params_default();
    int32_t length[LATHE_ARMS_MAX], most = 1;
    double draft[LATHE_ARMS_MAX];
    for (int32_t i = 0; i < s->set.n_arms; i++) {
        length[i] = s->set.arm[i].length;
        draft[i] = 0.0;
        most = length[i] > most ? length[i] : most;
    }
    c.n_arms = s->set.n_arms;
    c.length = length;
    c.draft = draft;
    c.length_max = most;
    c.by_cost = !p->reward || strcmp(p->reward, "tokens") != 0;
    c.cost = s->cost.model;
    c.seed = lathe_sampler_seed(session->sampler);
    c.fixed_arm = fixed_arm;
    c.threshold = p->threshold;
    c.n_features = 5;
    s->adaptive = s->controller->offer && s->controller != &lathe_controller_fixed;
    s->by_threshold = s->controller == &lathe_controller_threshold;
    return s->controller->create(&c, &s->controller_state, err);
}

static lathe_status make_arrays(lathe_spec *s, int32_t n_vocab, lathe_error *err) {
    const size_t rows = LATHE_TREE_NODES_MAX + LATHE_SPEC_DEPTH + 1;
    s->want = malloc(rows);
    s->top = malloc(rows * TOP_ROWS_K * sizeof *s->top);
    s->top_token = malloc(rows * sizeof *s->top_token);
    s->peaks = malloc(((size_t) n_vocab / LATHE_SPEC_PEAK_BLOCK + 1) * sizeof *s->peaks);
    if (!s->want || !s->top || !s->top_token || !s->peaks)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for speculation");
    memset(s->want, 1, rows);
    for (int32_t i = 0; i < s->set.n_sources; i++)
        s->learns = s->learns || s->source[i].learns;
    return lathe_token_tree_init(&s->root, 1, n_vocab, err);
}

static lathe_status fill(lathe_spec *s, const lathe_session *session, const lathe_spec_params *p,
                         const lathe_spec_lanes *lanes, lathe_error *err) {
    int32_t fixed_arm = 1;
    s->params = *p;
    s->params.proposers = s->params.arms_file = s->params.controller = s->params.verifier = s->params.tree =
        NULL;
    s->params.cache_dir = s->params.draft_counts = NULL;
    s->params.reward = p->reward ? (strcmp(p->reward, "time") == 0 ? "time" : "model") : NULL;
    if (p->cache_dir && !(s->cache_dir = strdup(p->cache_dir)))
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for speculation");
    s->options = lathe_verify_options_default();
    s->options.cool_delta = p->cool_delta;
    s->options.cool_nu = p->cool_nu;
    s->options.typical_epsilon = p->typical_epsilon;
    s->options.typical_delta = p->typical_delta;
    lathe_status status = p->arms_file ? lathe_spec_read_arms(p->arms_file, &s->set, err)
                                       : lathe_spec_parse(p->proposers ? p->proposers : "auto", p->length,
                                                          several_lengths(p->controller), &s->set, err);
    if (status)
        return status;
    const char *verifier = p->verifier ? p->verifier : *s->set.verifier ? s->set.verifier : "match";
    const bool is_fixed = !p->controller && p->length > 0 && s->set.n_arms == 2 && !s->set.automatic;
    if ((status = lathe_verifier_find(verifier, &s->verifier, err)) ||
        (status =
             lathe_verifier_check(s->verifier, 0, false, &s->options, session->params.sampler.temp, err)) ||
        (status = find_controller(s,
                                  p->controller ? p->controller
                                  : is_fixed    ? "fixed"
                                                : "hazard",
                                  &fixed_arm, err)) ||
        (status = open_sources(s, session, p, lanes, err)))
        return status;
    s->use_gate = p->gate > 0 || (p->gate < 0 && (s->set.automatic || (!p->controller && !is_fixed)));
    lathe_gate_init(&s->gate, p->max_loss);
    lathe_spec_cost_assume(&s->cost);
    s->tokens = s->costs = 1.0;
    if (!(status = open_controller(s, session, p, fixed_arm, err)))
        status = make_arrays(s, lathe_model_n_vocab(session->model), err);
    if (!status)
        lathe_spec_reprice(s);
    return status;
}

lathe_status lathe_session_spec(lathe_session *session, const lathe_spec_params *params, lathe_error *err) {
    return lathe_session_spec_beside(session, params, NULL, err);
}

lathe_status lathe_session_spec_beside(lathe_session *session, const lathe_spec_params *params,
                                       const lathe_spec_lanes *lanes, lathe_error *err) {
    const lathe_spec_params p = params ? *params : lathe_spec_params_default();
    lathe_status status = check_params(session, &p, err);
    if (status)
        return status;
    lathe_spec *s = calloc(1, sizeof *s);
    if (!s)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for speculation");
    status = fill(s, session, &p, lanes, err);
    if (status) {
        lathe_spec_free(s);
        return status;
    }
    const lathe_session_step step = {.take = lathe_spec_take,
                                     .begin = lathe_spec_begin,
                                     .end = lathe_spec_end,
                                     .free = lathe_spec_free,
                                     .state = s};
    lathe_session_set_step(session, &step);
    return LATHE_OK;
}

lathe_status lathe_session_speculate(lathe_session *session, const char *proposer, const char *verifier,
                                     int32_t length, lathe_error *err) {
    lathe_spec_params p = lathe_spec_params_default();
    p.proposers = proposer;
    p.verifier = verifier;
    p.length = length;
    p.controller = "fixed";
    p.gate = 0;
    return lathe_session_spec(session, &p, err);
}

/* --- A generation begins ------------------------------------------------------------------------- */

/* Costs are measured behind the first prompt, where an answer long enough to repay it may follow. */
static void measure(lathe_spec *s, lathe_session *session) {
    int32_t rows = 17; /* also where shorter steps are wanted now: the file serves other runs */
    for (int32_t i = 0; i < s->set.n_sources; i++)
        rows = s->source[i].length + 1 > rows ? s->source[i].length + 1 : rows;
    lathe_spec_cost made;
    if (lathe_spec_cost_open(session->context, &session->params.context, s->cache_dir, rows, false,
                             &s->params.logger, &made, NULL) != LATHE_OK)
        lathe_spec_cost_assume(&made);
    lathe_spec_cost_close(&s->cost);
    s->cost = made;
    for (int32_t i = 0; i < s->set.n_sources; i++) {
        lathe_spec_source *source = &s->source[i];
        if (source->proposer->slow && source->proposer->measure && made.measured.plain_s > 0.0) {
            source->proposer->measure(source->state, &source->step_s, &source->read_s);
            source->step = source->step_s / made.measured.plain_s;
        }
    }
    lathe_spec_reprice(s);
    lathe_spec_table_open(s, session->params.sampler.temp > 0.0);
    s->priced = true;
}

/* Seconds of a token that a free source reads, at most: 0.2 microseconds measured. */
static const double READ_FREE_S = 1e-6;

/* The free sources read the prompt before the first round, which would else wait for it. */
static void read_free(lathe_spec *s, lathe_session *session) {
    const double start = lathe_now();
    for (int32_t i = 0; i < s->set.n_sources; i++) {
        lathe_spec_source *source = &s->source[i];
        bool done;
        source->synced = 0;
        lathe_spec_source_turn(source);
        /* A failure shows again, with its message, in the first round that wants a draft. */
        if (!source->proposer->slow)
            (void) !lathe_spec_source_read(source, session->ids, (int32_t) session->n_ids, INT32_MAX, &done,
                                           NULL);
    }
    const double seconds = lathe_now() - start;
    session->stats.prefill_s += seconds;
    lathe_gate_advance(&s->gate, seconds, READ_FREE_S * (double) session->n_ids * s->set.n_sources);
}

/* A draft model reads the prompt now where that is a small part of what the target needed for it: it counts
 * as reading the prompt, and as a loss that drafts must repay. Otherwise it waits until the gate has room. */
static void read_ahead(lathe_spec *s, lathe_session *session) {
    const double price = lathe_gate_price(&s->gate), plain = price > 0.0 ? price : s->cost.measured.plain_s;
    for (int32_t i = 0; i < s->set.n_sources; i++) {
        lathe_spec_source *source = &s->source[i];
        const int32_t n = source->proposer->behind && session->n_ids < INT32_MAX / 2
                              ? source->proposer->behind(source->state, (int32_t) session->n_ids)
                              : 0;
        const double expected = n * source->read_s,
                     room = s->params.max_loss * (session->stats.prefill_s + LATHE_GATE_TOKENS_FIRST * plain);
        if (n < 1 || (s->use_gate && !(expected > 0.0 && expected < 0.6 * room)))
            continue;
        const double start = lathe_now();
        /* A failure shows again, with its message, when the draft is wanted. */
        if (source->proposer->sync(source->state, session->ids, (int32_t) session->n_ids, NULL) != LATHE_OK)
            continue;
        const double seconds = lathe_now() - start;
        session->stats.prefill_s += seconds;
        lathe_gate_advance(&s->gate, seconds, expected > 0.0 ? expected : seconds);
    }
}

void lathe_spec_begin(void *state, lathe_session *session) {
    lathe_spec *s = state;
    const int32_t n = session->params.n_predict;
    if (!s->priced && s->set.n_sources > 0 && (n < 0 || n >= SHORT_ANSWER))
        measure(s, session);
    lathe_gate_answer(&s->gate, session->stats.prefill_s);
    if (lathe_spec_cost_turn(&s->cost))
        lathe_spec_reprice(s);
    if (s->controller->turn)
        s->controller->turn(s->controller_state);
    read_free(s, session);
    read_ahead(s, session);
    s->totals = (lathe_spec_totals){0};
    s->round_began = session->n_ids;
    for (int32_t i = 0; i < s->set.n_arms; i++) {
        lathe_spec_arm *arm = &s->set.arm[i];
        arm->rounds = arm->proposed = arm->accepted = arm->emitted = 0;
        arm->cost = arm->hind_tokens = arm->hind_cost = 0.0;
    }
    for (int32_t i = 0; i < s->set.n_sources; i++)
        s->source[i].asleep = s->source[i].naps = s->source[i].idle = 0;
}

void lathe_spec_end(void *state, lathe_session *session) {
    lathe_spec *s = state;
    for (int32_t i = 0; i < s->set.n_sources; i++)
        if (s->source[i].proposer->finish)
            s->source[i].proposer->finish(s->source[i].state,
                                          session->ids + session->n_ids - session->n_generated,
                                          (int32_t) session->n_generated);
}

/* --- What is reported ---------------------------------------------------------------------------- */

/* The last round may have gone past the end of the text: only what was kept counts. */
static void settle(const lathe_spec *s, const lathe_session *session, lathe_session_spec_stats *out) {
    const int64_t kept = (int64_t) (session->n_ids - s->round_began);
    const int64_t last = s->totals.rounds > 0 ? s->verdict.n_emitted : 0;
    if (s->totals.rounds == 0 || kept >= last)
        return;
    const int64_t accepted = s->verdict.n_accepted < kept ? s->verdict.n_accepted : kept;
    out->emitted -= last - kept;
    out->accepted -= s->verdict.n_accepted - accepted;
    out->truncated = 1;
    for (int64_t k = accepted; k < s->verdict.n_accepted && k < LATHE_SPEC_STATS_DEPTH; k++)
        out->accepted_at[k]--;
}

double lathe_spec_regret(const lathe_spec *s, const char **best_arm) {
    double best = 0.0;
    for (int32_t i = 0; i < s->set.n_arms; i++) {
        const lathe_spec_arm *arm = &s->set.arm[i];
        /* An arm that was seen in few rounds says nothing about the answer. */
        const double r = arm->hind_cost > 0.0 && arm->hind_tokens > 0.3 * (double) s->totals.emitted
                             ? arm->hind_tokens / arm->hind_cost
                             : 0.0;
        if (r > best) {
            best = r;
            *best_arm = arm->name;
        }
    }
    return best > 0.0 ? s->totals.cost - (double) s->totals.emitted / best : 0.0;
}

/* Plain rounds of an answer whose mean says what one takes, and of the gate's whose median does. */
enum { PLAIN_MEAN = 32, PLAIN_MEDIAN = 3 };

/* Seconds of a plain token. With many plain rounds in the answer their mean: what interrupts the program
 * from outside lengthens the answer's time too, and a median would leave it out on one side. */
static double plain_token_s(const lathe_spec *s) {
    const lathe_spec_totals *t = &s->totals;
    if (t->plain_rounds >= PLAIN_MEAN)
        return t->plain_rounds_s / (double) t->plain_rounds;
    return s->gate.n_plain >= PLAIN_MEDIAN ? lathe_gate_plain_s(&s->gate) : s->cost.measured.plain_s;
}

bool lathe_session_spec_stats_of(const lathe_session *session, lathe_session_spec_stats *stats) {
    if (session->step.take != lathe_spec_take)
        return false;
    const lathe_spec *s = session->step.state;
    const lathe_spec_totals *t = &s->totals;
    *stats = (lathe_session_spec_stats){.struct_size = sizeof *stats,
                                        .rounds = t->rounds,
                                        .proposed = t->proposed,
                                        .accepted = t->accepted,
                                        .emitted = t->emitted,
                                        .rows = t->rows,
                                        .switches = t->switches,
                                        .gate_refused = s->gate.refused,
                                        .probes = s->gate.probes,
                                        .proposer = s->set.n_sources == 1 ? s->source[0].proposer->name
                                                    : s->set.automatic    ? "auto"
                                                    : s->set.n_sources    ? "several"
                                                                          : "none",
                                        .verifier = s->verifier->name,
                                        .controller = s->controller->name,
                                        .lossless = s->verifier->lossless,
                                        .same_text =
                                            s->verifier->same_text && s->verifier != &lathe_verifier_coupled,
                                        .tv_budget = t->tv_budget,
                                        .draft_s = t->draft_s,
                                        .verify_s = t->verify_s,
                                        .sample_s = t->sample_s,
                                        .other_s = t->other_s,
                                        .loss_bound = s->use_gate ? lathe_gate_loss_bound(&s->gate) : 0.0,
                                        .interrupted_s = s->gate.interrupted_s,
                                        .n_arms = s->set.n_arms,
                                        .cost = s->cost.model};
    const double plain = plain_token_s(s);
    stats->plain_s = plain;
    for (int32_t k = 0; k < LATHE_SPEC_STATS_DEPTH; k++) {
        stats->reached[k] = t->reached[k];
        stats->accepted_at[k] = t->accepted_at[k];
        if (t->reached[k] > 0)
            stats->n_depth = k + 1;
    }
    settle(s, session, stats);
    if (plain > 0.0 && session->stats.decode_s > 0.0)
        stats->speedup_vs_plain = (double) stats->emitted * plain / session->stats.decode_s;
    for (int32_t i = 0; i < s->set.n_arms; i++) {
        const lathe_spec_arm *arm = &s->set.arm[i];
        const double n = arm->rounds > 0 ? (double) arm->rounds : 1.0;
        stats->arms[i] =
            (lathe_spec_arm_stats){.name = arm->name,
                                   .share = t->rounds > 0 ? (double) arm->rounds / (double) t->rounds : 0.0,
                                   .accepted = (double) arm->accepted / n,
                                   .cost = arm->cost / n,
                                   .rounds = arm->rounds,
                                   .proposed = arm->proposed,
                                   .emitted = arm->emitted};
    }
    for (int32_t i = 0; i < s->set.n_sources; i++)
        if (s->source[i].proposer->bytes)
            stats->draft_bytes += s->source[i].proposer->bytes(s->source[i].state);
    stats->regret = lathe_spec_regret(s, &stats->best_arm);
    return true;
}
