/* stories.c - see stories.h. */
#include "lab/stories.h"

#include <stdlib.h>
#include <unistd.h>

#include "lathe/decode.h"

enum { SIDE_BY_SIDE = 16 };

const char *lathe_lab_target(void) {
    static const char *const places[] = {"models/lathe-target.gguf", "../models/lathe-target.gguf"};
    const char *named = getenv("LATHE_MODEL");
    if (named && *named)
        return named;
    for (size_t i = 0; i < LATHE_LEN(places); i++)
        if (access(places[i], R_OK) == 0)
            return places[i];
    return NULL;
}

/* Up to SIDE_BY_SIDE stories, each a sequence of the context. */
static lathe_status draw(lathe_context *c, lathe_sampler **samplers, int32_t n_seqs, int32_t length,
                         int32_t first, int32_t *ids, lathe_error *err) {
    int32_t tokens[SIDE_BY_SIDE], seqs[SIDE_BY_SIDE];
    uint8_t want[SIDE_BY_SIDE];
    lathe_context_clear(c, -1);
    for (int32_t s = 0; s < n_seqs; s++) {
        ids[s * length] = first;
        seqs[s] = s;
        want[s] = 1;
    }
    for (int32_t t = 1; t < length; t++) {
        for (int32_t s = 0; s < n_seqs; s++)
            tokens[s] = ids[s * length + t - 1];
        lathe_status st = lathe_context_decode(
            c, &(lathe_batch){.tokens = tokens, .seq = seqs, .want = want, .n_tokens = n_seqs}, err);
        for (int32_t s = 0; s < n_seqs && !st; s++)
            st = lathe_sampler_draw(samplers[s], lathe_context_logits(c, s), ids + s * length, (size_t) t,
                                    &ids[s * length + t], err);
        if (st)
            return st;
    }
    return LATHE_OK;
}

lathe_status lathe_lab_stories(const lathe_lab *lab, const lathe_model *model, int32_t length, int32_t n,
                               uint64_t seed, int32_t *ids, lathe_error *err) {
    const lathe_vocab *vocab = lathe_model_vocab(model);
    const int32_t end = vocab ? lathe_vocab_eos(vocab) : -1, n_stories = (n + length - 1) / length;
    lathe_context_params cp = lathe_context_params_default();
    lathe_context *c = NULL;
    lathe_sampler *samplers[SIDE_BY_SIDE] = {NULL};
    cp.n_ctx = SIDE_BY_SIDE * length;
    cp.n_seq_max = SIDE_BY_SIDE;
    cp.n_threads = lab->n_threads > 0 ? lab->n_threads : 1;
    int32_t *block = malloc((size_t) (SIDE_BY_SIDE * length) * sizeof *block);
    lathe_status st =
        block ? lathe_context_new(model, &cp, &c, err)
              : lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %d tokens", SIDE_BY_SIDE * length);
    for (int32_t at = 0; at < n_stories && !st; at += SIDE_BY_SIDE) {
        const int32_t k = n_stories - at < SIDE_BY_SIDE ? n_stories - at : SIDE_BY_SIDE;
        for (int32_t s = 0; s < k && !st; s++) {
            lathe_sampler_params sp = lathe_sampler_params_default();
            sp.temp = 1;
            sp.top_k = 0;
            sp.top_p = 1;
            sp.min_p = 0;
            sp.seed = seed + (uint64_t) (at + s) * 1000003u;
            lathe_sampler_free(samplers[s]);
            samplers[s] = NULL;
            st = lathe_sampler_new(vocab, lathe_model_n_vocab(model), &sp, &samplers[s], err);
        }
        if (!st)
            st = draw(c, samplers, k, length, end >= 0 ? end : 0, block, err);
        for (int32_t i = 0; i < k * length && !st && at * length + i < n; i++)
            ids[at * length + i] = block[i];
        if (!st)
            st = lathe_progress_step(lab->progress, "stories", at + k, n_stories, err);
    }
    for (int32_t s = 0; s < SIDE_BY_SIDE; s++)
        lathe_sampler_free(samplers[s]);
    lathe_context_free(c);
    free(block);
    return st;
}

lathe_status lathe_lab_read_on(const lathe_lab *lab, lathe_context *c, const int32_t *ids, int32_t n,
                               lathe_error *err) {
    uint8_t want[512] = {0};
    lathe_status st = LATHE_OK;
    while (!st && lathe_context_n_past(c, 0) < n - 1) {
        const int32_t at = lathe_context_n_past(c, 0), left = n - 1 - at, k = left < 512 ? left : 512;
        st = lathe_context_decode(c, &(lathe_batch){.tokens = ids + at, .want = want, .n_tokens = k}, err);
        if (!st)
            st = lathe_progress_step(lab->progress, "text", at + k, n, err);
    }
    return st;
}

lathe_status lathe_lab_read(const lathe_lab *lab, const lathe_model *model, const int32_t *ids, int32_t n,
                            int32_t room, bool exact, lathe_context **context, lathe_error *err) {
    lathe_context_params cp = lathe_context_params_default();
    cp.n_ctx = n + room;
    cp.n_threads = lab->n_threads > 0 ? lab->n_threads : 1;
    cp.exact = exact;
    lathe_context *c = NULL;
    lathe_status st = lathe_context_new(model, &cp, &c, err);
    if (!st)
        st = lathe_lab_read_on(lab, c, ids, n, err);
    if (st) {
        lathe_context_free(c);
        return st;
    }
    *context = c;
    return LATHE_OK;
}
