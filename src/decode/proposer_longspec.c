/* proposer_longspec.c - LongSpec's draft block: a chain, or a beam tree without pruning. The draft reads the
 * target's last-layer cache, so that nothing but a window of tokens has to be read when a text begins.
 * Source: Yang et al. 2025 (LongSpec). */
#include <stdlib.h>
#include <string.h>

#include "decode/beam.h"
#include "decode/draft_link.h"
#include "model/longspec_run.h"

typedef struct longspec {
    lathe_longspec *draft;
    lathe_context *context;
    lathe_beam_shape shape;
    int32_t *ids; /* [n] the text, and room for a draft */
    int32_t n, capacity, n_vocab;
    double *law;
} longspec;

static void destroy(void *state) {
    longspec *s = state;
    if (!s)
        return;
    lathe_longspec_free(s->draft);
    free(s->ids);
    free(s->law);
    free(s);
}

static lathe_status create(const lathe_proposer_params *params, void **state, lathe_error *err) {
    if (!params->file || !params->context)
        return lathe_fail(err, LATHE_ERR_ARG, "'longspec' needs a draft's file; want longspec:FILE.gguf");
    if (params->seq != 0)
        return lathe_fail(err, LATHE_ERR_UNSUPPORTED, "'longspec' drafts for one sequence, not for several");
    longspec *s = calloc(1, sizeof *s);
    if (!s)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a draft");
    lathe_status status = lathe_beam_parse(params->tree, &s->shape, err);
    if (!status)
        status = lathe_longspec_open(params->file, params->context, &s->draft, err);
    s->context = params->context;
    s->n_vocab = params->n_vocab;
    s->law = malloc((size_t) params->n_vocab * sizeof *s->law);
    if (!status && !s->law)
        status = lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a draft's law");
    if (status) {
        destroy(s);
        return status;
    }
    *state = s;
    return LATHE_OK;
}

static lathe_status sync_to(void *state, const int32_t *ids, int32_t n, lathe_error *err) {
    longspec *s = state;
    s->n = 0;
    if (lathe_context_n_past(s->context, 0) !=
        n - 1) /* positions were shifted: the text is not the cache's */
        return LATHE_OK;
    if (n + LATHE_DRAFT_DEPTH_MAX > s->capacity) {
        const int32_t wanted = n + n / 2 + LATHE_DRAFT_DEPTH_MAX + 256;
        int32_t *grown = realloc(s->ids, (size_t) wanted * sizeof *grown);
        if (!grown)
            return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %d tokens", (int) n);
        s->ids = grown;
        s->capacity = wanted;
    }
    memcpy(s->ids, ids, (size_t) n * sizeof *ids);
    const lathe_status status = lathe_longspec_sync(s->draft, ids, n, err);
    if (!status)
        s->n = n;
    return status;
}

static lathe_status propose_chain(longspec *s, const lathe_draft_request *r, lathe_token_tree *tree,
                                  lathe_error *err) {
    const float *logits = NULL;
    int32_t made, node = 0, parent = -1;
    lathe_status status = lathe_longspec_step(s->draft, NULL, NULL, 1, &logits, &made, err);
    for (int32_t k = 1; !status && k <= r->n_max && k <= LATHE_DRAFT_DEPTH_MAX; k++) {
        status = lathe_draft_link(r, logits, s->ids, s->n + k - 1, s->n, k, s->law, tree, node, &node, err);
        if (status || node < 0 || k == r->n_max || k == LATHE_LONGSPEC_NODES_MAX)
            break;
        s->ids[s->n + k - 1] = tree->token[node];
        status = lathe_longspec_step(s->draft, &tree->token[node], &parent, 1, &logits, &made, err);
        parent = made;
    }
    return status;
}

static lathe_status propose_beam(longspec *s, const lathe_draft_request *r, lathe_token_tree *tree,
                                 lathe_error *err) {
    const float *logits = NULL;
    int32_t made, n = 1, tokens[LATHE_BEAM_WIDTH_MAX], parents[LATHE_BEAM_WIDTH_MAX];
    int32_t at_tree[LATHE_BEAM_WIDTH_MAX] = {0}, at_draft[LATHE_BEAM_WIDTH_MAX] = {-1};
    double score[LATHE_BEAM_WIDTH_MAX] = {0};
    lathe_beam_node best[LATHE_BEAM_WIDTH_MAX];
    lathe_status status = lathe_longspec_step(s->draft, NULL, NULL, 1, &logits, &made, err);
    for (int32_t layer = 0; !status && layer < s->shape.n_layers && n > 0; layer++) {
        const int32_t count = lathe_beam_layer(score, logits, n, s->n_vocab, s->shape.width[layer], best);
        int32_t nodes[LATHE_BEAM_WIDTH_MAX], from[LATHE_BEAM_WIDTH_MAX], m = 0;
        double scores[LATHE_BEAM_WIDTH_MAX];
        for (int32_t i = 0; i < count && tree->n_nodes <= r->n_max; i++) {
            const int32_t node =
                lathe_token_tree_add(tree, at_tree[best[i].parent], best[i].token, best[i].prob);
            if (node < 0)
                break;
            nodes[m] = node;
            from[m] = at_draft[best[i].parent];
            tokens[m] = best[i].token;
            scores[m++] = best[i].score;
        }
        n = m;
        if (m == 0 || layer + 1 == s->shape.n_layers ||
            (r->more && !r->more(r->user, layer + 2, best[0].prob)))
            break;
        memcpy(parents, from, (size_t) m * sizeof *from);
        status = lathe_longspec_step(s->draft, tokens, parents, m, &logits, &made, err);
        for (int32_t i = 0; i < m; i++) {
            at_tree[i] = nodes[i];
            at_draft[i] = made + i;
            score[i] = scores[i];
        }
    }
    return status;
}

static lathe_status propose(void *state, const lathe_draft_request *request, lathe_token_tree *tree,
                            lathe_error *err) {
    longspec *s = state;
    if (s->n == 0 || request->n_max < 1)
        return LATHE_OK;
    const int32_t n = s->n;
    const bool chain = s->shape.n_layers == 0 || request->law == LATHE_LAW_SAMPLED;
    const lathe_status status =
        chain ? propose_chain(s, request, tree, err) : propose_beam(s, request, tree, err);
    s->n = 0; /* the next draft follows the next text */
    (void) n;
    return status;
}

static int32_t behind(void *state, int32_t n) {
    const longspec *s = state;
    const int32_t window = lathe_longspec_window(s->draft);
    const int32_t missing = s->capacity == 0 ? (n < window ? n : window) : 0;
    return missing / 64; /* keys alone: a small share of a step each */
}

static int64_t bytes(void *state) {
    const longspec *s = state;
    return lathe_longspec_cache_bytes(s->draft);
}

const lathe_proposer lathe_proposer_longspec = {
    .name = "longspec",
    .summary = "a block that reads the target's last cache (lathe train longspec)",
    .laws = LATHE_LAW_POINT | LATHE_LAW_SAMPLED,
    .trees = true,
    .length = 5,
    .create = create,
    .sync = sync_to,
    .destroy = destroy,
    .slow = true,
    .takes_file = true,
    .propose = propose,
    .behind = behind,
    .bytes = bytes,
};
