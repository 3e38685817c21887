/* penalties.c - see penalties.h. */
#include "decode/penalties.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- Counts -------------------------------------------------------------------------------------- */

lathe_status lathe_token_table_new(lathe_token_table *table, int32_t n_vocab, lathe_error *err) {
    *table = (lathe_token_table){.n_vocab = n_vocab};
    table->value = calloc((size_t) n_vocab, sizeof *table->value);
    table->touched = calloc((size_t) n_vocab, sizeof *table->touched);
    if (table->value && table->touched)
        return LATHE_OK;
    lathe_token_table_free(table);
    return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for the penalties of %d tokens", n_vocab);
}

void lathe_token_table_free(lathe_token_table *table) {
    free(table->value);
    free(table->touched);
    *table = (lathe_token_table){0};
}

void lathe_token_table_clear(lathe_token_table *table) {
    for (int32_t i = 0; i < table->n_touched; i++)
        table->value[table->touched[i]] = 0;
    table->n_touched = 0;
}

static int32_t *entry(lathe_token_table *table, int32_t id) {
    if (id < 0 || id >= table->n_vocab)
        return NULL;
    if (table->value[id] == 0)
        table->touched[table->n_touched++] = id;
    return &table->value[id];
}

void lathe_token_table_count(lathe_token_table *table, const int32_t *ids, size_t n) {
    for (size_t i = 0; i < n; i++) {
        int32_t *count = entry(table, ids[i]);
        if (count)
            (*count)++;
    }
}

/* --- Breakers ------------------------------------------------------------------------------------ */

enum { TAIL_MAX = 40, TEXT_MAX = 40, SEQUENCES_MAX = 1 << 22 };

static bool contains(const char *piece, size_t n_piece, const char *text, size_t n_text) {
    for (size_t i = 0; i + n_text <= n_piece; i++)
        if (memcmp(piece + i, text, n_text) == 0)
            return true;
    return false;
}

static lathe_status add_sequence(lathe_breakers *b, int32_t head, const int32_t *tail, size_t n_tail,
                                 size_t *capacity, lathe_error *err) {
    if (b->n_sequences + n_tail + 2 > *capacity) {
        const size_t wanted = *capacity * 2 + n_tail + 64;
        int32_t *grown = wanted > SEQUENCES_MAX ? NULL : realloc(b->sequences, wanted * sizeof *b->sequences);
        if (!grown)
            return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for the breakers of DRY");
        b->sequences = grown;
        *capacity = wanted;
    }
    b->sequences[b->n_sequences++] = head;
    b->sequences[b->n_sequences++] = (int32_t) n_tail;
    memcpy(b->sequences + b->n_sequences, tail, n_tail * sizeof *tail);
    b->n_sequences += n_tail;
    return LATHE_OK;
}

static lathe_status add_text(lathe_breakers *b, const lathe_vocab *vocab, const char *text, size_t *capacity,
                             lathe_error *err) {
    const size_t n_text = strlen(text);
    if (n_text == 0 || n_text > TEXT_MAX)
        return lathe_fail(err, LATHE_ERR_ARG, "a DRY breaker has 1 to %d bytes", TEXT_MAX);
    int32_t *tails[TEXT_MAX] = {0}; /* [s] tokens of the text behind its first s bytes */
    size_t n_tails[TEXT_MAX] = {0};
    lathe_status st = LATHE_OK;
    for (size_t s = 1; !st && s < n_text; s++)
        st = lathe_tokenize(vocab, text + s, n_text - s, 0, false, &tails[s], &n_tails[s], err);
    for (int32_t id = 0; !st && id < b->n_vocab; id++) {
        size_t n_piece = 0;
        const char *piece = lathe_vocab_piece(vocab, id, &n_piece);
        if (!piece || n_piece == 0)
            continue;
        if (contains(piece, n_piece, text, n_text)) {
            b->single[id] = 1;
            continue;
        }
        for (size_t s = 1; !st && s < n_text && s <= n_piece; s++)
            if (n_tails[s] > 0 && n_tails[s] <= TAIL_MAX && memcmp(piece + n_piece - s, text, s) == 0)
                st = add_sequence(b, id, tails[s], n_tails[s], capacity, err);
    }
    for (size_t s = 0; s < TEXT_MAX; s++)
        lathe_free(tails[s]);
    return st;
}

lathe_status lathe_breakers_new(lathe_breakers *breakers, const lathe_vocab *vocab, int32_t n_vocab,
                                const char *const *texts, int32_t n_texts, lathe_error *err) {
    *breakers = (lathe_breakers){.n_vocab = n_vocab};
    if (!vocab || n_texts <= 0)
        return LATHE_OK;
    size_t capacity = 0;
    breakers->single = calloc((size_t) n_vocab, 1);
    lathe_status st =
        breakers->single ? LATHE_OK : lathe_fail(err, LATHE_ERR_MEMORY, "no memory for the breakers of DRY");
    for (int32_t i = 0; !st && i < n_texts; i++)
        st = add_text(breakers, vocab, texts[i], &capacity, err);
    if (st)
        lathe_breakers_free(breakers);
    return st;
}

void lathe_breakers_free(lathe_breakers *breakers) {
    free(breakers->single);
    free(breakers->sequences);
    *breakers = (lathe_breakers){0};
}

/* A sequence counts from its last token on. */
static bool ends_here(const lathe_breakers *b, const int32_t *ids, size_t end) {
    const int32_t last = ids[end];
    if (b->single && last >= 0 && last < b->n_vocab && b->single[last])
        return true;
    for (size_t i = 0; i < b->n_sequences; i += 2 + (size_t) b->sequences[i + 1]) {
        const size_t n_tail = (size_t) b->sequences[i + 1];
        if (n_tail <= end && ids[end - n_tail] == b->sequences[i] &&
            memcmp(ids + end - n_tail + 1, b->sequences + i + 2, n_tail * sizeof *ids) == 0)
            return true;
    }
    return false;
}

size_t lathe_breakers_limit(const lathe_breakers *breakers, const int32_t *ids, size_t n) {
    for (size_t behind = 0; behind < n; behind++)
        if (ends_here(breakers, ids, n - 1 - behind))
            return behind;
    return n;
}

/* --- DRY ----------------------------------------------------------------------------------------- */

void lathe_dry_lengths(const int32_t *ids, size_t n, size_t limit, int32_t allowed, size_t *z,
                       lathe_token_table *table) {
    if (n < 2 || allowed < 1 || limit < (size_t) allowed)
        return;
    /* The Z function of the reversed ids: z[i] is how much of the end repeats, ending i tokens before it. */
    size_t left = 0, right = 0; /* the rightmost match found so far is [left, right) */
    for (size_t i = 1; i < n; i++) {
        size_t k = i < right ? (z[i - left] < right - i ? z[i - left] : right - i) : 0;
        while (i + k < n && ids[n - 1 - k] == ids[n - 1 - i - k])
            k++;
        z[i] = k;
        if (i + k > right) {
            left = i;
            right = i + k;
        }
        const size_t length = k < limit ? k : limit;
        if (length < (size_t) allowed)
            continue;
        int32_t *longest = entry(table, ids[n - i]);
        if (longest && *longest < (int32_t) length)
            *longest = (int32_t) length;
    }
}

double lathe_dry_penalty(double multiplier, double base, int32_t length, int32_t allowed) {
    double exponent = length - allowed;
    if (base > 1.000001) {
        const double most = floor(88.7228391 / log(base)); /* base^most is within the range of a float */
        exponent = exponent < most ? exponent : most;
    }
    return multiplier * pow(base, exponent);
}
