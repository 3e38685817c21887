/* draft_model.c - a draft model's context behind the text.
 *
 * It follows the committed text: what it read of a rejected draft is rolled back by comparing ids, so that
 * the draft's last token, which it never read, needs no case of its own. A text longer than its context
 * slides: the older half is dropped. */
#include "decode/draft_model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "decode/draft_check.h"
#include "decode/draft_head.h"

enum { CTX_MIN = 8 };

/* --- The host ------------------------------------------------------------------------------------ */

static void host_close(lathe_draft_host *host) {
    if (!host || --host->n_users > 0)
        return;
    lathe_context_free(host->context);
    lathe_model_free(host->model);
    free(host->head);
    free(host);
}

/* Which of the draft's tokens are scored. */
static lathe_status choose_head(const lathe_proposer_params *params, lathe_draft_host *host,
                                lathe_error *err) {
    lathe_model *words = NULL;
    lathe_model_params mp = lathe_model_params_default();
    mp.vocab_only = true;
    lathe_status status = lathe_model_load(params->file, &mp, &words, err);
    if (!status)
        status = lathe_draft_head(
            lathe_model_vocab(words), lathe_model_vocab(words) ? lathe_model_n_vocab(words) : params->n_vocab,
            params->draft_head, params->draft_counts, &host->head, &host->n_logits, err);
    lathe_model_free(words);
    return status;
}

static lathe_status open_model(const lathe_proposer_params *params, lathe_draft_host *host,
                               lathe_error *err) {
    lathe_model_params mp = lathe_model_params_default();
    mp.logger = params->logger;
    lathe_status status = params->draft_head > 0 ? choose_head(params, host, err) : LATHE_OK;
    mp.head_ids = host->head;
    mp.n_head_ids = host->head ? host->n_logits : 0;
    if (!status)
        status = lathe_model_load(params->file, &mp, &host->model, err);
    if (!status)
        status = lathe_draft_check(params->target, host->model, err);
    if (status)
        return err ? lathe_fail_within(err, "draft model %s", params->file) : status;
    host->n_logits = lathe_model_n_logits(host->model);
    lathe_context_params cp = lathe_context_params_default();
    const int32_t trained = lathe_model_n_ctx_train(host->model);
    const int32_t wanted = params->n_ctx > 0 ? params->n_ctx
                           : params->context ? lathe_context_n_ctx(params->context)
                                             : trained;
    host->n_ctx = wanted + 1 < trained ? wanted + 1 : trained; /* a whole text and the drafts behind it */
    host->n_seq = params->n_seq > 1 ? params->n_seq : 1;
    if (host->n_ctx < CTX_MIN)
        return lathe_fail(err, LATHE_ERR_INPUT, "draft model %s: a context of %d tokens; at least %d",
                          params->file, (int) host->n_ctx, (int) CTX_MIN);
    if (host->n_ctx > INT32_MAX / host->n_seq)
        return lathe_fail(err, LATHE_ERR_MEMORY, "a context of %d tokens for each of %d sequences",
                          (int) host->n_ctx, (int) host->n_seq);
    cp.n_ctx = host->n_ctx * host->n_seq;
    cp.n_seq_max = host->n_seq;
    cp.n_threads = params->context ? lathe_context_n_threads(params->context) : 0;
    cp.exact = params->exact; /* drawn drafts decide over texts: equal seeds, equal texts */
    cp.logger = params->logger;
    return lathe_context_new(host->model, &cp, &host->context, err);
}

static lathe_status host_open(const lathe_proposer_params *params, lathe_draft_host **out, lathe_error *err) {
    if (!params->file || !params->target)
        return lathe_fail(err, LATHE_ERR_ARG, "'draft' needs a model file; want draft:FILE.gguf");
    if (params->share) {
        *out = ((const lathe_draft *) params->share)->host;
        (*out)->n_users++;
        return LATHE_OK;
    }
    lathe_draft_host *host = calloc(1, sizeof *host);
    if (!host)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a draft model");
    host->n_users = 1;
    const lathe_status status = open_model(params, host, err);
    if (status)
        host_close(host);
    else
        *out = host;
    return status;
}

/* --- A draft ------------------------------------------------------------------------------------- */

void lathe_draft_close(void *draft) {
    lathe_draft *s = draft;
    if (!s)
        return;
    host_close(s->host);
    lathe_tree_shape_free(&s->shape);
    free(s->ids);
    free(s->seqs);
    free(s->logits);
    free(s->law);
    free(s);
}

lathe_status lathe_draft_open(const lathe_proposer_params *params, lathe_draft **draft, lathe_error *err) {
    lathe_draft *s = calloc(1, sizeof *s);
    if (!s)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a draft model");
    lathe_status status = lathe_tree_shape_parse(params->tree, &s->shape, err);
    if (!status)
        status = host_open(params, &s->host, err);
    if (!status && params->seq >= s->host->n_seq)
        status = lathe_fail(err, LATHE_ERR_ARG, "a draft for sequence %d of %d", (int) params->seq,
                            (int) s->host->n_seq);
    if (!status) {
        s->seq = params->seq;
        s->n_vocab = params->n_vocab;
        s->n_own = lathe_model_n_vocab(s->host->model);
        s->logits = malloc((size_t) s->n_vocab * sizeof *s->logits);
        s->law = malloc((size_t) s->n_vocab * sizeof *s->law);
        if (!s->logits || !s->law)
            status = lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a draft model");
    }
    if (status) {
        lathe_draft_close(s);
        return status;
    }
    *draft = s;
    return LATHE_OK;
}

/* --- Following the text -------------------------------------------------------------------------- */

