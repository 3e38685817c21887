/* draft_check.c - see draft_check.h. */
#include "decode/draft_check.h"

#include <stdlib.h>
#include <string.h>

enum { SIZE_SLACK = 128, FIRST_COMPARED = 5 };

static const char *kind_of(const lathe_model *model) {
    const char *kind = lathe_model_meta(model, "tokenizer.ggml.model");
    return kind ? kind : "none";
}

static lathe_status check_ends(const lathe_vocab *t, const lathe_vocab *d, lathe_error *err) {
    const struct {
        const char *what;
        int32_t target, draft;
    } ends[] = {
        {"begin-of-text id", lathe_vocab_bos(t), lathe_vocab_bos(d)},
        {"end-of-text id", lathe_vocab_eos(t), lathe_vocab_eos(d)},
        {"rule whether prompts begin with it (1: yes)", lathe_vocab_adds_bos(t), lathe_vocab_adds_bos(d)},
    };
    for (size_t i = 0; i < LATHE_LEN(ends); i++)
        if (ends[i].target != ends[i].draft)
            return lathe_fail(
                err, LATHE_ERR_INPUT,
                "the draft model's %s is %d, the target's %d; a draft needs the target's tokenizer",
                ends[i].what, (int) ends[i].draft, (int) ends[i].target);
    return LATHE_OK;
}

lathe_status lathe_draft_check(const lathe_model *target, const lathe_model *draft, lathe_error *err) {
    const lathe_vocab *t = lathe_model_vocab(target), *d = lathe_model_vocab(draft);
    const int32_t n_t = lathe_model_n_vocab(target), n_d = lathe_model_n_vocab(draft);
    if (abs(n_t - n_d) > SIZE_SLACK)
        return lathe_fail(err, LATHE_ERR_INPUT,
                          "the draft model has %d tokens, the target %d; at most %d may be missing",
                          (int) n_d, (int) n_t, (int) SIZE_SLACK);
    if (!t != !d || strcmp(kind_of(target), kind_of(draft)) != 0)
        return lathe_fail(err, LATHE_ERR_INPUT,
                          "the draft model's tokenizer is of kind '%s', the target's '%s'; a draft needs the "
                          "target's tokenizer",
                          kind_of(draft), kind_of(target));
    if (!t)
        return LATHE_OK;
    const lathe_status status = check_ends(t, d, err);
    if (status)
        return status;
    for (int32_t id = FIRST_COMPARED; id < n_t && id < n_d; id++) {
        size_t n_a = 0, n_b = 0;
        const char *a = lathe_vocab_piece(t, id, &n_a), *b = lathe_vocab_piece(d, id, &n_b);
        if (!a || !b || n_a != n_b || memcmp(a, b, n_a) != 0)
            return lathe_fail(
                err, LATHE_ERR_INPUT,
                "id %d is '%.*s' for the draft model and '%.*s' for the target; a draft needs the "
                "target's tokenizer",
                (int) id, b ? (int) n_b : 0, b ? b : "", a ? (int) n_a : 0, a ? a : "");
    }
    return LATHE_OK;
}
