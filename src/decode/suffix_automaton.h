/* suffix_automaton.h - all substrings of a growing sequence, with where each first ended and how often it
 * came. */
#ifndef LATHE_DECODE_SUFFIX_AUTOMATON_H
#define LATHE_DECODE_SUFFIX_AUTOMATON_H

#include "lathe/base.h"

typedef struct lathe_sam_state {
    int32_t len, link,
        first_end; /* longest string, suffix link (-1: none), 1-based end of its first occurrence */
    int32_t count; /* occurrences; a lower bound for short strings of very repetitive texts */
    int32_t edges; /* head of the list of edges; -1: none */
} lathe_sam_state;

typedef struct lathe_sam_edge {
    int32_t token, to, from, next;
} lathe_sam_edge;

typedef struct lathe_sam {
    lathe_sam_state *states;
    lathe_sam_edge *edges;
    int32_t *slots; /* open addressing: (state, token) -> edge + 1; 0: empty */
    int32_t n_states, n_edges, capacity, edge_capacity, n_slots;
    int32_t last, n; /* state of the whole sequence; its length */
} lathe_sam;

/* n_expected: tokens for which memory is taken at once, since growing tables are moved as a whole, which no
 * single round should have to wait for; 0: little. */
LATHE_NODISCARD lathe_status lathe_sam_init(lathe_sam *sam, int32_t n_expected, lathe_error *err);
/* The empty sequence again; memory stays. */
void lathe_sam_clear(lathe_sam *sam);
void lathe_sam_free(lathe_sam *sam);
LATHE_NODISCARD lathe_status lathe_sam_append(lathe_sam *sam, int32_t token, lathe_error *err);
/* The edge of a state with this token, or -1. */
int32_t lathe_sam_edge_of(const lathe_sam *sam, int32_t state, int32_t token);

#endif
