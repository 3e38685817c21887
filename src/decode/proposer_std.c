/* proposer_std.c - the model drafts for itself with sparse attention (Sparse-to-Dense, Zhang et al. 2025).
 *
 * When a text begins, each layer's key heads choose rows of its long part (model/sparse.h). Drafts are made
 * over these and all rows behind; after a round the target's own rows of the committed tokens replace those
 * that the sparse mode computed. A text that grows past the sparse cache, or begins anew, is chosen from
 * again. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "decode/draft_link.h"
#include "model/sparse.h"

enum { BUDGET_MIN = 64, ROOM_MAX = 4096, ROOM_MIN = 256, SINKS = 32 };

typedef struct sparse_draft {
    lathe_context *dense, *sparse;
    lathe_logger logger;
    int32_t budget, n_query, span_begin, span_end; /* span_end 0: all but the last n_query */
    int32_t n_vocab, rule;
    double kept_mass;
    int32_t *ids; /* [n] the text, and room for a draft */
    int32_t n, capacity;
    int32_t end;      /* rows of positions from here on are all in the sparse cache */
    int32_t n_copied; /* ... up to here, as the target has them */
    bool chosen, ready, told;
    double *law;
} sparse_draft;

static void destroy(void *state) {
    sparse_draft *s = state;
    if (!s)
        return;
    lathe_context_free(s->sparse);
    free(s->ids);
    free(s->law);
    free(s);
}

static lathe_status create(const lathe_proposer_params *params, void **state, lathe_error *err) {
    if (!params->context)
        return lathe_fail(err, LATHE_ERR_ARG, "'std' drafts with the target itself, and there is none");
    if (params->seq != 0)
        return lathe_fail(err, LATHE_ERR_UNSUPPORTED, "'std' drafts for one sequence, not for several");
    if (params->std_budget < BUDGET_MIN || params->std_queries < 1 ||
        params->std_queries > LATHE_ROW_QUERIES_MAX || params->span_begin < 0 ||
        (params->span_end != 0 && params->span_end <= params->span_begin))
        return lathe_fail(
            err, LATHE_ERR_ARG,
            "std: budget %d, %d queries, span %d:%d; at least %d, 1 to %d, and a span that is not empty",
            (int) params->std_budget, (int) params->std_queries, (int) params->span_begin,
            (int) params->span_end, (int) BUDGET_MIN, (int) LATHE_ROW_QUERIES_MAX);
    sparse_draft *s = calloc(1, sizeof *s);
    if (s)
        s->law = malloc((size_t) params->n_vocab * sizeof *s->law);
    if (!s || !s->law) {
        free(s);
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for sparse drafts");
    }
    s->dense = params->context;
    s->logger = params->logger;
    s->budget = params->std_budget;
    s->n_query = params->std_queries;
    s->span_begin = params->span_begin;
    s->span_end = params->span_end;
    s->n_vocab = params->n_vocab;
    s->rule = params->std_rule;
    s->kept_mass = NAN;
    *state = s;
    return LATHE_OK;
}

/* Chooses rows of a text that begins here. Where the budget holds all of it there is nothing to gain. */
static lathe_status choose(sparse_draft *s, const int32_t *ids, int32_t n, lathe_error *err) {
    const int32_t n_past = n - 1, begin = s->span_begin;
    const int32_t behind = s->n_query < n_past / 2 ? s->n_query : n_past / 2;
    const int32_t end = s->span_end > 0 && s->span_end < n_past ? s->span_end : n_past - behind;
    const int32_t text = n_past - (end - begin);
    int32_t keep = s->budget - text;
    s->chosen = false;
    if (end <= begin || end - begin <= (keep > 0 ? keep : 0)) {
        if (!s->told)
            lathe_log(&s->logger, LATHE_LOG_INFO,
                      "std: the text's %d rows are within the budget of %d: plain decoding", n_past,
                      s->budget);
        s->told = true;
        return LATHE_OK;
    }
    if (keep < BUDGET_MIN) {
        lathe_log(&s->logger, LATHE_LOG_WARN,
                  "std: %d rows outside the span leave none of the budget of %d; %d are kept", text,
                  s->budget, (int) BUDGET_MIN);
        keep = BUDGET_MIN < end - begin ? BUDGET_MIN : end - begin;
    }
    lathe_row_choice choice;
    lathe_status status = lathe_row_choice_make(s->dense, ids, n, begin, end, s->n_query, &choice, err);
    if (status)
        return status;
    const int32_t left = lathe_context_n_ctx(s->dense) - n_past;
    const int32_t room = left < ROOM_MIN ? ROOM_MIN : left < ROOM_MAX ? left : ROOM_MAX;
    lathe_context_free(s->sparse);
    s->sparse = NULL;
    status = s->rule == 0 ? lathe_row_choice_keep(&choice, keep, err)
                          : lathe_row_choice_keep_rule(&choice, keep, s->rule == 1 ? SINKS : -1, 1, err);
    s->kept_mass = 0;
    for (int32_t l = 0; !status && l < choice.n_layer; l++)
        s->kept_mass += choice.kept_mass[l] / choice.n_layer;
    if (!status)
        status = lathe_sparse_new(s->dense, keep + text + room, &s->sparse, err);
    if (!status)
        status = lathe_sparse_fill(s->sparse, s->dense, &choice, err);
    lathe_row_choice_free(&choice);
    if (status)
        return status;
    s->chosen = true;
    s->end = end;
    s->n_copied = n_past;
    return LATHE_OK;
}

