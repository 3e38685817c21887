/* proposer_draft.c - a smaller model drafts: a chain, a tree of known shape, or EAGLE-2's tree of the
 * likeliest nodes.
 *
 * Its context follows the committed text: what it read of a rejected draft is rolled back by comparing ids,
 * so that the draft's last token, which it never read, needs no case of its own. A text longer than its
 * context slides: the older half is dropped. Trees are decoded layer by layer, each time whole. */
#include "decode/proposer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "decode/chance.h"
#include "decode/draft_check.h"
#include "decode/spec_cost.h"
#include "decode/tree_shape.h"
#include "decode/verifier.h"

enum { CTX_MIN = 8 };

typedef struct draft_model {
    lathe_model *model;
    lathe_context *context;
    lathe_tree_shape shape;
    int32_t n_vocab, n_own; /* the target's ids; the draft's */
    int32_t n_ctx;
    int32_t *ids; /* [n_ids] what was read, dropped tokens included */
    int32_t n_ids, capacity, keep, n_dropped;
    int32_t n_synced; /* tokens of the text at the last sync: ids behind them are drafts */
    bool ready;       /* logits hold what follows ids [n_synced] */
    float *logits;    /* [n_vocab] of the step at hand */
    double *law;      /* [n_vocab] */
    int32_t *order;   /* [n_vocab] scratch of the best ids */
} draft_model;

static void destroy(void *state) {
    draft_model *s = state;
    if (!s)
        return;
    lathe_context_free(s->context);
    lathe_model_free(s->model);
    lathe_tree_shape_free(&s->shape);
    free(s->ids);
    free(s->logits);
    free(s->law);
    free(s->order);
    free(s);
}

static lathe_status open_model(const lathe_proposer_params *params, draft_model *s, lathe_error *err) {
    if (!params->file || !params->target)
        return lathe_fail(err, LATHE_ERR_ARG, "'draft' needs a model file; want draft:FILE.gguf");
    lathe_model_params mp = lathe_model_params_default();
    mp.logger = params->logger;
    lathe_status status = lathe_model_load(params->file, &mp, &s->model, err);
    if (!status)
        status = lathe_draft_check(params->target, s->model, err);
    if (status)
        return err ? lathe_fail_within(err, "draft model %s", params->file) : status;
    lathe_context_params cp = lathe_context_params_default();
    const int32_t trained = lathe_model_n_ctx_train(s->model);
    const int32_t wanted = params->context ? lathe_context_n_ctx(params->context) : trained;
    cp.n_ctx = wanted + 1 < trained ? wanted + 1 : trained; /* a whole text and the drafts behind it */
    cp.n_threads = params->context ? lathe_context_n_threads(params->context) : 0;
    cp.exact = params->exact; /* drawn drafts decide over texts: equal seeds, equal texts */
    cp.logger = params->logger;
    s->n_ctx = cp.n_ctx;
    if (s->n_ctx < CTX_MIN)
        return lathe_fail(err, LATHE_ERR_INPUT, "draft model %s: a context of %d tokens; at least %d",
                          params->file, (int) s->n_ctx, (int) CTX_MIN);
    return lathe_context_new(s->model, &cp, &s->context, err);
}

static lathe_status create(const lathe_proposer_params *params, void **state, lathe_error *err) {
    draft_model *s = calloc(1, sizeof *s);
    if (!s)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a draft model");
    lathe_status status = lathe_tree_shape_parse(params->tree, &s->shape, err);
    if (!status)
        status = open_model(params, s, err);
    if (!status) {
        s->n_vocab = params->n_vocab;
        s->n_own = lathe_model_n_vocab(s->model);
        s->logits = malloc((size_t) s->n_vocab * sizeof *s->logits);
        s->law = malloc((size_t) s->n_vocab * sizeof *s->law);
        s->order = malloc((size_t) s->n_vocab * sizeof *s->order);
        if (!s->logits || !s->law || !s->order)
            status = lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a draft model");
    }
    if (status) {
        destroy(s);
        return status;
    }
    *state = s;
    return LATHE_OK;
}

