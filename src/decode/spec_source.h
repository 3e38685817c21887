/* spec_source.h - one place that drafts come from, during a run: a proposer's state, its last draft, and how
 * often what it says comes true.
 *
 * A proposer gives each drafted token a guess of its own, the probability that it is right where its parent
 * was. Guesses are put into bins, and each bin counts how often it was right: this is learnt from every
 * committed text, also where another arm drafted, since drafts from free sources cost nothing to compare. */
#ifndef LATHE_DECODE_SPEC_SOURCE_H
#define LATHE_DECODE_SPEC_SOURCE_H

#include "decode/proposer.h"

enum { LATHE_SOURCE_BINS = 20 };

typedef struct lathe_spec_source {
    const lathe_proposer *proposer;
    void *state;
    char *name;                         /* as asked for: "draft:FILE" */
    int32_t law;                        /* lathe_law of its drafts here */
    int32_t length;                     /* most nodes that any arm wants of it */
    lathe_token_tree tree;              /* the last draft */
    bool drafted;                       /* tree is of this round */
    double value[LATHE_TREE_NODES_MAX]; /* probability that a node is accepted, its ancestors too */
    double right[LATHE_SOURCE_BINS], reached[LATHE_SOURCE_BINS];
    double trust;    /* factor on its guesses before anything was counted: at a temperature copies fail more
                        often */
    double usual;    /* running share of its drafts whose first token is right */
    int32_t n_usual; /* drafts of this text that it is made of */
    double step;     /* cost of a drafted token in plain steps (slow ones) */
    double step_s;   /* the same in seconds, as measured before the first draft */
    double read_s;   /* seconds of a token that it must catch up */
    int32_t asleep, naps; /* rounds until it is asked again; how often it slept */
    int32_t idle;         /* rounds in a row in which it promised nothing */
    int32_t synced;       /* tokens of the text that it has read (free ones) */
    bool learns;
} lathe_spec_source;

LATHE_NODISCARD lathe_status lathe_spec_source_open(const char *name, const lathe_proposer_params *params,
                                                    lathe_spec_source *source, lathe_error *err);
void lathe_spec_source_close(lathe_spec_source *source);
/* Lets a free source read up to n tokens of the text, but at most `most` more than before; *done: it has read
 * them all. */
LATHE_NODISCARD lathe_status lathe_spec_source_read(lathe_spec_source *source, const int32_t *ids, int32_t n,
                                                    int32_t most, bool *done, lathe_error *err);
/* Another text begins: what the ones before taught is a first guess from now on. */
void lathe_spec_source_turn(lathe_spec_source *source);
/* Probability that a node with this guess of its proposer is right where its parent was. */
double lathe_spec_source_estimate(const lathe_spec_source *source, double prob);
/* Fills value of the tree's nodes; A [n_nodes - 1]: the values, largest first. Returns their number. */
int32_t lathe_spec_source_values(lathe_spec_source *source, double *A, int32_t most);
/* Keeps the n drafted nodes of largest value. */
void lathe_spec_source_trim(lathe_spec_source *source, int32_t n);
/* The same into another tree (POINT nodes, room for n and the root), so that the whole draft can still be
 * judged. */
void lathe_spec_source_pick(const lathe_spec_source *source, int32_t n, lathe_token_tree *out);
/* Compares the last draft with the tokens that were committed behind it; returns how many of them it had. */
int32_t lathe_spec_source_judge(lathe_spec_source *source, const int32_t *emitted, int32_t n);

#endif