static int32_t common(const sparse_draft *s, const int32_t *ids, int32_t n) {
    int32_t i = 0;
    while (i < n && i < s->n && s->ids[i] == ids[i])
        i++;
    return i;
}

static lathe_status sync_to(void *state, const int32_t *ids, int32_t n, lathe_error *err) {
    sparse_draft *s = state;
    lathe_status status = LATHE_OK;
    const int32_t same = common(s, ids, n);
    s->ready = false;
    if (n + LATHE_DRAFT_DEPTH_MAX > s->capacity) {
        const int32_t wanted = n + n / 2 + LATHE_DRAFT_DEPTH_MAX + 256;
        int32_t *grown = realloc(s->ids, (size_t) wanted * sizeof *grown);
        if (!grown)
            return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %d tokens", (int) n);
        s->ids = grown;
        s->capacity = wanted;
    }
    memcpy(s->ids, ids, (size_t) n * sizeof *ids);
    s->n = n;
    if (n < 2 || lathe_context_n_past(s->dense, 0) != n - 1) /* positions were shifted */
        return LATHE_OK;
    bool follow = s->chosen && same > s->end;
    if (follow) {
        if (s->n_copied > same)
            s->n_copied = same;
        if (s->n_copied > n - 1)
            s->n_copied = n - 1;
        status = lathe_context_rollback(s->sparse, 0, s->n_copied, err);
        if (!status && lathe_sparse_append(s->sparse, s->dense, s->n_copied, n - 1, NULL) == LATHE_OK)
            s->n_copied = n - 1;
        else
            follow = false; /* full */
    }
    if (!status && !follow && (same <= s->end || s->chosen || n > 2 * s->budget))
        status = choose(s, ids, n, err);
    s->ready = !status && s->chosen;
    return status;
}

static lathe_status propose(void *state, const lathe_draft_request *r, lathe_token_tree *tree,
                            lathe_error *err) {
    sparse_draft *s = state;
    if (!s->ready || r->n_max < 1)
        return LATHE_OK;
    s->ready = false;
    lathe_status status = LATHE_OK;
    int32_t token = s->ids[s->n - 1], node = 0;
    for (int32_t k = 1; !status && k <= r->n_max && k <= LATHE_DRAFT_DEPTH_MAX; k++) {
        const int32_t pos = s->n + k - 2;
        if (pos >= lathe_context_n_ctx(s->sparse) || lathe_sparse_room(s->sparse) < 1)
            break;
        const lathe_batch batch = {.tokens = &token, .pos = &pos, .n_tokens = 1};
        status = lathe_context_decode(s->sparse, &batch, err);
        if (!status)
            status = lathe_draft_link(r, lathe_context_logits(s->sparse, -1), s->ids, s->n + k - 1, s->n, k,
                                      s->law, tree, node, &node, err);
        if (status || node < 0)
            break;
        token = s->ids[s->n + k - 1] = tree->token[node];
    }
    return status;
}

static int32_t behind(void *state, int32_t n) {
    const sparse_draft *s = state;
    (void) n;
    return s->chosen ? 0 : s->n_query;
}

static int64_t bytes(void *state) {
    const sparse_draft *s = state;
    return s->sparse ? lathe_context_cache_bytes(s->sparse) : 0;
}

double lathe_std_kept_mass(const void *state) {
    return ((const sparse_draft *) state)->kept_mass;
}

const lathe_proposer lathe_proposer_std = {
    .name = "std",
    .summary = "the model itself with sparse attention, for long texts",
    .laws = LATHE_LAW_POINT | LATHE_LAW_SAMPLED,
    .length = 4,
    .create = create,
    .sync = sync_to,
    .destroy = destroy,
    .slow = true,
    .propose = propose,
    .behind = behind,
    .bytes = bytes,
};
