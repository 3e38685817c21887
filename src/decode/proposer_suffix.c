/* proposer_suffix.c - the continuation of the longest suffix that came before.
 *
 * By frequency (SuffixDecoding's rule): from suffixes of length l, l/2, l/4, ... the most frequent follower
 * is taken while the product of shares stays above p_min; the suffix with the largest sum of products wins.
 * Otherwise the text behind the first occurrence is copied. */
#include "decode/history.h"
#include "decode/proposer.h"
#include "decode/suffix_automaton.h"
#include "decode/suffix_store.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* EDGES_MAX: followers looked at for a draft. In long texts short suffixes have hundreds of followers each,
 * and a round must not wait for them. */
enum { SUFFIX_MAX = 64, DRAFT_MAX = LATHE_DRAFT_DEPTH_MAX, EDGES_MAX = 1024 };

typedef struct suffix {
    lathe_history h;
    lathe_sam sam;
    int32_t match_min;
    double factor, p_min;
    bool frequency;
    lathe_suffix_store *store; /* past answers; NULL: this text alone */
} suffix;

/* 16 hexadecimal digits of the tokenizer's hash: models with one tokenizer share a store. */
static lathe_status open_store(const lathe_proposer_params *params, suffix *s, lathe_error *err) {
    const lathe_vocab *vocab = params->target ? lathe_model_vocab(params->target) : NULL;
    uint8_t hash[32];
    char key[17];
    if (strcmp(params->file, "global") != 0)
        return lathe_fail(err, LATHE_ERR_ARG,
                          "no proposer 'suffix:%.40s'; there are suffix and suffix:global", params->file);
    if (!vocab || !params->cache_dir)
        return lathe_fail(err, LATHE_ERR_ARG, "suffix:global keeps answers and needs %s",
                          vocab ? "a cache folder (LATHE_CACHE_DIR)" : "a model with a tokenizer");
    lathe_status status = lathe_vocab_hash(vocab, hash, err);
    for (int i = 0; i < 8; i++)
        snprintf(key + 2 * i, 3, "%02x", hash[i]);
    return status ? status
                  : lathe_suffix_store_open(params->cache_dir, key, params->n_vocab, 0, &params->logger,
                                            &s->store, err);
}

static lathe_status create(const lathe_proposer_params *params, void **state, lathe_error *err) {
    if (params->match_min < 1 || !(params->match_factor > 0.0) ||
        !(params->p_min >= 0.0 && params->p_min <= 1.0))
        return lathe_fail(err, LATHE_ERR_ARG,
                          "suffix: match %d, factor %g, p-min %g; at least 1, above 0, 0 to 1",
                          (int) params->match_min, params->match_factor, params->p_min);
    suffix *s = calloc(1, sizeof *s);
    if (!s)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a suffix proposer");
    s->match_min = params->match_min;
    s->factor = params->match_factor;
    s->p_min = params->p_min;
    s->frequency = params->frequency;
    lathe_status status = params->file ? open_store(params, s, err) : LATHE_OK;
    if (!status)
        status = lathe_sam_init(&s->sam, params->context ? lathe_context_n_ctx(params->context) : 0, err);
    if (status) {
        lathe_suffix_store_free(s->store);
        free(s);
        return status;
    }
    *state = s;
    return LATHE_OK;
}

static lathe_status sync_to(void *state, const int32_t *ids, int32_t n, lathe_error *err) {
    suffix *s = state;
    const int32_t before = s->h.n;
    int32_t same;
    lathe_status status = lathe_history_set(&s->h, ids, n, &same, err);
    if (status)
        return status;
    if (same < before || s->sam.n != before) {
        lathe_sam_clear(&s->sam);
        same = 0;
    }
    for (int32_t i = same; i < n; i++)
        if ((status = lathe_sam_append(&s->sam, ids[i], err)))
            return status;
    return LATHE_OK;
}

static int32_t length_rule(const suffix *s, int32_t match, int32_t n_max) {
    const double m = floor(s->factor * match) + 1.0;
    return m < n_max ? (int32_t) m : n_max;
}

/* The state of the last p tokens, from that of more: the link that holds strings of that length. */
static int32_t state_of_suffix(const lathe_sam *sam, int32_t v, int32_t p) {
    while (sam->states[v].link >= 0 && sam->states[sam->states[v].link].len >= p)
        v = sam->states[v].link;
    return v;
}