void lathe_draft_take_logits(lathe_draft *s, const float *own) {
    const lathe_draft_host *host = s->host;
    const int32_t n = s->n_own < s->n_vocab ? s->n_own : s->n_vocab;
    if (!host->head)
        memcpy(s->logits, own, (size_t) n * sizeof *own);
    for (int32_t i = host->head ? 0 : n; i < s->n_vocab; i++)
        s->logits[i] = -INFINITY;
    for (int32_t i = 0; host->head && i < host->n_logits && host->head[i] < n; i++)
        s->logits[host->head[i]] = own[i];
}

static lathe_status reserve(lathe_draft *s, int32_t n, lathe_error *err) {
    if (n <= s->capacity)
        return LATHE_OK;
    const size_t wanted = n > INT32_MAX / 2 ? 0 : (size_t) n * 2;
    int32_t *ids = wanted ? realloc(s->ids, wanted * sizeof *ids) : NULL;
    if (ids)
        s->ids = ids;
    int32_t *seqs = ids ? realloc(s->seqs, wanted * sizeof *seqs) : NULL;
    if (!seqs)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %d tokens", (int) n);
    s->seqs = seqs;
    s->capacity = 2 * n;
    for (int32_t i = 0; i < s->capacity; i++)
        s->seqs[i] = s->seq;
    return LATHE_OK;
}

static int32_t common(const lathe_draft *s, const int32_t *ids, int32_t n) {
    const int32_t most = n < s->n_ids ? n : s->n_ids;
    int32_t same = 0;
    while (same < most && s->ids[same] == ids[same])
        same++;
    return same;
}

void lathe_draft_forget(lathe_draft *s) {
    lathe_context_clear(s->host->context, s->seq);
    s->n_ids = s->n_dropped = s->keep = 0;
    s->ready = false;
}

void lathe_draft_slide(lathe_draft *s, int32_t more) {
    const int32_t held = s->n_ids - s->n_dropped, n_ctx = s->host->n_ctx;
    if (held + more <= n_ctx)
        return;
    const int32_t keep = s->keep > 0 ? s->keep : 1, drop = (held - keep) / 2;
    lathe_error ignored = {0};
    if (drop < 1 || held - drop + more > n_ctx ||
        lathe_context_shift(s->host->context, s->seq, keep, keep + drop, &ignored) != LATHE_OK) {
        lathe_draft_forget(s);
        return;
    }
    s->keep = keep;
    s->n_dropped += drop;
}

lathe_status lathe_draft_feed(lathe_draft *s, const int32_t *ids, int32_t n, lathe_error *err) {
    const lathe_batch batch = {.tokens = ids, .seq = s->seqs, .n_tokens = n};
    const lathe_status status = lathe_context_decode(s->host->context, &batch, err);
    if (!status)
        lathe_draft_take_logits(s, lathe_context_logits(s->host->context, -1));
    return status;
}

lathe_status lathe_draft_undo(lathe_draft *s, lathe_error *err) {
    return lathe_context_rollback(s->host->context, s->seq, s->n_synced - s->n_dropped, err);
}

lathe_status lathe_draft_sync_but(lathe_draft *s, const int32_t *ids, int32_t n, int32_t most, int32_t *first,
                                  lathe_error *err) {
    const int32_t n_ctx = s->host->n_ctx;
    int32_t same = common(s, ids, n);
    lathe_status status = reserve(s, n + LATHE_DRAFT_DEPTH_MAX, err);
    if (status)
        return status;
    if (s->n_dropped > 0 && same < s->keep + s->n_dropped) {
        lathe_draft_forget(s);
        same = 0;
    }
    if (same == n) /* read already: its last token again, for its logits */
        same = n - 1;
    if (same < s->n_ids) {
        if ((status = lathe_context_rollback(s->host->context, s->seq, same - s->n_dropped, err)))
            return status;
        s->n_ids = same;
    }
    lathe_draft_slide(s, n - same + n_ctx / 32);
    if (s->n_ids == 0 && n > n_ctx / 2 + n_ctx / 4) {
        /* Too long a text: it is read from its last half on, behind its first token. */
        const int32_t last = n_ctx / 2;
        memcpy(s->ids, ids, (size_t) n * sizeof *ids);
        s->keep = 1;
        s->n_dropped = n - last - 1;
        if ((status = lathe_draft_feed(s, ids, 1, err)))
            return status;
        s->n_ids = n - last;
    } else {
        memcpy(s->ids + s->n_ids, ids + s->n_ids, (size_t) (n - s->n_ids) * sizeof *ids);
    }
    *first = s->n_ids;
    if (n - s->n_ids > most) {
        status = lathe_draft_feed(s, ids + s->n_ids, n - s->n_ids, err);
        *first = n;
    }
    if (status) {
        lathe_draft_forget(s);
        return status;
    }
    s->n_ids = s->n_synced = n;
    s->ready = true;
    return LATHE_OK;
}

lathe_status lathe_draft_sync(void *draft, const int32_t *ids, int32_t n, lathe_error *err) {
    int32_t first;
    return lathe_draft_sync_but(draft, ids, n, 0, &first, err);
}

lathe_draft_step lathe_draft_begin(const lathe_draft *s, const lathe_draft_request *request,
                                   lathe_token_tree *tree) {
    lathe_draft_step step = {.request = request, .tree = tree, .chance = *request->chance};
    step.chance.seed = lathe_sampler_seed(request->sampler);
    step.chance.n_committed = (uint64_t) s->n_synced;
    return step;
}

lathe_status lathe_draft_law(lathe_draft *s, const lathe_draft_step *step, lathe_error *err) {
    return lathe_sampler_law(step->request->sampler, s->logits, s->ids,
                             (size_t) (s->n_synced + step->depth - 1), s->law, err);
}
