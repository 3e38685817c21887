/* proposer_lookup.c - prompt lookup: what followed the last few tokens when they came before?
 *
 * For each size g a table maps a hash of g tokens to the position after their last occurrence. Every hit is
 * compared with the sequence, so that a collision costs a miss and never a wrong match. A g-gram enters once
 * a token follows it. Source: Saxena 2023. */
#include "decode/history.h"
#include "decode/proposer.h"

#include <stdlib.h>
#include <string.h>

enum { SLOTS_MIN = 1 << 12, SLOTS_MAX = 1 << 16, SIZE_MAX_GRAM = 16 };

typedef struct lookup {
    lathe_history h;
    int32_t size_min, size_max;
    size_t slots; /* a power of two, by the context: a table far larger than the text is memory never touched
                     twice */
    int32_t *after; /* [size_max - size_min + 1][slots] position of the follower; 0: none */
} lookup;

static int32_t *slot_of(const lookup *s, int32_t end, int32_t g) {
    uint64_t hash = 0x9E3779B97F4A7C15ull;
    for (int32_t i = end - g; i < end; i++)
        hash = (hash ^ (uint32_t) s->h.ids[i]) * 0x100000001B3ull;
    return s->after + (size_t) (g - s->size_min) * s->slots + ((hash ^ hash >> 29) & (s->slots - 1));
}

static size_t table_bytes(const lookup *s) {
    return (size_t) (s->size_max - s->size_min + 1) * s->slots * sizeof *s->after;
}

static lathe_status create(const lathe_proposer_params *params, void **state, lathe_error *err) {
    if (params->ngram_min < 1 || params->ngram_max < params->ngram_min || params->ngram_max > SIZE_MAX_GRAM)
        return lathe_fail(err, LATHE_ERR_ARG, "lookup of %d to %d tokens; 1 to %d, ascending",
                          (int) params->ngram_min, (int) params->ngram_max, (int) SIZE_MAX_GRAM);
    lookup *s = calloc(1, sizeof *s);
    if (s) {
        s->size_min = params->ngram_min;
        s->size_max = params->ngram_max;
        s->slots = SLOTS_MIN;
        while (s->slots < SLOTS_MAX &&
               (!params->context || s->slots < 4 * (size_t) lathe_context_n_ctx(params->context)))
            s->slots *= 2;
        s->after = malloc(table_bytes(s));
    }
    if (!s || !s->after) {
        free(s);
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for prompt lookup");
    }
    memset(s->after, 0, table_bytes(s)); /* touched now, not in the first rounds */
    *state = s;
    return LATHE_OK;
}

static lathe_status sync_to(void *state, const int32_t *ids, int32_t n, lathe_error *err) {
    lookup *s = state;
    int32_t same;
    const int32_t before = s->h.n;
    const lathe_status status = lathe_history_set(&s->h, ids, n, &same, err);
    if (status)
        return status;
    if (same < before) { /* rolled back: what is left is entered again */
        memset(s->after, 0, table_bytes(s));
        same = 0;
    }
    for (int32_t i = same > 0 ? same : 1; i < n; i++)
        for (int32_t g = s->size_min; g <= s->size_max && g <= i; g++)
            *slot_of(s, i, g) = i;
    return LATHE_OK;
}

static void draft(void *state, int32_t n_max, lathe_token_tree *tree) {
    const lookup *s = state;
    const int32_t n = s->h.n;
    for (int32_t g = s->size_max < n ? s->size_max : n; g >= s->size_min; g--) {
        const int32_t at = *slot_of(s, n, g);
        if (at < g || at >= n ||
            memcmp(s->h.ids + at - g, s->h.ids + n - g, (size_t) g * sizeof *s->h.ids) != 0)
            continue;
        /* The longer the match, and the more of it proved right, the likelier the next token. */
        double doubt = g < 3 ? (g < 2 ? 0.8 : 0.6) : 0.5;
        for (int32_t i = 0, node = 0; i < n_max && at + i < n && node >= 0; i++, doubt *= 0.85)
            node = lathe_token_tree_add(tree, node, s->h.ids[at + i], 1.0 - doubt);
        return;
    }
}

static void destroy(void *state) {
    lookup *s = state;
    if (!s)
        return;
    lathe_history_free(&s->h);
    free(s->after);
    free(s);
}

const lathe_proposer lathe_proposer_lookup = {
    .name = "lookup",
    .summary = "what followed the last tokens when they last came before",
    .laws = LATHE_LAW_POINT,
    .length = 10,
    .create = create,
    .sync = sync_to,
    .draft = draft,
    .destroy = destroy,
};