/* Follows the largest counts from state v; the sum of products, and the path. */
static double follow(const suffix *s, int32_t v, int32_t n_max, int32_t *path, double *share, int32_t *n,
                     int32_t *looks) {
    const lathe_sam *sam = &s->sam;
    double product = 1.0, score = 0.0;
    *n = 0;
    while (*n<n_max && * looks> 0) {
        int64_t sum = 0;
        int32_t best = -1, best_count = 0;
        for (int32_t e = sam->states[v].edges; e >= 0; e = sam->edges[e].next) {
            const int32_t c = sam->states[sam->edges[e].to].count;
            sum += c;
            (*looks)--;
            if (c > best_count ||
                (c == best_count && best >= 0 && sam->edges[e].token < sam->edges[best].token)) {
                best = e;
                best_count = c;
            }
        }
        if (best < 0 || sum == 0)
            break;
        const double one = (double) best_count / (double) sum;
        product *= one;
        if (product < s->p_min)
            break;
        score += product;
        share[*n] = one;
        path[(*n)++] = sam->edges[best].token;
        v = sam->edges[best].to;
    }
    return score;
}

static void draft_frequent(const suffix *s, int32_t n_max, lathe_token_tree *tree) {
    const lathe_sam *sam = &s->sam;
    /* The longest suffix with a follower: the whole text never has one, its link ends earlier. */
    int32_t v = sam->states[sam->last].link;
    const int32_t l = v <= 0 ? 0 : sam->states[v].len < SUFFIX_MAX ? sam->states[v].len : SUFFIX_MAX;
    int32_t path[DRAFT_MAX], best[DRAFT_MAX], n, n_best = 0, n_matched = 0, looks = EDGES_MAX;
    double share[DRAFT_MAX], best_share[DRAFT_MAX], best_score = 0.0;
    for (int32_t p = l; p >= s->match_min; p /= 2) {
        v = state_of_suffix(sam, v, p);
        const double score = follow(s, v, length_rule(s, p, n_max), path, share, &n, &looks);
        if (score > best_score) {
            best_score = score;
            n_best = n;
            n_matched = p;
            memcpy(best, path, (size_t) n * sizeof *path);
            memcpy(best_share, share, (size_t) n * sizeof *share);
        }
    }
    if (s->store) { /* ties: this text before past ones */
        int32_t matched;
        const double score = lathe_suffix_store_draft(s->store, s->h.ids, s->h.n, s->match_min, s->factor,
                                                      s->p_min, n_max, path, share, &n, &matched);
        if (score > best_score) {
            n_best = n;
            n_matched = matched;
            memcpy(best, path, (size_t) n * sizeof *path);
            memcpy(best_share, share, (size_t) n * sizeof *share);
        }
    }
    /* Short matches seen once or twice prove little: their shares are trusted in part. */
    double doubt = 1.0 / (1.0 + 0.5 * n_matched);
    for (int32_t k = 0, node = 0; k < n_best && node >= 0; k++, doubt = 1.0 / (1.0 + 0.5 * (n_matched + k)))
        node = lathe_token_tree_add(tree, node, best[k], best_share[k] * (1.0 - doubt));
}

static void draft(void *state, int32_t n_max, lathe_token_tree *tree) {
    const suffix *s = state;
    n_max = n_max < DRAFT_MAX ? n_max : DRAFT_MAX;
    if (s->frequency) {
        draft_frequent(s, n_max, tree);
        return;
    }
    const int32_t link = s->sam.states[s->sam.last].link;
    if (link <= 0 || s->sam.states[link].len < s->match_min)
        return;
    const int32_t e = s->sam.states[link].first_end, m = length_rule(s, s->sam.states[link].len, n_max);
    for (int32_t i = 0, node = 0; i < m && e + i < s->h.n && node >= 0; i++)
        node = lathe_token_tree_add(tree, node, s->h.ids[e + i], 0.0);
}

static void destroy(void *state) {
    suffix *s = state;
    if (!s)
        return;
    lathe_history_free(&s->h);
    lathe_sam_free(&s->sam);
    lathe_suffix_store_free(s->store);
    free(s);
}

static void finish(void *state, const int32_t *answer, int32_t n) {
    suffix *s = state;
    if (s->store)
        lathe_suffix_store_add(s->store, answer, n);
}

const lathe_proposer lathe_proposer_suffix = {
    .name = "suffix",
    .summary = "the most frequent continuation of the longest suffix that came before",
    .laws = LATHE_LAW_POINT,
    .length = 16,
    .create = create,
    .sync = sync_to,
    .draft = draft,
    .destroy = destroy,
    .takes_file = true,
    .finish = finish,
};
