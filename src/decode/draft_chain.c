/* draft_chain.c - the next token of a draft model's chain, one chain, and the chains of several sequences a
 * step at a time. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "decode/draft_model.h"
#include "decode/verifier.h"

enum {
    PIECE = 16
}; /* tokens that a sequence may add to a shared forward pass; longer texts are read alone */

/* Probability of the likeliest id at temperature 1, and the id; ties to the lowest. */
static double best_of(const float *logits, int32_t n, int32_t *id) {
    int32_t best = 0;
    for (int32_t i = 1; i < n; i++)
        if (logits[i] > logits[best])
            best = i;
    const float top = logits[best];
    double sum = 0.0;
    for (int32_t i = 0; i < n; i++)
        if (logits[i] > top - 16.0f)
            sum += expf(logits[i] - top);
    *id = best;
    return sum > 0.0 ? 1.0 / sum : 0.0;
}

/* The token that the target would take if its law were the draft's, by the same uniform: where the two laws
 * are near, both take the same one, whatever the temperature. *prob: how far the uniform lies from the ends
 * of the token's interval, as a guess of the probability that the target's holds it too. */
static int32_t by_the_same_uniform(const double *law, int32_t n, double u, double *prob) {
    double sum = 0.0, low = 0.0;
    int32_t id = 0;
    for (int32_t i = 0; i < n; i++) {
        if (!(law[i] > 0.0))
            continue;
        id = i;
        low = sum;
        sum += law[i];
        if (sum > u)
            break;
    }
    const double below = low > 0.0 ? u - low : 1.0, above = sum < 1.0 - 1e-9 ? sum - u : 1.0;
    const double depth = 1.0 - exp(-fmax(0.0, fmin(below, above)) / 0.06);
    *prob = 0.1 + 0.5 * depth + 0.25 * pow(depth, 8.0);
    return id;
}

/* Adds the next node of a chain behind `parent`; *node = -1: the draft ends. */
static lathe_status add_link(lathe_draft *s, const lathe_draft_step *step, int32_t parent, int32_t *node,
                             lathe_error *err) {
    const lathe_draft_request *r = step->request;
    const uint64_t position = (uint64_t) (s->n_synced + step->depth - 1);
    const bool warm = !lathe_sampler_is_greedy(r->sampler);
    lathe_status status = LATHE_OK;
    double prob;
    int32_t id;
    *node = -1;
    if (r->law == LATHE_LAW_SAMPLED || warm || r->gumbel)
        if ((status = lathe_draft_law(s, step, err)))
            return status;
    if (r->law == LATHE_LAW_SAMPLED) {
        prob = s->law[lathe_argmax(s->law, s->n_vocab)];
        if (r->more && !r->more(r->user, step->depth, prob))
            return LATHE_OK;
        const int32_t row = lathe_token_tree_add_law(step->tree, s->law);
        if (row < 0)
            return LATHE_OK;
        id = lathe_chance_draw(&step->chance, LATHE_RNG_DRAFT_SAMPLE, s->law, s->n_vocab, position,
                               (uint32_t) step->tree->n_nodes);
        *node = lathe_token_tree_add_sampled(step->tree, parent, id, row);
        if (*node >= 0)
            step->tree->prob[*node] = (float) prob;
        return LATHE_OK;
    }
    if (r->gumbel) {
        id = lathe_gumbel_pick(step->chance.seed, s->law, s->n_vocab, position);
        prob = s->law[id];
    } else if (warm) {
        const double u = lathe_uniform_at(step->chance.seed, LATHE_RNG_TARGET_SAMPLE, (uint32_t) position,
                                          (uint32_t) (position >> 32), 0);
        id = by_the_same_uniform(s->law, s->n_vocab, u, &prob);
    } else {
        /* The likeliest of two models that learnt alike is the same more often than its probability says. */
        prob = 1.0 - pow(1.0 - best_of(s->logits, s->n_vocab, &id), 2.5);
    }
    if (!r->more || r->more(r->user, step->depth, prob))
        *node = lathe_token_tree_add(step->tree, parent, id, prob);
    return LATHE_OK;
}

