/* kv_stream.c - rings of cache rows: the first positions and the last ones. */
#include <stdlib.h>
#include <string.h>

#include "model/kv.h"

#define F16_ZERO      ((uint16_t) 0x0000)
#define F16_MINUS_INF ((uint16_t) 0xFC00)

enum { ALIGN = 512 }; /* entries: a multiple of the attention kernel's chunks */

int32_t lathe_kv_stream_n_rows(const lathe_kv_rule *rule, int32_t n_ctx, int32_t n_seqs, int32_t n_batch) {
    int64_t n = (int64_t) n_seqs * ((int64_t) rule->sink + rule->recent + LATHE_KV_SLACK) + n_batch;
    return n < n_ctx ? (int32_t) n : n_ctx;
}

lathe_status lathe_kv_stream_new(const lathe_kv_rule *rule, int32_t n_ctx, int32_t n_seqs, int32_t n_batch,
                                 lathe_kv_stream *stream, lathe_error *err) {
    lathe_kv_stream s = {.rule = *rule};
    lathe_status status =
        lathe_cells_new(lathe_kv_stream_n_rows(rule, n_ctx, n_seqs, n_batch), n_seqs, &s.cells, err);
    if (status != LATHE_OK)
        return status;
    s.rows = calloc((size_t) n_batch + 1, sizeof *s.rows);
    s.tree_rows = calloc((size_t) n_batch + 1, sizeof *s.tree_rows);
    if (s.rows == NULL || s.tree_rows == NULL) {
        lathe_kv_stream_free(&s);
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a batch of %d tokens", n_batch);
    }
    *stream = s;
    return LATHE_OK;
}

void lathe_kv_stream_free(lathe_kv_stream *stream) {
    lathe_cells_free(&stream->cells);
    free(stream->rows);
    free(stream->tree_rows);
    *stream = (lathe_kv_stream){0};
}

static const int32_t *list_of(const lathe_kv_stream *s, int32_t seq) {
    return s->cells.rows + (size_t) seq * (size_t) s->cells.n_rows;
}

