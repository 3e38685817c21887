/* verify_check.c - does a verifier leave the law of the text alone? By exact enumeration where all outcomes
 * can be walked, by a chi-square test over whole generations where rounds share random numbers.
 *
 * Target and draft are first-order Markov chains over three ids, with different rows, so that errors which
 * cancel for independent tokens show. Known wrong verifiers stand beside the right ones and must be found
 * wrong. */
#include "decode/enumerate.h"
#include "decode/verifier.h"
#include "lathe/decode.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { V = 3, M_MAX = 3, LAW_SIZE = 27 };

static const double target_rows[V][V] = {{.5, .3, .2}, {.2, .2, .6}, {.1, .7, .2}};
static const double draft_rows[V][V] = {{.2, .7, .1}, {.4, .3, .3}, {.3, .3, .4}};
static const double even_target[V][V] = {{.5, .3, .2}, {.5, .3, .2}, {.5, .3, .2}};
static const double even_draft[V][V] = {{.2, .7, .1}, {.2, .7, .1}, {.2, .7, .1}};

typedef enum draft_form {
    DRAW_CHAIN,      /* drawn one after another */
    DRAW_WOR,        /* two children without replacement, then a chain of one under each */
    DRAW_WOR_ALL,    /* more children than the draft's support holds: it goes on with the uniform law */
    DRAW_WR,         /* two independent children */
    ARGMAX_CHAIN,    /* the draft's most probable ids */
    TOP_TREE,        /* the draft's two most probable ids, then one each */
    ARGMAX_AS_DRAWN, /* wrong: chosen by argmax, declared as drawn */
    DROP_UNLIKELY,   /* wrong: a drawn token decides whether it is tested */
    GUMBEL_CHAIN,    /* by the shared noise */
} draft_form;

typedef struct check_case {
    const char *name, *verifier, *proposer;
    draft_form form;
    int32_t gamma, n_tokens;
    bool valid, statistical, position_only, even;
    const lathe_verifier *own; /* a wrong verifier; NULL: by name */
} check_case;

/* Wrong: after a rejection the token comes from p, not from the residual. */
static void resample_from_p(const lathe_token_tree *tree, const double *p,
                            const lathe_verify_options *options, const lathe_chance *chance, double *work,
                            lathe_verdict *verdict) {
    (void) options;
    (void) work;
    int32_t k = 1;
    for (; k < tree->n_nodes; k++) {
        const double *P = p + (size_t) (k - 1) * V, *Q = tree->laws + (size_t) tree->law[k] * V;
        const int32_t d = tree->token[k];
        if (!lathe_chance_accept(chance, P[d] / Q[d], chance->n_committed + (uint64_t) k - 1, 0))
            break;
        lathe_verdict_keep(verdict, tree, k);
    }
    lathe_verdict_end(verdict, lathe_chance_draw(chance, LATHE_RNG_RESIDUAL_SAMPLE, p + (size_t) (k - 1) * V,
                                                 V, chance->n_committed + (uint64_t) k - 1, 0));
}

/* Wrong: children that were drawn without replacement are all tested against the law of the first. */
static void forget_removal(const lathe_token_tree *tree, const double *p, const lathe_verify_options *options,
                           const lathe_chance *chance, double *work, lathe_verdict *verdict) {
    (void) options;
    double P[V];
    memcpy(P, p, sizeof P);
    for (int32_t c = 1; c < tree->n_nodes && tree->parent[c] == 0; c++) {
        const double *Q = tree->laws + (size_t) tree->law[c] * V;
        if (lathe_chance_accept(chance, P[tree->token[c]] / Q[tree->token[c]], chance->n_committed,
                                (uint32_t) c)) {
            lathe_verdict_keep(verdict, tree, c);
            lathe_verdict_end(verdict, lathe_chance_draw(chance, LATHE_RNG_TARGET_SAMPLE, p + (size_t) c * V,
                                                         V, chance->n_committed + 1, 0));
            return;
        }
        if (lathe_residual(P, Q, V, work))
            memcpy(P, work, sizeof P);
    }
    lathe_verdict_end(verdict,
                      lathe_chance_draw(chance, LATHE_RNG_RESIDUAL_SAMPLE, P, V, chance->n_committed, 0));
}

static const lathe_verifier wrong_resample = {
    .name = "token", .laws = LATHE_LAW_SAMPLED, .verify = resample_from_p};
static const lathe_verifier wrong_removal = {
    .name = "wor", .laws = LATHE_LAW_SAMPLED, .trees = true, .verify = forget_removal};

