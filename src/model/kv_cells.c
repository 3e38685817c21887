/* kv_cells.c - which position of which sequences a row holds. */
#include <stdlib.h>
#include <string.h>

#include "model/kv.h"

#define F16_ZERO      ((uint16_t) 0x0000)
#define F16_MINUS_INF ((uint16_t) 0xFC00)

static uint64_t bit(int32_t seq) {
    return (uint64_t) 1 << seq;
}
static int32_t *list_of(const lathe_cells *c, int32_t seq) {
    return c->rows + (size_t) seq * (size_t) c->n_rows;
}

lathe_status lathe_cells_new(int32_t n_rows, int32_t n_seqs, lathe_cells *cells, lathe_error *err) {
    lathe_cells c = {.n_rows = n_rows, .n_seqs = n_seqs};
    c.pos = malloc((size_t) n_rows * sizeof *c.pos);
    c.seqs = calloc((size_t) n_rows, sizeof *c.seqs);
    c.rows = malloc((size_t) n_rows * (size_t) n_seqs * sizeof *c.rows);
    if (c.pos == NULL || c.seqs == NULL || c.rows == NULL) {
        lathe_cells_free(&c);
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for the table of %d cache rows", n_rows);
    }
    for (int32_t i = 0; i < n_rows; i++)
        c.pos[i] = -1;
    *cells = c;
    return LATHE_OK;
}

void lathe_cells_free(lathe_cells *cells) {
    free(cells->pos);
    free(cells->seqs);
    free(cells->rows);
    *cells = (lathe_cells){0};
}

/* Where n rows behind all rows of the tokens' sequences begin; the first free row where there are too few. */
static int32_t after_last(const lathe_cells *c, const int32_t *seq, int32_t n) {
    int32_t begin = c->hint, n_free = 0;
    for (int32_t i = 0; i < n; i++) {
        int32_t length = c->length[seq[i]];
        if (length > 0 && list_of(c, seq[i])[length - 1] >= begin)
            begin = list_of(c, seq[i])[length - 1] + 1;
    }
    for (int32_t row = begin; row < c->n_rows; row++)
        n_free += c->pos[row] < 0;
    return n_free >= n ? begin : c->hint;
}

bool lathe_cells_place(lathe_cells *c, const int32_t *seq, const int32_t *pos, int32_t n, int32_t *rows) {
    if (n > c->n_rows - c->n_taken)
        return false;
    int32_t row = c->ordered ? after_last(c, seq, n) : c->hint;
    bool from_hint = row == c->hint;
    for (int32_t i = 0; i < n; i++, row++) {
        while (c->pos[row] >= 0)
            row++;
        rows[i] = row;
        c->pos[row] = pos[i];
        c->seqs[row] = bit(seq[i]);
        list_of(c, seq[i])[c->length[seq[i]]++] = row;
    }
    if (from_hint)
        c->hint = row;
    c->n_taken += n;
    if (row > c->n_used)
        c->n_used = row;
    return true;
}

int32_t lathe_cells_next_pos(const lathe_cells *c, int32_t seq) {
    int32_t n = c->length[seq];
    return n > 0 ? c->pos[list_of(c, seq)[n - 1]] + 1 : 0;
}

/* Takes a row from a sequence; a row without sequences is free. */
static void drop(lathe_cells *c, int32_t seq, int32_t row) {
    c->seqs[row] &= ~bit(seq);
    if (c->seqs[row] != 0)
        return;
    c->pos[row] = -1;
    c->n_taken--;
    if (row < c->hint)
        c->hint = row;
    while (c->n_used > 0 && c->pos[c->n_used - 1] < 0)
        c->n_used--;
}

void lathe_cells_truncate(lathe_cells *c, int32_t seq, int32_t n) {
    int32_t *list = list_of(c, seq);
    while (c->length[seq] > n)
        drop(c, seq, list[--c->length[seq]]);
}