/* --- Following the text -------------------------------------------------------------------------- */

/* Logits over the target's ids: what the draft lacks is impossible, what only it has is left out. */
static void take_logits(draft_model *s, const float *own) {
    const int32_t n = s->n_own < s->n_vocab ? s->n_own : s->n_vocab;
    memcpy(s->logits, own, (size_t) n * sizeof *own);
    for (int32_t i = n; i < s->n_vocab; i++)
        s->logits[i] = -INFINITY;
}

static lathe_status reserve(draft_model *s, int32_t n, lathe_error *err) {
    if (n <= s->capacity)
        return LATHE_OK;
    if (n > INT32_MAX / 2)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %d tokens", (int) n);
    int32_t *grown = realloc(s->ids, (size_t) n * 2 * sizeof *grown);
    if (!grown)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %d tokens", (int) n);
    s->ids = grown;
    s->capacity = 2 * n;
    return LATHE_OK;
}

static int32_t common(const draft_model *s, const int32_t *ids, int32_t n) {
    const int32_t most = n < s->n_ids ? n : s->n_ids;
    int32_t same = 0;
    while (same < most && s->ids[same] == ids[same])
        same++;
    return same;
}

static void forget(draft_model *s) {
    lathe_context_clear(s->context, 0);
    s->n_ids = s->n_dropped = s->keep = 0;
    s->ready = false;
}

/* Makes room for `more` tokens behind n_ids by dropping the older half of what is held. */
static void slide(draft_model *s, int32_t more) {
    const int32_t held = s->n_ids - s->n_dropped;
    if (held + more <= s->n_ctx)
        return;
    const int32_t keep = s->keep > 0 ? s->keep : 1, drop = (held - keep) / 2;
    lathe_error ignored = {0};
    if (drop < 1 || held - drop + more > s->n_ctx ||
        lathe_context_shift(s->context, 0, keep, keep + drop, &ignored) != LATHE_OK) {
        forget(s);
        return;
    }
    s->keep = keep;
    s->n_dropped += drop;
}

/* Reads ids [from, to), logits of the last. */
static lathe_status feed(draft_model *s, const int32_t *ids, int32_t n, lathe_error *err) {
    const lathe_batch batch = {.tokens = ids, .n_tokens = n};
    const lathe_status status = lathe_context_decode(s->context, &batch, err);
    if (!status)
        take_logits(s, lathe_context_logits(s->context, -1));
    return status;
}

static int32_t behind(void *state, int32_t n) {
    const draft_model *s = state;
    const int32_t missing = n - s->n_ids;
    return missing > 2 ? missing - 2 : 0; /* one or two are part of every draft */
}

static int64_t bytes(void *state) {
    const draft_model *s = state;
    return lathe_context_cache_bytes(s->context);
}

static void measure(void *state, double *step_s, double *read_s) {
    draft_model *s = state;
    double best = 1e9, read = 1e9;
    for (int i = 0; i < 5; i++) {
        const double one = lathe_spec_step_seconds(s->context, 1);
        if (one >= 0.0 && one < best)
            best = one;
        if (one > 0.05)
            break;
    }
    for (int i = 0; i < 2 && best < 0.05; i++) {
        const double many = lathe_spec_step_seconds(s->context, 32);
        if (many >= 0.0 && many / 32 < read)
            read = many / 32;
    }
    *step_s = best < 1e9 ? best : 0.0;
    *read_s = read < 1e9 ? read : *step_s;
}