static const check_case cases[] = {
    {"match, chosen chain", "match", "argmax chain", ARGMAX_CHAIN, 2, 3, .valid = true},
    {"match, chosen tree", "match", "top-2 tree", TOP_TREE, 2, 3, .valid = true},
    {"match, drawn chain", "match", "drawn chain", DRAW_CHAIN, 2, 3, .valid = true},
    {"token, drawn chain", "token", "drawn chain", DRAW_CHAIN, 2, 3, .valid = true},
    {"block, drawn chain", "block", "drawn chain", DRAW_CHAIN, 2, 3, .valid = true},
    {"block, drawn chain of 3", "block", "drawn chain", DRAW_CHAIN, 3, 2, .valid = true},
    {"wor, drawn chain", "wor", "drawn chain", DRAW_CHAIN, 2, 3, .valid = true},
    {"wor, tree without replacement", "wor", "2 children without replacement", DRAW_WOR, 2, 2, .valid = true},
    {"wor, beyond the draft's support", "wor", "3 children without replacement", DRAW_WOR_ALL, 1, 2,
     .valid = true},
    {"wor, chosen tree", "wor", "top-2 tree", TOP_TREE, 2, 2, .valid = true},
    {"wr, tree with replacement", "wr", "2 independent children", DRAW_WR, 1, 3, .valid = true},
    {"wr, chosen tree", "wr", "top-2 tree", TOP_TREE, 2, 2, .valid = true},
    {"token, several rounds", "token", "drawn chain", DRAW_CHAIN, 2, 2, .valid = true, .statistical = true},
    {"block, several rounds", "block", "drawn chain", DRAW_CHAIN, 2, 2, .valid = true, .statistical = true,
     .even = true},
    {"wor, several rounds", "wor", "2 children without replacement", DRAW_WOR, 2, 2, .valid = true,
     .statistical = true},
    {"wr, several rounds", "wr", "2 independent children", DRAW_WR, 1, 2, .valid = true, .statistical = true},
    {"match, several rounds", "match", "argmax chain", ARGMAX_CHAIN, 2, 2, .valid = true,
     .statistical = true},
    {"match, position alone in the counter", "match", "drawn chain", DRAW_CHAIN, 2, 2, .valid = true,
     .statistical = true, .position_only = true},
    {"coupled, shared noise", "coupled", "Gumbel chain", GUMBEL_CHAIN, 2, 2, .valid = true,
     .statistical = true},
    {"wrong: argmax tested as drawn", "token", "argmax declared as drawn", ARGMAX_AS_DRAWN, 2, 2,
     .valid = false},
    {"wrong: resampled from p", "token", "drawn chain", DRAW_CHAIN, 2, 2, .own = &wrong_resample},
    {"wrong: removed ids not removed from q", "wor", "2 children without replacement", DRAW_WOR, 1, 2,
     .own = &wrong_removal},
    {"wrong: unlikely drawn tokens dropped", "token", "drawn chain that drops", DROP_UNLIKELY, 1, 2,
     .valid = false},
    {"wrong: block, position alone in the counter", "block", "drawn chain", DRAW_CHAIN, 2, 2,
     .statistical = true, .position_only = true, .even = true},
};

static const double *draft_row(const check_case *c, int32_t token) {
    return c->even ? even_draft[token] : draft_rows[token];
}

static const double *target_row(const check_case *c, int32_t token) {
    return c->even ? even_target[token] : target_rows[token];
}

/* One drawn child of node from the law q [V]; its index in the tree. The counter's index is 0 in chains. */
static int32_t draw_child(lathe_token_tree *tree, const lathe_chance *chance, int32_t node, const double *q,
                          int32_t law, uint32_t index) {
    const int32_t x = lathe_chance_draw(chance, LATHE_RNG_DRAFT_SAMPLE, q, V,
                                        chance->n_committed + (uint64_t) tree->depth[node], index);
    return lathe_token_tree_add_sampled(tree, node, x, law);
}

static int32_t runner_up(const double *q, int32_t best) {
    int32_t second = best == 0 ? 1 : 0;
    for (int32_t x = 0; x < V; x++)
        if (x != best && q[x] > q[second])
            second = x;
    return second;
}