lathe_status lathe_draft_chain(lathe_draft *s, lathe_draft_step *step, lathe_error *err) {
    lathe_status status = LATHE_OK;
    int32_t node = 0;
    for (int32_t k = 1; !status && k <= step->request->n_max; k++) {
        if (k > 1) {
            const int32_t last = step->tree->token[node];
            if (last >= s->n_own || s->n_ids - s->n_dropped >= s->host->n_ctx)
                return LATHE_OK;
            if ((status = lathe_draft_feed(s, &last, 1, err)))
                return status;
            s->ids[s->n_ids++] = last;
        }
        step->depth = k;
        status = add_link(s, step, node, &node, err);
        if (node < 0)
            break;
    }
    return status;
}

/* --- Several sequences --------------------------------------------------------------------------- */

typedef struct lane {
    lathe_draft *s;
    lathe_draft_step step;
    int32_t node, first, n, row; /* ids [first, first + n) are read in this pass; row of its last */
} lane;

/* One forward pass over what every lane has to read; logits of each lane's last token. */
static lathe_status read_all(lane *lanes, int32_t n, int32_t *tokens, int32_t *seqs, uint8_t *want,
                             lathe_error *err) {
    int32_t rows = 0;
    for (int32_t i = 0; i < n; i++) {
        lane *l = &lanes[i];
        for (int32_t k = 0; k < l->n; k++, rows++) {
            tokens[rows] = l->s->ids[l->first + k];
            seqs[rows] = l->s->seq;
            want[rows] = k + 1 == l->n;
        }
        l->row = rows - 1;
    }
    if (rows == 0)
        return LATHE_OK;
    lathe_context *context = lanes[0].s->host->context;
    const lathe_batch batch = {.tokens = tokens, .seq = seqs, .want = want, .n_tokens = rows};
    const lathe_status status = lathe_context_decode(context, &batch, err);
    for (int32_t i = 0; !status && i < n; i++)
        if (lanes[i].n > 0)
            lathe_draft_take_logits(lanes[i].s, lathe_context_logits(context, lanes[i].row));
    return status;
}

/* The next token of a lane's chain; what it has to read then: that token, or nothing where the draft ends. */
static lathe_status next_link(lane *l, int32_t depth, lathe_error *err) {
    const lathe_draft_request *r = l->step.request;
    lathe_draft *s = l->s;
    l->n = 0;
    if (l->node < 0 || depth > r->n_max)
        return LATHE_OK;
    l->step.depth = depth;
    const lathe_status status = add_link(s, &l->step, l->node, &l->node, err);
    if (status || l->node < 0 || depth == r->n_max)
        return status;
    const int32_t token = l->step.tree->token[l->node];
    if (token >= s->n_own || s->n_ids - s->n_dropped >= s->host->n_ctx)
        return LATHE_OK;
    l->first = s->n_ids;
    l->n = 1;
    s->ids[s->n_ids++] = token;
    return LATHE_OK;
}

lathe_status lathe_draft_many(const lathe_draft_job *jobs, int32_t n, lathe_error *err) {
    const size_t rows = (size_t) n * PIECE;
    lane *lanes = calloc((size_t) n, sizeof *lanes);
    int32_t *tokens = malloc(2 * rows * sizeof *tokens);
    uint8_t *want = malloc(rows);
    lathe_status status = lanes && tokens && want ? LATHE_OK
                                                  : lathe_fail(err, LATHE_ERR_MEMORY,
                                                               "no memory for drafts of %d texts", (int) n);
    int32_t n_open = 0;
    for (int32_t i = 0; !status && i < n; i++) {
        lane *l = &lanes[i];
        l->s = jobs[i].state;
        status = lathe_draft_sync_but(l->s, jobs[i].ids, jobs[i].n_ids, PIECE, &l->first, err);
        l->n = jobs[i].n_ids - l->first;
        l->step = lathe_draft_begin(l->s, jobs[i].request, jobs[i].tree);
        n_open++;
    }
    if (!status)
        status = read_all(lanes, n, tokens, tokens + rows, want, err);
    bool more = n > 0;
    for (int32_t depth = 1; !status && more; depth++) {
        more = false;
        for (int32_t i = 0; !status && i < n; i++) {
            status = next_link(&lanes[i], depth, err);
            more = more || lanes[i].n > 0;
            if (lanes[i].n == 0)
                lanes[i].node = -1;
        }
        if (!status && more)
            status = read_all(lanes, n, tokens, tokens + rows, want, err);
    }
    for (int32_t i = 0; i < n_open; i++) {
        lanes[i].s->ready = false;
        if (status) /* some of it was read, some not: all is read again */
            lathe_draft_forget(lanes[i].s);
    }
    free(lanes);
    free(tokens);
    free(want);
    return status;
}
