/* stream_draft.c - drafts of several sequences: free sources for each by itself, models for all in common
 * steps. */
#include <stdlib.h>
#include <string.h>

#include "decode/stream.h"

/* Ends a chain where little of it is likely to be kept. */
typedef struct lathe_lane_stop {
    const lathe_spec_source *source;
    double survival;
} lathe_lane_stop;

#define SURVIVAL_MIN 0.2

static bool goes_on(void *user, int32_t depth, double prob) {
    lathe_lane_stop *r = user;
    (void) depth;
    r->survival *= lathe_spec_source_estimate(r->source, prob);
    return r->survival > SURVIVAL_MIN;
}

/* Drafted tokens that still have a place in the lane's text. */
static int32_t room_of(const lathe_stream *t, const lathe_lane *l) {
    const int32_t n_predict = l->session->params.n_predict;
    const int32_t room = t->params->n_ctx - lathe_context_n_past(t->host->context, l->session->seq) - 1;
    const int32_t wanted = n_predict - (int32_t) l->session->n_generated - 1;
    return n_predict >= 0 && wanted < room ? wanted : room;
}

static int32_t most_of(const lathe_stream *t, const lathe_lane *l, const lathe_spec_source *source) {
    const int32_t room = room_of(t, l),
                  cap = source->proposer->slow ? LATHE_LANE_SLOW_DRAFTS : LATHE_LANE_DRAFTS;
    const int32_t most = source->length < room ? source->length : room;
    return most < cap ? most : cap;
}

/* The lane's draft becomes that of source i, where it promises more than the one so far. */
static void offer(lathe_lane *l, int32_t i, int32_t most, double *A) {
    lathe_spec *s = l->spec;
    lathe_spec_source *source = &s->source[i];
    double local[LATHE_LANE_DRAFTS], expected = 0.0;
    lathe_token_tree_cut(&source->tree, most, most);
    source->drafted = true;
    const int32_t n = lathe_spec_source_values(source, local, most);
    for (int32_t k = 0; k < n; k++)
        expected += local[k];
    if (n == 0 || expected <= l->promised)
        return;
    l->promised = expected;
    l->source = source;
    l->n_drafts = n;
    memcpy(A, local, (size_t) n * sizeof *A);
    for (int32_t a = 1; a < s->set.n_arms; a++)
        if (s->set.arm[a].source == i)
            l->arm = a;
}

static lathe_status draft_free(const lathe_stream *t, lathe_lane *l, double *A, lathe_error *err) {
    lathe_spec *s = l->spec;
    const lathe_session *session = l->session;
    for (int32_t i = 0; i < s->set.n_sources; i++) {
        lathe_spec_source *source = &s->source[i];
        const int32_t most = most_of(t, l, source);
        if (source->proposer->slow || most < 1)
            continue;
        const lathe_status status =
            source->proposer->sync(source->state, session->ids, (int32_t) session->n_ids, err);
        if (status)
            return status;
        lathe_token_tree_start(&source->tree, session->ids[session->n_ids - 1]);
        source->proposer->draft(source->state, most, &source->tree);
        offer(l, i, most, A);
    }
    return LATHE_OK;
}

static lathe_status run_jobs(const lathe_proposer *proposer, const lathe_draft_job *jobs, int32_t n,
                             lathe_error *err) {
    lathe_status status = LATHE_OK;
    if (proposer->propose_many)
        return proposer->propose_many(jobs, n, err);
    for (int32_t j = 0; !status && j < n; j++) {
        status = proposer->sync(jobs[j].state, jobs[j].ids, jobs[j].n_ids, err);
        if (!status)
            status = proposer->propose(jobs[j].state, jobs[j].request, jobs[j].tree, err);
    }
    return status;
}

/* Source i of every lane whose free drafts promise little: one step of the model serves all of them. */
static lathe_status draft_slow(lathe_stream *t, int32_t i, lathe_error *err) {
    int32_t n = 0, owner[LATHE_LANES_MAX], row_of[LATHE_LANES_MAX], most[LATHE_LANES_MAX];
    const lathe_proposer *proposer = t->lanes[0].spec->source[i].proposer;
    for (int32_t k = 0, row = 0; k < t->n_lanes; k++) {
        lathe_lane *l = &t->lanes[k];
        if (!l->busy)
            continue;
        lathe_spec_source *source = &l->spec->source[i];
        most[n] = most_of(t, l, source);
        row_of[n] = row++;
        if (most[n] < 1 || l->promised > 1.0)
            continue;
        lathe_token_tree_start(&source->tree, l->session->ids[l->session->n_ids - 1]);
        t->stops[n] = (lathe_lane_stop){.source = source, .survival = 1.0};
        t->requests[n] = (lathe_draft_request){.n_max = most[n],
                                               .law = LATHE_LAW_POINT,
                                               .chance = &l->spec->chance,
                                               .sampler = l->session->sampler,
                                               .more = goes_on,
                                               .user = &t->stops[n]};
        t->jobs[n] = (lathe_draft_job){.state = source->state,
                                       .ids = l->session->ids,
                                       .n_ids = (int32_t) l->session->n_ids,
                                       .request = &t->requests[n],
                                       .tree = &source->tree};
        owner[n++] = k;
    }
    const lathe_status status = n > 0 ? run_jobs(proposer, t->jobs, n, err) : LATHE_OK;
    for (int32_t j = 0; !status && j < n; j++)
        offer(&t->lanes[owner[j]], i, most[j], t->A + (size_t) row_of[j] * LATHE_LANE_DRAFTS);
    return status;
}

lathe_status lathe_stream_draft(lathe_stream *t, lathe_error *err) {
    lathe_status status = LATHE_OK;
    const lathe_spec *first = t->lanes[0].spec; /* every lane has the same sources */
    for (int32_t k = 0, row = 0; !status && k < t->n_lanes; k++) {
        lathe_lane *l = &t->lanes[k];
        l->source = NULL;
        l->n_drafts = 0;
        l->promised = 0.0;
        for (int32_t i = 0; i < first->set.n_sources; i++)
            l->spec->source[i].drafted = false;
        if (l->busy)
            status = draft_free(t, l, t->A + (size_t) row++ * LATHE_LANE_DRAFTS, err);
    }
    for (int32_t i = 0; !status && i < first->set.n_sources; i++)
        if (first->source[i].proposer->slow)
            status = draft_slow(t, i, err);
    return status;
}

lathe_status lathe_stream_draft_open(lathe_stream *t, lathe_error *err) {
    t->jobs = calloc((size_t) t->n_lanes, sizeof *t->jobs);
    t->stops = calloc((size_t) t->n_lanes, sizeof *t->stops);
    t->requests = calloc((size_t) t->n_lanes, sizeof *t->requests);
    return t->jobs && t->stops && t->requests
               ? LATHE_OK
               : lathe_fail(err, LATHE_ERR_MEMORY, "no memory for the drafts of %d sequences",
                            (int) t->n_lanes);
}

void lathe_stream_draft_close(lathe_stream *t) {
    free(t->jobs);
    free(t->stops);
    free(t->requests);
}