static lathe_status sync_to(void *state, const int32_t *ids, int32_t n, lathe_error *err) {
    draft_model *s = state;
    int32_t same = common(s, ids, n);
    lathe_status status = reserve(s, n + LATHE_DRAFT_DEPTH_MAX, err);
    if (status)
        return status;
    if (s->n_dropped > 0 && same < s->keep + s->n_dropped) {
        forget(s);
        same = 0;
    }
    if (same == n) /* read already: its last token again, for its logits */
        same = n - 1;
    if (same < s->n_ids) {
        if ((status = lathe_context_rollback(s->context, 0, same - s->n_dropped, err)))
            return status;
        s->n_ids = same;
    }
    slide(s, n - same + s->n_ctx / 32);
    if (s->n_ids == 0 && n > s->n_ctx / 2 + s->n_ctx / 4) {
        /* Too long a text: it is read from its last half on, behind its first token. */
        const int32_t last = s->n_ctx / 2;
        memcpy(s->ids, ids, (size_t) n * sizeof *ids);
        s->keep = 1;
        s->n_dropped = n - last - 1;
        if ((status = feed(s, ids, 1, err)))
            return status;
        s->n_ids = n - last;
    } else {
        memcpy(s->ids + s->n_ids, ids + s->n_ids, (size_t) (n - s->n_ids) * sizeof *ids);
    }
    status = feed(s, ids + s->n_ids, n - s->n_ids, err);
    if (status) {
        forget(s);
        return status;
    }
    s->n_ids = s->n_synced = n;
    s->ready = true;
    return LATHE_OK;
}

/* --- Choosing tokens ----------------------------------------------------------------------------- */

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

