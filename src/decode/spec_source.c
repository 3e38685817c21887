/* spec_source.c - see spec_source.h. */
#include "decode/spec_source.h"

#include <stdlib.h>
#include <string.h>

/* FIRST_GUESS: observations a bin keeps of earlier texts; USUAL_GUESS, USUAL_MEMORY: the same of `usual`, and
 * those of one text. */
enum { PRIOR_WEIGHT = 3, COUNT_MAX = 256, FIRST_GUESS = 4, USUAL_GUESS = 6, USUAL_MEMORY = 20 };

void lathe_spec_source_close(lathe_spec_source *source) {
    if (source->state)
        source->proposer->destroy(source->state);
    lathe_token_tree_free(&source->tree);
    free(source->name);
    memset(source, 0, sizeof *source);
}

lathe_status lathe_spec_source_open(const char *name, const lathe_proposer_params *params,
                                    lathe_spec_source *source, lathe_error *err) {
    memset(source, 0, sizeof *source);
    lathe_proposer_params p = *params;
    lathe_status status = lathe_proposer_find(name, &source->proposer, &p.file, err);
    if (status)
        return status;
    source->name = strdup(name);
    source->law = LATHE_LAW_POINT;
    source->usual = 0.5;
    source->trust = 1.0;
    source->learns = source->proposer->learn != NULL;
    if (!source->name)
        status = lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a proposer");
    if (!status)
        status = lathe_token_tree_init(&source->tree, LATHE_TREE_NODES_MAX, params->n_vocab, err);
    if (!status)
        status = source->proposer->create(&p, &source->state, err);
    if (status)
        lathe_spec_source_close(source);
    return status;
}

lathe_status lathe_spec_source_read(lathe_spec_source *source, const int32_t *ids, int32_t n, int32_t most,
                                    bool *done, lathe_error *err) {
    const int32_t to = n - source->synced > most ? source->synced + most : n;
    const lathe_status status = source->proposer->sync(source->state, ids, to, err);
    source->synced = to;
    *done = to == n;
    return status;
}

void lathe_spec_source_turn(lathe_spec_source *source) {
    for (int32_t i = 0; i < LATHE_SOURCE_BINS; i++)
        if (source->reached[i] > FIRST_GUESS) {
            source->right[i] *= FIRST_GUESS / source->reached[i];
            source->reached[i] = FIRST_GUESS;
        }
    source->n_usual = 0;
}

static int32_t bin_of(double prob) {
    const int32_t bin = (int32_t) (prob * LATHE_SOURCE_BINS);
    return bin < 0 ? 0 : bin >= LATHE_SOURCE_BINS ? LATHE_SOURCE_BINS - 1 : bin;
}

double lathe_spec_source_estimate(const lathe_spec_source *source, double prob) {
    const int32_t bin = bin_of(prob);
    const double scaled = prob * source->trust;
    const double guess = scaled < 0.02 ? 0.02 : scaled > 0.98 ? 0.98 : scaled;
    return (source->right[bin] + PRIOR_WEIGHT * guess) / (source->reached[bin] + PRIOR_WEIGHT);
}

static int falling(const void *a_, const void *b_) {
    const double a = *(const double *) a_, b = *(const double *) b_;
    return (a < b) - (a > b);
}

int32_t lathe_spec_source_values(lathe_spec_source *source, double *A, int32_t most) {
    const lathe_token_tree *tree = &source->tree;
    bool sorted = true;
    source->value[0] = 1.0;
    const int32_t n = tree->n_nodes - 1 < most ? tree->n_nodes - 1 : most;
    for (int32_t i = 1; i <= n; i++) {
        source->value[i] = source->value[tree->parent[i]] * lathe_spec_source_estimate(source, tree->prob[i]);
        A[i - 1] = source->value[i];
        sorted = sorted && (i == 1 || A[i - 1] <= A[i - 2]);
    }
    if (!sorted)
        qsort(A, (size_t) n, sizeof *A, falling);
    return n;
}

void lathe_spec_source_trim(lathe_spec_source *source, int32_t n) {
    lathe_token_tree *tree = &source->tree;
    if (n >= tree->n_nodes - 1)
        return;
    if (lathe_token_tree_is_chain(tree)) {
        tree->n_nodes = n + 1;
        return;
    }
    uint8_t keep[LATHE_TREE_NODES_MAX];
    lathe_token_tree_rerank(source->value, tree->depth, tree->n_nodes, n, keep);
    lathe_token_tree_select(tree, keep);
}

void lathe_spec_source_pick(const lathe_spec_source *source, int32_t n, lathe_token_tree *out) {
    const lathe_token_tree *tree = &source->tree;
    uint8_t keep[LATHE_TREE_NODES_MAX];
    int32_t made[LATHE_TREE_NODES_MAX] = {0};
    lathe_token_tree_rerank(source->value, tree->depth, tree->n_nodes, n, keep);
    lathe_token_tree_start(out, tree->token[0]);
    for (int32_t i = 1; i < tree->n_nodes; i++)
        if (keep[i])
            made[i] = lathe_token_tree_add(out, made[tree->parent[i]], tree->token[i], tree->prob[i]);
}

int32_t lathe_spec_source_judge(lathe_spec_source *source, const int32_t *emitted, int32_t n) {
    const lathe_token_tree *tree = &source->tree;
    int32_t node = 0, had = 0;
    while (had < n) {
        int32_t next = -1;
        for (int32_t c = node + 1; c < tree->n_nodes; c++) {
            if (tree->parent[c] != node)
                continue;
            const bool is = next < 0 && tree->token[c] == emitted[had];
            const int32_t bin = bin_of(tree->prob[c]);
            if (source->reached[bin] >= COUNT_MAX) { /* old rounds fade: texts change */
                source->reached[bin] *= 0.5;
                source->right[bin] *= 0.5;
            }
            source->reached[bin] += 1.0;
            source->right[bin] += is;
            if (is)
                next = c;
        }
        if (next < 0)
            break;
        node = next;
        had++;
    }
    if (tree->n_nodes > 1) {
        const int32_t seen = USUAL_GUESS + source->n_usual++;
        source->usual += ((had > 0) - source->usual) / (seen < USUAL_MEMORY ? seen : USUAL_MEMORY);
    }
    return had;
}
