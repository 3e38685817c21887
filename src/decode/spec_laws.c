/* spec_laws.c - what an arm would have emitted, by the target's laws instead of the token that was drawn.
 *
 * A draft d_1, d_2, ... emits 1 + sum_k prod_(j <= k) p_j(d_j) tokens in expectation, p_j the target's law
 * behind the drafts before. The round computed these laws along the text that it kept, x: where x agrees with
 * the draft up to k - 1, p_k(d_k) is known, and
 *     1 + sum_k [x_1 = d_1, ..., x_(k-1) = d_(k-1)] p_k(d_k)
 * has that expectation with less variance than 1 + the number of tokens on which the two agree (what full
 * information compares otherwise). Source: HedgeSpec's estimate, for drafts chosen by a rule.
 *
 * It holds for drafts that do not depend on how x was drawn: those of free sources. A draft model's chain
 * takes the target's own random number (draft_chain.c) and is right more often than the law of its tokens
 * says. */
#include "decode/spec.h"

#include <stdlib.h>

/* Share of the law on the children of a node; equal children count once. */
static double on_children(const lathe_token_tree *tree, int32_t node, const double *law) {
    double sum = 0.0;
    for (int32_t c = node + 1; c < tree->n_nodes; c++)
        if (tree->parent[c] == node && lathe_token_tree_child(tree, node, tree->token[c]) == c)
            sum += law[tree->token[c]];
    return sum < 1.0 ? sum : 1.0;
}

lathe_status lathe_spec_expect(lathe_spec *s, lathe_session *session, const lathe_token_tree *verified,
                               double *would, lathe_error *err) {
    const lathe_verdict *verdict = &s->verdict;
    int32_t at[LATHE_SPEC_SOURCES_MAX];
    lathe_status status = lathe_session_reserve(session, session->n_ids + LATHE_SPEC_DEPTH + 1, err);
    const size_t n = session->n_ids; /* behind them there is room for what follows */
    if (!status && !s->law && !(s->law = malloc((size_t) verified->n_vocab * sizeof *s->law)))
        status = lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a law");
    if (status)
        return status;
    for (int32_t i = 0; i < s->set.n_sources; i++) {
        at[i] = s->source[i].drafted && !s->source[i].proposer->slow ? 0 : -1;
        for (int32_t a = 1; a < s->set.n_arms && at[i] == 0; a++)
            if (s->set.arm[a].source == i)
                would[a] = 1.0;
    }
    for (int32_t k = 0; k < verdict->n_emitted; k++) {
        const int32_t row = k == 0 ? 0 : verdict->path[k - 1];
        status = lathe_sampler_law(session->sampler, lathe_context_logits(session->context, row),
                                   session->ids, n + (size_t) k, s->law, err);
        if (status)
            return status;
        for (int32_t i = 0; i < s->set.n_sources; i++) {
            if (at[i] < 0)
                continue;
            const double right = on_children(&s->source[i].tree, at[i], s->law);
            for (int32_t a = 1; a < s->set.n_arms; a++)
                if (s->set.arm[a].source == i && k < s->set.arm[a].length)
                    would[a] += right;
            at[i] = lathe_token_tree_child(&s->source[i].tree, at[i], verdict->emitted[k]);
        }
        session->ids[n + (size_t) k] = verdict->emitted[k];
    }
    return LATHE_OK;
}