static void make_draft(const check_case *c, lathe_token_tree *tree, const lathe_chance *chance,
                       int32_t pending) {
    lathe_token_tree_start(tree, pending);
    int32_t node = 0;
    switch (c->form) {
    case DRAW_CHAIN:
    case DROP_UNLIKELY:
    case ARGMAX_AS_DRAWN:
        for (int32_t k = 0; k < c->gamma; k++) {
            const double *q = draft_row(c, tree->token[node]);
            const int32_t law = lathe_token_tree_add_law(tree, q);
            node = c->form == ARGMAX_AS_DRAWN
                       ? lathe_token_tree_add_sampled(tree, node, lathe_argmax(q, V), law)
                       : draw_child(tree, chance, node, q, law, 0);
            if (c->form == DROP_UNLIKELY && q[tree->token[node]] < .15) {
                lathe_token_tree_cut(tree, node - 1, c->gamma);
                return;
            }
        }
        return;
    case DRAW_WOR:
    case DRAW_WOR_ALL: {
        const double *q = draft_row(c, pending);
        double left[V];
        memcpy(left, q, sizeof left);
        if (c->form == DRAW_WOR_ALL) { /* a draft whose support holds two of the three ids */
            left[0] /= left[0] + left[1];
            left[1] = 1.0 - left[0];
            left[2] = 0.0;
        }
        const int32_t law = lathe_token_tree_add_law(tree, left);
        const int32_t n_children = c->form == DRAW_WOR_ALL ? 3 : 2;
        bool tried[V] = {false};
        for (int32_t j = 0; j < n_children; j++) {
            double sum = 0.0;
            for (int32_t x = 0; x < V; x++)
                sum += left[x];
            for (int32_t x = 0; x < V && !(sum > 0.0); x++)
                left[x] = tried[x] ? 0.0 : 1.0;
            const int32_t child = draw_child(tree, chance, 0, left, law, (uint32_t) tree->n_nodes);
            left[tree->token[child]] = 0.0;
            tried[tree->token[child]] = true;
        }
        for (int32_t j = 1; j <= n_children && c->gamma > 1; j++) {
            const double *next = draft_row(c, tree->token[j]);
            draw_child(tree, chance, j, next, lathe_token_tree_add_law(tree, next), (uint32_t) tree->n_nodes);
        }
        return;
    }
    case DRAW_WR: {
        const double *q = draft_row(c, pending);
        const int32_t law = lathe_token_tree_add_law(tree, q);
        draw_child(tree, chance, 0, q, law, 1);
        draw_child(tree, chance, 0, q, law, 2);
        return;
    }
    case ARGMAX_CHAIN:
        for (int32_t k = 0; k < c->gamma; k++)
            node = lathe_token_tree_add(tree, node, lathe_argmax(draft_row(c, tree->token[node]), V), 0.0);
        return;
    case TOP_TREE: {
        const double *q = draft_row(c, pending);
        const int32_t best = lathe_argmax(q, V);
        lathe_token_tree_add(tree, 0, best, 0.0);
        lathe_token_tree_add(tree, 0, runner_up(q, best), 0.0);
        for (int32_t j = 1; j <= 2 && c->gamma > 1; j++)
            lathe_token_tree_add(tree, j, lathe_argmax(draft_row(c, tree->token[j]), V), 0.0);
        return;
    }
    case GUMBEL_CHAIN:
        for (int32_t k = 0; k < c->gamma; k++)
            node = lathe_token_tree_add(tree, node,
                                        lathe_gumbel_pick(chance->seed, draft_row(c, tree->token[node]), V,
                                                          chance->n_committed + (uint64_t) k),
                                        0.0);
        return;
    }
}

/* Generates n_tokens after the pending token 0, as many rounds as that takes; the index of the text. */
static size_t generate(const check_case *c, const lathe_verifier *verifier, lathe_token_tree *tree,
                       lathe_chance chance) {
    const lathe_verify_options options = lathe_verify_options_default();
    double p[16 * V], work[3 * V];
    lathe_verdict verdict;
    int32_t text[M_MAX], n = 0, pending = 0;
    while (n < c->n_tokens) {
        chance.n_committed = (uint64_t) n + 1;
        make_draft(c, tree, &chance, pending);
        for (int32_t i = 0; i < tree->n_nodes; i++)
            memcpy(p + (size_t) i * V, target_row(c, tree->token[i]), V * sizeof *p);
        verdict.n_accepted = verdict.n_emitted = 0;
        verdict.tv_budget = 0.0;
        verifier->verify(tree, p, &options, &chance, work, &verdict);
        for (int32_t k = 0; k < verdict.n_emitted && n < c->n_tokens; k++)
            text[n++] = verdict.emitted[k];
        pending = text[n - 1];
    }
    size_t index = 0;
    for (int32_t k = 0; k < n; k++)
        index = index * V + (size_t) text[k];
    return index;
}