void lathe_cells_rollback(lathe_cells *c, int32_t seq, int32_t pos) {
    const int32_t *list = list_of(c, seq);
    int32_t n = c->length[seq];
    while (n > 0 && c->pos[list[n - 1]] >= pos)
        n--;
    lathe_cells_truncate(c, seq, n);
}

void lathe_cells_copy(lathe_cells *c, int32_t from, int32_t to, int32_t n) {
    if (from == to)
        return;
    lathe_cells_truncate(c, to, 0);
    memcpy(list_of(c, to), list_of(c, from), (size_t) n * sizeof(int32_t));
    c->length[to] = n;
    for (int32_t i = 0; i < n; i++)
        c->seqs[list_of(c, to)[i]] |= bit(to);
}

bool lathe_cells_shared_from(const lathe_cells *c, int32_t seq, int32_t i) {
    for (; i < c->length[seq]; i++)
        if (c->seqs[list_of(c, seq)[i]] != bit(seq))
            return true;
    return false;
}

void lathe_cells_shift(lathe_cells *c, int32_t seq, int32_t i0, int32_t i1, int32_t delta) {
    int32_t *list = list_of(c, seq), n = c->length[seq];
    for (int32_t i = i0; i < i1; i++)
        drop(c, seq, list[i]);
    for (int32_t i = i1; i < n; i++) {
        c->pos[list[i]] += delta;
        list[i0 + i - i1] = list[i];
    }
    c->length[seq] = n - (i1 - i0);
}

void lathe_cells_keep(lathe_cells *c, int32_t seq, int32_t from, const int32_t *keep, int32_t n) {
    int32_t *list = list_of(c, seq);
    for (int32_t i = from; i < c->length[seq]; i++) {
        bool kept = false;
        for (int32_t j = 0; j < n && !kept; j++)
            kept = keep[j] == list[i];
        if (!kept)
            drop(c, seq, list[i]);
    }
    for (int32_t j = 0; j < n; j++)
        list[from + j] = keep[j];
    c->length[seq] = from + n;
}

/* --- Masks --------------------------------------------------------------------------------------- */

/* First entry of the first n of a list whose position is at least pos. */
static int32_t lower_bound(const lathe_cells *c, const int32_t *list, int32_t n, int32_t pos) {
    int32_t lo = 0, hi = n;
    while (lo < hi) {
        int32_t mid = lo + (hi - lo) / 2;
        if (c->pos[list[mid]] < pos)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static void clear_row(uint16_t *out, int32_t n_kv) {
    for (int32_t r = 0; r < n_kv; r++)
        out[r] = F16_MINUS_INF;
}

void lathe_cells_mask(const lathe_cells *c, const int32_t *seq, const int32_t *pos, const int32_t *rows,
                      const int32_t *parent, const int32_t *base, int32_t n, int32_t n_kv, int32_t window,
                      uint16_t *mask) {
    for (int32_t t = 0; t < n; t++) {
        uint16_t *out = mask + (size_t) t * (size_t) n_kv;
        const int32_t *list = list_of(c, seq[t]);
        int32_t oldest = window > 0 && pos[t] >= window ? pos[t] - window + 1 : 0;
        int32_t n_past = parent != NULL ? base[seq[t]] : c->length[seq[t]];
        if (parent == NULL && window == 0 && t > 0 &&
            seq[t] == seq[t - 1]) { /* what the one before sees, and more */
            memcpy(out, out - n_kv, (size_t) n_kv * sizeof *out);
            for (int32_t i = lower_bound(c, list, n_past, pos[t - 1] + 1);
                 i < n_past && c->pos[list[i]] <= pos[t]; i++)
                out[list[i]] = F16_ZERO;
            continue;
        }
        clear_row(out, n_kv);
        for (int32_t i = lower_bound(c, list, n_past, oldest); i < n_past && c->pos[list[i]] <= pos[t]; i++)
            out[list[i]] = F16_ZERO;
        for (int32_t a = t; parent != NULL && a >= 0; a = parent[a]) /* parents come before their children */
            if (pos[a] >= oldest)
                out[rows[a]] = F16_ZERO;
    }
}
