/* draft_tree.c - trees from a draft model: of known shape, EAGLE-2's of the likeliest nodes, and a beam that
 * prunes nothing. Trees are decoded layer by layer, each time whole. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "decode/beam.h"
#include "decode/draft_model.h"

/* The k likeliest ids and their probabilities at temperature 1; how many. */
static int32_t best_few(lathe_draft *s, const float *logits, int32_t k, int32_t *ids, double *prob) {
    double sum = 0.0;
    int32_t n = 0;
    for (int32_t i = 0; i < s->n_vocab; i++) {
        if (!(logits[i] > -INFINITY)) /* not scored */
            continue;
        if (n == k && logits[i] <= logits[ids[n - 1]])
            continue;
        int32_t at = n < k ? n++ : k - 1;
        for (; at > 0 && logits[ids[at - 1]] < logits[i]; at--)
            ids[at] = ids[at - 1];
        ids[at] = i;
    }
    const float top = n > 0 ? logits[ids[0]] : 0.0f;
    for (int32_t i = 0; i < s->n_vocab; i++)
        if (logits[i] > top - 16.0f)
            sum += expf(logits[i] - top);
    for (int32_t i = 0; i < n; i++)
        prob[i] = expf(logits[ids[i]] - top) / sum;
    return n;
}

/* Decodes the whole tree so far without its root, which was read; logits of every node. The nodes are taken
 * back by the next rollback. */
static lathe_status decode_tree(lathe_draft *s, const lathe_token_tree *tree, int32_t *parent, uint8_t *want,
                                lathe_error *err) {
    const int32_t n = tree->n_nodes - 1;
    lathe_status status = lathe_draft_undo(s, err);
    for (int32_t i = 0; i < n; i++) {
        parent[i] = tree->parent[i + 1] - 1;
        want[i] = 1;
    }
    const lathe_batch batch = {
        .tokens = tree->token + 1, .seq = s->seqs, .parent = parent, .want = want, .n_tokens = n};
    return status ? status : lathe_context_decode(s->host->context, &batch, err);
}

/* Children of node `of` in the shape, from its logits: drawn, or the likeliest by rank. */
static lathe_status add_children(lathe_draft *s, lathe_draft_step *step, int32_t of, int32_t *made,
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
        if ((status = lathe_draft_law(s, step, err)) || (row = lathe_token_tree_add_law(tree, s->law)) < 0)
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

static lathe_status propose_fixed(lathe_draft *s, lathe_draft_step *step, int32_t *parent, uint8_t *want,
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
                lathe_draft_take_logits(s, lathe_context_logits(s->host->context, made[i] - 1));
            status = add_children(s, step, i, made, err);
        }
        if (step->tree->n_nodes == before)
            break;
    }
    return status;
}

/* The tree's nodes beside their values and depth, then the N of largest value are kept. */
static lathe_status propose_eagle2(lathe_draft *s, lathe_draft_step *step, int32_t *parent, uint8_t *want,
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
                lathe_draft_take_logits(s, lathe_context_logits(s->host->context, grow[g] - 1));
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

/* The best pairs of a node and a next token, layer by layer; nothing that was kept is dropped (LongSpec). */
static lathe_status propose_beam(lathe_draft *s, lathe_draft_step *step, int32_t *parent, uint8_t *want,
                                 lathe_error *err) {
    const lathe_beam_shape *beam = &s->shape.beam;
    const lathe_draft_request *r = step->request;
    lathe_token_tree *tree = step->tree;
    const size_t row = (size_t) s->n_vocab * sizeof(float);
    int32_t node[LATHE_BEAM_WIDTH_MAX] = {0}, n = 1;
    double score[LATHE_BEAM_WIDTH_MAX] = {0.0};
    lathe_beam_node best[LATHE_BEAM_WIDTH_MAX];
    float *logits = malloc(row * LATHE_BEAM_WIDTH_MAX);
    if (!logits)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a layer of a draft tree");
    memcpy(logits, s->logits, row);
    lathe_status status = LATHE_OK;
    for (int32_t layer = 0; layer < beam->n_layers && n > 0; layer++) {
        const int32_t count = lathe_beam_layer(score, logits, n, s->n_vocab, beam->width[layer], best);
        int32_t made[LATHE_BEAM_WIDTH_MAX], m = 0;
        for (int32_t i = 0; i < count && tree->n_nodes <= r->n_max; i++) {
            if (!(best[i].prob > 0.0)) /* a token that is not scored */
                break;
            made[m] = lathe_token_tree_add(tree, node[best[i].parent], best[i].token, best[i].prob);
            if (made[m] < 0)
                break;
            score[m++] = best[i].score; /* scores of the layer before are not read any more */
        }
        n = m;
        memcpy(node, made, (size_t) m * sizeof *node);
        if (m == 0 || layer + 1 == beam->n_layers || (r->more && !r->more(r->user, layer + 2, best[0].prob)))
            break;
        if ((status = decode_tree(s, tree, parent, want, err)))
            break;
        for (int32_t i = 0; i < m; i++) {
            lathe_draft_take_logits(s, lathe_context_logits(s->host->context, node[i] - 1));
            memcpy((char *) logits + (size_t) i * row, s->logits, row);
        }
    }
    free(logits);
    return status;
}

lathe_status lathe_draft_tree(lathe_draft *s, lathe_draft_step *step, lathe_error *err) {
    const lathe_token_tree *tree = step->tree;
    lathe_draft_slide(s, tree->capacity < s->host->n_ctx / 2 ? tree->capacity : s->host->n_ctx / 2);
    if (s->n_ids == 0)
        return LATHE_OK; /* read again by the next sync */
    int32_t *parent = malloc((size_t) tree->capacity * sizeof *parent);
    uint8_t *want = malloc((size_t) tree->capacity);
    lathe_status status =
        parent && want ? LATHE_OK : lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a draft tree");
    if (!status)
        status = s->shape.kind == LATHE_SHAPE_FIXED    ? propose_fixed(s, step, parent, want, err)
                 : s->shape.kind == LATHE_SHAPE_EAGLE2 ? propose_eagle2(s, step, parent, want, err)
                                                       : propose_beam(s, step, parent, want, err);
    free(parent);
    free(want);
    /* Drafted rows never stay: the accepted ones are read again with the next text. */
    if (lathe_draft_undo(s, NULL) != LATHE_OK)
        lathe_draft_forget(s);
    return status;
}