/* First list entry at a position of at least pos. */
static int32_t first_from(const lathe_kv_stream *s, int32_t seq, int32_t pos) {
    const int32_t *list = list_of(s, seq);
    int32_t lo = 0, hi = s->cells.length[seq];
    while (lo < hi) {
        int32_t mid = lo + (hi - lo) / 2;
        if (s->cells.pos[list[mid]] < pos)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* The first position behind the sinks that a query at pos sees. */
static int32_t oldest(const lathe_kv_stream *s, int32_t pos) {
    int32_t from = pos - s->rule.recent + 1;
    return from > s->rule.sink ? from : s->rule.sink;
}

bool lathe_kv_stream_reaches(const lathe_kv_stream *s, int32_t seq, int32_t pos) {
    return s->lost[seq] <= oldest(s, pos) || pos <= s->rule.sink;
}

/* --- Placing ------------------------------------------------------------------------------------- */

/* Gives away what no token from position pos on sees, nor any LATHE_KV_SLACK positions earlier. */
static void give_away(lathe_kv_stream *s, int32_t seq, int32_t pos) {
    int32_t until = oldest(s, pos) - LATHE_KV_SLACK;
    if (until <= s->rule.sink || until <= s->lost[seq])
        return;
    int32_t i0 = first_from(s, seq, s->rule.sink), i1 = first_from(s, seq, until);
    if (i1 > i0)
        lathe_cells_shift(&s->cells, seq, i0, i1, 0);
    s->lost[seq] = until;
}

bool lathe_kv_stream_place(lathe_kv_stream *s, const int32_t *seq, const int32_t *pos, int32_t n) {
    if (n > s->cells.n_rows - s->cells.n_taken) {
        int32_t next[LATHE_KV_SEQS_MAX];
        for (int32_t i = 0; i < s->cells.n_seqs; i++)
            next[i] = lathe_cells_next_pos(&s->cells, i);
        for (int32_t i = n; i-- > 0;) /* where the batch begins in each sequence */
            next[seq[i]] = pos[i];
        for (int32_t i = 0; i < s->cells.n_seqs; i++)
            give_away(s, i, next[i]);
    }
    for (int32_t i = 0; i < s->cells.n_seqs; i++)
        s->tree_base[i] = s->cells.length[i];
    return lathe_cells_place(&s->cells, seq, pos, n, s->rows);
}

bool lathe_kv_stream_rollback(lathe_kv_stream *s, int32_t seq, int32_t pos) {
    lathe_cells_rollback(&s->cells, seq, pos);
    if (pos <= s->rule.sink)
        s->lost[seq] = 0;
    return lathe_kv_stream_reaches(s, seq, pos);
}

void lathe_kv_stream_copy(lathe_kv_stream *s, int32_t from, int32_t to, int32_t pos) {
    if (from == to)
        return;
    lathe_cells_copy(&s->cells, from, to, first_from(s, from, pos));
    s->lost[to] = s->lost[from];
}

/* --- What a batch sees --------------------------------------------------------------------------- */

/* Where a sequence's entries lie. */
typedef struct region {
    int32_t begin;  /* its sinks */
    int32_t window; /* its position `base` */
    int32_t base;
    int32_t nodes; /* the nodes of a tree */
    int32_t end;
} region;

static int32_t round_up(int32_t n) {
    return (n + ALIGN - 1) / ALIGN * ALIGN;
}

static region region_of(const lathe_kv_stream *s, int32_t sequence, const int32_t *seq, const int32_t *pos,
                        const int32_t *parent, int32_t n, int32_t begin) {
    int32_t first = INT32_MAX, last = 0, n_nodes = 0;
    for (int32_t i = 0; i < n; i++)
        if (seq[i] == sequence) {
            first = pos[i] < first ? pos[i] : first;
            last = pos[i] > last ? pos[i] : last;
            n_nodes++;
        }
    region r = {.begin = begin, .window = begin, .base = oldest(s, first) / ALIGN * ALIGN};
    if (s->rule.sink > 0)
        r.window += ALIGN;
    int32_t end = parent != NULL ? first : last + 1; /* of what lies by position */
    r.nodes = r.window + (end > r.base ? end - r.base : 0);
    r.end = r.begin + round_up(r.nodes + (parent != NULL ? n_nodes : 0) - r.begin);
    return r;
}

int32_t lathe_kv_stream_n_entries(const lathe_kv_stream *s, const int32_t *seq, const int32_t *pos,
                                  const int32_t *parent, int32_t n) {
    uint64_t done = 0;
    int32_t end = 0;
    for (int32_t i = 0; i < n; i++)
        if ((done >> seq[i] & 1) == 0) {
            done |= (uint64_t) 1 << seq[i];
            end = region_of(s, seq[i], seq, pos, parent, n, end).end;
        }
    return end;
}

/* The entry of a list's row; -1: not among them. */
static int32_t entry_of(const lathe_kv_stream *s, const region *r, int32_t pos) {
    if (pos < s->rule.sink)
        return r->begin + pos;
    return pos >= r->base && r->window + pos - r->base < r->nodes ? r->window + pos - r->base : -1;
}

static void view_one(const lathe_kv_stream *s, const region *r, int32_t sequence, const int32_t *seq,
                     const int32_t *pos, const int32_t *parent, int32_t n, int32_t n_entries,
                     int32_t *entries, uint16_t *mask) {
    const int32_t *list = list_of(s, sequence);
    int32_t n_past = parent != NULL ? s->tree_base[sequence] : s->cells.length[sequence], node = r->nodes;
    for (int32_t i = 0; i < n_past; i++) {
        int32_t e = entry_of(s, r, s->cells.pos[list[i]]);
        if (e >= 0)
            entries[e] = list[i];
    }
    for (int32_t t = 0; t < n; t++) {
        if (seq[t] != sequence)
            continue;
        uint16_t *out = mask + (size_t) t * (size_t) n_entries;
        int32_t n_sinks = first_from(s, sequence, s->rule.sink), from = oldest(s, pos[t]);
        for (int32_t i = 0; i < n_past && i < n_sinks && s->cells.pos[list[i]] <= pos[t]; i++)
            out[entry_of(s, r, s->cells.pos[list[i]])] = F16_ZERO;
        for (int32_t i = first_from(s, sequence, from); i < n_past && s->cells.pos[list[i]] <= pos[t]; i++)
            out[entry_of(s, r, s->cells.pos[list[i]])] = F16_ZERO;
    }
    if (parent == NULL)
        return;
    for (int32_t t = 0; t < n; t++) { /* nodes lie in their order; parents come before their children */
        if (seq[t] != sequence)
            continue;
        uint16_t *out = mask + (size_t) t * (size_t) n_entries;
        entries[node] = s->rows[t];
        if (parent[t] >= 0) { /* what the parent sees of the nodes, as far as the window goes */
            const uint16_t *above = mask + (size_t) parent[t] * (size_t) n_entries;
            int32_t from = oldest(s, pos[t]), at = r->nodes;
            for (int32_t u = 0; u < t; u++)
                if (seq[u] == sequence) {
                    if (above[at] == F16_ZERO && (pos[u] >= from || pos[u] < s->rule.sink))
                        out[at] = F16_ZERO;
                    at++;
                }
        }
        out[node++] = F16_ZERO;
    }
}

void lathe_kv_stream_view(const lathe_kv_stream *s, const int32_t *seq, const int32_t *pos,
                          const int32_t *parent, int32_t n, int32_t n_entries, int32_t *entries,
                          uint16_t *mask) {
    uint64_t done = 0;
    int32_t end = 0;
    memset(entries, 0, (size_t) n_entries * sizeof *entries);
    for (size_t i = 0; i < (size_t) n * (size_t) n_entries; i++)
        mask[i] = F16_MINUS_INF;
    for (int32_t i = 0; i < n; i++)
        if ((done >> seq[i] & 1) == 0) {
            done |= (uint64_t) 1 << seq[i];
            region r = region_of(s, seq[i], seq, pos, parent, n, end);
            view_one(s, &r, seq[i], seq, pos, parent, n, n_entries, entries, mask);
            end = r.end;
        }
}