/* The exact law of n tokens. */
static size_t exact_law(const check_case *c, double *law) {
    size_t size = 1;
    for (int32_t k = 0; k < c->n_tokens; k++)
        size *= V;
    for (size_t i = 0; i < size; i++) {
        int32_t text[M_MAX], last = 0;
        size_t rest = i;
        for (int32_t k = c->n_tokens; k-- > 0; rest /= V)
            text[k] = (int32_t) (rest % V);
        law[i] = 1.0;
        for (int32_t k = 0; k < c->n_tokens; last = text[k++])
            law[i] *= target_row(c, last)[text[k]];
    }
    return size;
}

double lathe_chi_square_tail(double x, int32_t df) {
    const double a = 0.5 * df, z = 0.5 * x;
    if (!(z > 0.0))
        return 1.0;
    const double front = exp(a * log(z) - z - lgamma(a));
    if (z < a + 1.0) { /* series of the lower part */
        double term = 1.0 / a, sum = term;
        for (int32_t k = 1; k < 10000 && term > sum * 1e-17; k++) {
            term *= z / (a + k);
            sum += term;
        }
        return 1.0 - front * sum;
    }
    double b = z + 1.0 - a, c = 1e300, d = 1.0 / b, h = d; /* continued fraction of the upper part (Lentz) */
    for (int32_t k = 1; k < 10000; k++) {
        const double an = -(double) k * (k - a);
        b += 2.0;
        d = an * d + b;
        c = b + an / c;
        d = 1.0 / (fabs(d) < 1e-300 ? 1e-300 : d);
        const double step = d * (fabs(c) < 1e-300 ? 1e-300 : c);
        h *= step;
        if (fabs(step - 1.0) < 1e-15)
            break;
    }
    return front * h;
}

size_t lathe_verify_check_count(void) {
    return LATHE_LEN(cases);
}

lathe_status lathe_verify_check_run(size_t i, uint64_t seed, int64_t n, lathe_verify_case *out,
                                    lathe_error *err) {
    if (i >= LATHE_LEN(cases))
        return lathe_fail(err, LATHE_ERR_ARG, "check %zu; there are %zu", i, LATHE_LEN(cases));
    if (n < 1000 || n > 100000000)
        return lathe_fail(err, LATHE_ERR_ARG, "%lld samples a check; 1000 to 1e8", (long long) n);
    const check_case *c = &cases[i];
    const lathe_verifier *verifier = c->own;
    lathe_status status = verifier ? LATHE_OK : lathe_verifier_find(c->verifier, &verifier, err);
    lathe_token_tree tree;
    if (status || (status = lathe_token_tree_init(&tree, 16, V, err)))
        return status;
    double law[LAW_SIZE], seen[LAW_SIZE] = {0.0};
    const size_t size = exact_law(c, law);
    *out = (lathe_verify_case){.name = c->name,
                               .verifier = c->verifier,
                               .proposer = c->proposer,
                               .valid = c->valid,
                               .p_value = -1.0,
                               .max_error = -1.0};
    if (c->statistical) {
        double x2 = 0.0;
        for (int64_t k = 0; k < n; k++)
            seen[generate(c, verifier, &tree,
                          (lathe_chance){.seed = seed + (uint64_t) k, .position_only = c->position_only})] +=
                1.0;
        for (size_t k = 0; k < size; k++) {
            const double expected = law[k] * (double) n;
            x2 += (seen[k] - expected) * (seen[k] - expected) / expected;
        }
        out->p_value = lathe_chi_square_tail(x2, (int32_t) size - 1);
        out->n = n;
        out->pass = out->p_value > LATHE_VERIFY_CHECK_ALPHA;
    } else {
        lathe_enumeration e;
        lathe_enumeration_start(&e);
        const lathe_chance chance = {.seed = seed, .choose = lathe_enumeration_choose, .user = &e};
        do {
            const size_t k = generate(c, verifier, &tree, chance);
            seen[k] += e.probability;
            out->n++;
        } while (lathe_enumeration_next(&e));
        out->max_error = 0.0;
        for (size_t k = 0; k < size; k++)
            out->max_error = fmax(out->max_error, fabs(seen[k] - law[k]));
        out->pass = !e.overflow && out->max_error < 1e-12;
    }
    lathe_token_tree_free(&tree);
    return LATHE_OK;
}