/* The k likeliest ids and their probabilities at temperature 1; how many. */
static int32_t best_few(draft_model *s, const float *logits, int32_t k, int32_t *ids, double *prob) {
    double sum = 0.0;
    int32_t n = 0;
    for (int32_t i = 0; i < s->n_vocab; i++) {
        if (n == k && logits[i] <= logits[ids[n - 1]])
            continue;
        int32_t at = n < k ? n++ : k - 1;
        for (; at > 0 && logits[ids[at - 1]] < logits[i]; at--)
            ids[at] = ids[at - 1];
        ids[at] = i;
    }
    const float top = logits[ids[0]];
    for (int32_t i = 0; i < s->n_vocab; i++)
        if (logits[i] > top - 16.0f)
            sum += expf(logits[i] - top);
    for (int32_t i = 0; i < n; i++)
        prob[i] = expf(logits[ids[i]] - top) / sum;
    return n;
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

typedef struct draft_step {
    const lathe_draft_request *request;
    lathe_token_tree *tree;
    lathe_chance chance;
    int32_t depth; /* of the node to be added */
} draft_step;

static lathe_status law_here(draft_model *s, const draft_step *step, lathe_error *err) {
    return lathe_sampler_law(step->request->sampler, s->logits, s->ids,
                             (size_t) (s->n_synced + step->depth - 1), s->law, err);
}

/* Adds the next node of a chain behind `parent`; *node = -1: the draft ends. */
static lathe_status add_link(draft_model *s, const draft_step *step, int32_t parent, int32_t *node,
                             lathe_error *err) {
    const lathe_draft_request *r = step->request;
    const uint64_t position = (uint64_t) (s->n_synced + step->depth - 1);
    const bool warm = !lathe_sampler_is_greedy(r->sampler);
    lathe_status status = LATHE_OK;
    double prob;
    int32_t id;
    *node = -1;
    if (r->law == LATHE_LAW_SAMPLED || warm || r->gumbel)
        if ((status = law_here(s, step, err)))
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

static lathe_status propose_chain(draft_model *s, draft_step *step, lathe_error *err) {
    lathe_status status = LATHE_OK;
    int32_t node = 0;
    for (int32_t k = 1; !status && k <= step->request->n_max; k++) {
        if (k > 1) {
            const int32_t last = step->tree->token[node];
            if (last >= s->n_own || s->n_ids - s->n_dropped >= s->n_ctx)
                return LATHE_OK;
            if ((status = feed(s, &last, 1, err)))
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

/* --- Trees --------------------------------------------------------------------------------------- */

/* Decodes the whole tree so far without its root, which was read; logits of every node. The nodes are taken
 * back by the next rollback. */
static lathe_status decode_tree(draft_model *s, const lathe_token_tree *tree, int32_t *parent, uint8_t *want,
                                lathe_error *err) {
    const int32_t n = tree->n_nodes - 1;
    lathe_status status = lathe_context_rollback(s->context, 0, s->n_synced - s->n_dropped, err);
    for (int32_t i = 0; i < n; i++) {
        parent[i] = tree->parent[i + 1] - 1;
        want[i] = 1;
    }
    const lathe_batch batch = {.tokens = tree->token + 1, .parent = parent, .want = want, .n_tokens = n};
    return status ? status : lathe_context_decode(s->context, &batch, err);
}

/* Children of node `of` in the shape, from its logits: drawn, or the likeliest by rank. */
static lathe_status add_children(draft_model *s, draft_step *step, int32_t of, int32_t *made,
                                 lathe_error *err) {
    const int32_t node = made[of];
    const lathe_draft_request *r = step->request;
    const lathe_tree_shape *shape = &s->shape;
    lathe_token_tree *tree = step->tree;
    lathe_status status = LATHE_OK;
    int32_t count = 0, row = -1, ids[LATHE_TREE_NODES_MAX];
    double prob[LATHE_TREE_NODES_MAX];
    for (int32_t i = of + 1; i <= shape->n_nodes; i++)
        count += shape->parent[i] == of;
    if (count == 0)
        return LATHE_OK;
    step->depth = tree->depth[node] + 1;
    if (r->law == LATHE_LAW_SAMPLED) {
        for (int32_t at = node; at > 0; at = tree->parent[at])
            s->ids[s->n_synced + tree->depth[at] - 1] = tree->token[at];
        if ((status = law_here(s, step, err)) || (row = lathe_token_tree_add_law(tree, s->law)) < 0)
            return status;
    } else {
        count = best_few(s, s->logits, count < s->n_vocab ? count : s->n_vocab, ids, prob);
    }
    int32_t rank = 0;
    for (int32_t i = of + 1; i <= shape->n_nodes && tree->n_nodes <= r->n_max; i++) {
        if (shape->parent[i] != of)
            continue;
        if (r->law == LATHE_LAW_SAMPLED) {
            const uint64_t position = (uint64_t) (s->n_synced + step->depth - 1);
            double left = 0.0;
            for (int32_t x = 0; x < s->n_vocab; x++)
                left += s->law[x];
            if (!(left > 0.0))
                break;
            const int32_t id = lathe_chance_draw(&step->chance, LATHE_RNG_DRAFT_SAMPLE, s->law, s->n_vocab,
                                                 position, (uint32_t) tree->n_nodes);
            made[i] = lathe_token_tree_add_sampled(tree, node, id, row);
            if (!r->replace)
                s->law[id] = 0.0;
        } else if (rank < count) {
            made[i] = lathe_token_tree_add(tree, node, ids[rank], prob[rank]);
            rank++;
        }
    }
    return LATHE_OK;
}

static lathe_status propose_fixed(draft_model *s, draft_step *step, int32_t *parent, uint8_t *want,
                                  lathe_error *err) {
    const lathe_tree_shape *shape = &s->shape;
    int32_t made[LATHE_TREE_NODES_MAX + 1], depth[LATHE_TREE_NODES_MAX + 1] = {0}, deepest = 0;
    for (int32_t i = 1; i <= shape->n_nodes; i++) {
        made[i] = -1;
        depth[i] = depth[shape->parent[i]] + 1;
        deepest = depth[i] > deepest ? depth[i] : deepest;
    }
    made[0] = 0;
    lathe_status status = LATHE_OK;
    for (int32_t layer = 0; !status && layer < deepest && step->tree->n_nodes <= step->request->n_max;
         layer++) {
        const int32_t before = step->tree->n_nodes;
        if (layer > 0 && (status = decode_tree(s, step->tree, parent, want, err)))
            return status;
        for (int32_t i = 0; !status && i <= shape->n_nodes; i++) {
            if (depth[i] != layer || made[i] < 0)
                continue;
            if (made[i] > 0)
                take_logits(s, lathe_context_logits(s->context, made[i] - 1));
            status = add_children(s, step, i, made, err);
        }
        if (step->tree->n_nodes == before)
            break;
    }
    return status;
}

/* The tree's nodes beside their values and depth, then the N of largest value are kept. */
static lathe_status propose_eagle2(draft_model *s, draft_step *step, int32_t *parent, uint8_t *want,
                                   lathe_error *err) {
    const lathe_tree_shape *shape = &s->shape;
    lathe_token_tree *tree = step->tree;
    double value[LATHE_TREE_NODES_MAX] = {1.0};
    int32_t grow[32] = {0}, n_grow = 1;
    lathe_status status = LATHE_OK;
    for (int32_t layer = 0; layer < shape->depth; layer++) {
        const int32_t first = tree->n_nodes;
        if (layer > 0 && (status = decode_tree(s, tree, parent, want, err)))
            return status;
        for (int32_t g = 0; g < n_grow; g++) {
            int32_t ids[32];
            double prob[32];
            if (grow[g] > 0)
                take_logits(s, lathe_context_logits(s->context, grow[g] - 1));
            const int32_t n =
                best_few(s, s->logits, shape->width < s->n_vocab ? shape->width : s->n_vocab, ids, prob);
            for (int32_t k = 0; k < n; k++) {
                const int32_t node = lathe_token_tree_add(tree, grow[g], ids[k], prob[k]);
                if (node > 0)
                    value[node] = value[grow[g]] * prob[k];
            }
        }
        n_grow = 0;
        uint8_t taken[LATHE_TREE_NODES_MAX] = {0};
        while (n_grow < shape->width) {
            int32_t best = -1;
            for (int32_t i = first; i < tree->n_nodes; i++)
                if (!taken[i] && (best < 0 || value[i] > value[best]))
                    best = i;
            if (best < 0)
                break;
            taken[best] = 1;
            grow[n_grow++] = best;
        }
        if (n_grow == 0)
            break;
    }
    uint8_t keep[LATHE_TREE_NODES_MAX];
    const int32_t most = shape->n_nodes < step->request->n_max ? shape->n_nodes : step->request->n_max;
    lathe_token_tree_rerank(value, tree->depth, tree->n_nodes, most, keep);
    lathe_token_tree_select(tree, keep);
    return status;
}

static lathe_status propose(void *state, const lathe_draft_request *request, lathe_token_tree *tree,
                            lathe_error *err) {
    draft_model *s = state;
    if (!s->ready || request->n_max < 1)
        return LATHE_OK;
    s->ready = false;
    draft_step step = {.request = request, .tree = tree, .chance = *request->chance};
    step.chance.seed = lathe_sampler_seed(request->sampler);
    step.chance.n_committed = (uint64_t) s->n_synced;
    if (s->shape.kind == LATHE_SHAPE_CHAIN)
        return propose_chain(s, &step, err);
    slide(s, tree->capacity < s->n_ctx / 2 ? tree->capacity : s->n_ctx / 2);
    if (s->n_ids == 0)
        return LATHE_OK; /* read again by the next sync */
    int32_t *parent = malloc((size_t) tree->capacity * sizeof *parent);
    uint8_t *want = malloc((size_t) tree->capacity);
    lathe_status status =
        parent && want ? LATHE_OK : lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a draft tree");
    if (!status)
        status = s->shape.kind == LATHE_SHAPE_FIXED ? propose_fixed(s, &step, parent, want, err)
                                                    : propose_eagle2(s, &step, parent, want, err);
    free(parent);
    free(want);
    /* Drafted rows never stay: the accepted ones are read again with the next text. */
    const lathe_status undone = lathe_context_rollback(s->context, 0, s->n_synced - s->n_dropped, NULL);
    if (undone)
        forget(s);
    return status;
}

const lathe_proposer lathe_proposer_draft = {
    .name = "draft",
    .summary = "a smaller model of the same tokenizer",
    .laws = LATHE_LAW_POINT | LATHE_LAW_SAMPLED,
    .trees = true,
    .length = 8,
    .create = create,
    .sync = sync_to,
    .destroy = destroy,
    .slow = true,
    .takes_file = true,
    .propose = propose,
    .behind = behind,
    .bytes = bytes,
    .measure = measure,
};
