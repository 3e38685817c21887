/* suffix_automaton.c - the online suffix automaton (Blumer et al. 1985): amortised constant time a token, at
 * most 2n states and 3n edges. */
#include "decode/suffix_automaton.h"

#include <stdlib.h>
#include <string.h>

enum { COUNT_STEPS = 64, EXPECTED_MAX = 1 << 20 };

static uint32_t hash_of(int32_t state, int32_t token) {
    uint64_t x = ((uint64_t) (uint32_t) state << 32 | (uint32_t) token) * 0x9E3779B97F4A7C15ull;
    return (uint32_t) (x >> 32) ^ (uint32_t) x;
}

static void start(lathe_sam *sam) {
    sam->states[0] = (lathe_sam_state){.link = -1, .edges = -1};
    sam->n_states = 1;
    sam->n_edges = sam->last = sam->n = 0;
}

lathe_status lathe_sam_init(lathe_sam *sam, int32_t n_expected, lathe_error *err) {
    const int32_t n = n_expected < 32 ? 32 : n_expected > EXPECTED_MAX ? EXPECTED_MAX : n_expected;
    *sam = (lathe_sam){.capacity = 2 * n + 2, .edge_capacity = 3 * n + 4, .n_slots = 512};
    while (sam->n_slots < 2 * sam->edge_capacity)
        sam->n_slots *= 2;
    sam->states = malloc((size_t) sam->capacity * sizeof *sam->states);
    sam->edges = malloc((size_t) sam->edge_capacity * sizeof *sam->edges);
    sam->slots = calloc((size_t) sam->n_slots, sizeof *sam->slots);
    if (!sam->states || !sam->edges || !sam->slots) {
        lathe_sam_free(sam);
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a suffix automaton");
    }
    start(sam);
    return LATHE_OK;
}

void lathe_sam_free(lathe_sam *sam) {
    free(sam->states);
    free(sam->edges);
    free(sam->slots);
    *sam = (lathe_sam){0};
}

static int32_t slot_of(const lathe_sam *sam, int32_t state, int32_t token) {
    uint32_t i = hash_of(state, token) & (uint32_t) (sam->n_slots - 1);
    while (sam->slots[i]) {
        const lathe_sam_edge *e = &sam->edges[sam->slots[i] - 1];
        if (e->from == state && e->token == token)
            break;
        i = (i + 1) & (uint32_t) (sam->n_slots - 1);
    }
    return (int32_t) i;
}

int32_t lathe_sam_edge_of(const lathe_sam *sam, int32_t state, int32_t token) {
    return sam->slots[slot_of(sam, state, token)] - 1;
}

/* Room for one append: two states, and an edge for each state that the walk meets is bounded by the
 * automaton's size. */
static lathe_status reserve(lathe_sam *sam, int32_t n_edges, lathe_error *err) {
    if (sam->n_states > INT32_MAX / 8 || sam->n_edges > INT32_MAX / 8 - n_edges)
        return lathe_fail(err, LATHE_ERR_MEMORY, "the sequence is too long for a suffix automaton");
    if (sam->n_states + 2 > sam->capacity) {
        lathe_sam_state *grown = realloc(sam->states, 2 * (size_t) sam->capacity * sizeof *grown);
        if (!grown)
            return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a suffix automaton of %d states",
                              (int) sam->n_states);
        sam->states = grown;
        sam->capacity *= 2;
    }
    while (sam->n_edges + n_edges > sam->edge_capacity) {
        lathe_sam_edge *grown = realloc(sam->edges, 2 * (size_t) sam->edge_capacity * sizeof *grown);
        if (!grown)
            return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a suffix automaton of %d edges",
                              (int) sam->n_edges);
        sam->edges = grown;
        sam->edge_capacity *= 2;
    }
    if (2 * (sam->n_edges + n_edges) > sam->n_slots) {
        int32_t size = sam->n_slots;
        while (2 * (sam->n_edges + n_edges) > size)
            size *= 2;
        int32_t *slots = calloc((size_t) size, sizeof *slots);
        if (!slots)
            return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a suffix automaton of %d edges",
                              (int) sam->n_edges);
        free(sam->slots);
        sam->slots = slots;
        sam->n_slots = size;
        for (int32_t e = 0; e < sam->n_edges; e++)
            sam->slots[slot_of(sam, sam->edges[e].from, sam->edges[e].token)] = e + 1;
    }
    return LATHE_OK;
}

void lathe_sam_clear(lathe_sam *sam) {
    /* Newest first: an edge's way through the table met older ones only. */
    for (int32_t e = sam->n_edges - 1; e >= 0; e--)
        sam->slots[slot_of(sam, sam->edges[e].from, sam->edges[e].token)] = 0;
    start(sam);
}

static void add_edge(lathe_sam *sam, int32_t from, int32_t token, int32_t to) {
    const int32_t e = sam->n_edges++;
    sam->edges[e] = (lathe_sam_edge){token, to, from, sam->states[from].edges};
    sam->states[from].edges = e;
    sam->slots[slot_of(sam, from, token)] = e + 1;
}

lathe_status lathe_sam_append(lathe_sam *sam, int32_t token, lathe_error *err) {
    /* Edges that this token adds: one for each state on the way that lacks it, and those of a clone. */
    int32_t n_new = 0, stop = sam->last;
    while (stop >= 0 && lathe_sam_edge_of(sam, stop, token) < 0) {
        n_new++;
        stop = sam->states[stop].link;
    }
    int32_t target = -1;
    if (stop >= 0) {
        target = sam->edges[lathe_sam_edge_of(sam, stop, token)].to;
        if (sam->states[target].len != sam->states[stop].len + 1)
            for (int32_t e = sam->states[target].edges; e >= 0; e = sam->edges[e].next)
                n_new++;
    }
    /* One more: the walk may give the state that is cloned an edge of its own first. */
    const lathe_status status = reserve(sam, n_new + 1, err);
    if (status)
        return status;
    const int32_t current = sam->n_states++;
    sam->n++;
    sam->states[current] =
        (lathe_sam_state){.len = sam->states[sam->last].len + 1, .link = 0, .first_end = sam->n, .edges = -1};
    for (int32_t v = sam->last; v != stop; v = sam->states[v].link)
        add_edge(sam, v, token, current);
    if (stop >= 0 && sam->states[target].len == sam->states[stop].len + 1) {
        sam->states[current].link = target;
    } else if (stop >= 0) {
        const int32_t clone = sam->n_states++;
        sam->states[clone] = sam->states[target];
        sam->states[clone].len = sam->states[stop].len + 1;
        sam->states[clone].edges = -1;
        for (int32_t e = sam->states[target].edges; e >= 0; e = sam->edges[e].next)
            add_edge(sam, clone, sam->edges[e].token, sam->edges[e].to);
        for (int32_t v = stop; v >= 0; v = sam->states[v].link) {
            const int32_t e = lathe_sam_edge_of(sam, v, token);
            if (e < 0 || sam->edges[e].to != target)
                break;
            sam->edges[e].to = clone;
        }
        sam->states[target].link = clone;
        sam->states[current].link = clone;
    }
    sam->last = current;
    for (int32_t v = current, step = 0; v > 0 && step < COUNT_STEPS; v = sam->states[v].link, step++)
        sam->states[v].count++;
    return LATHE_OK;
}
