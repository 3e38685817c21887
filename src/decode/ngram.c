/* ngram.c - counts of what follows n-grams of 1 to 4 tokens: open addressing over n-grams, short sorted lists
 * of followers. */
#include "decode/ngram_table.h"

#include <stdlib.h>
#include <string.h>

static uint32_t hash_of(const int32_t gram[4]) {
    uint64_t h = 0x9E3779B97F4A7C15ull;
    for (int i = 0; i < 4; i++)
        h = (h ^ (uint32_t) gram[i]) * 0xFF51AFD7ED558CCDull, h ^= h >> 32;
    return (uint32_t) h;
}

lathe_status lathe_ngram_new(lathe_ngram **ngram, lathe_error *err) {
    lathe_ngram *g = calloc(1, sizeof *g);
    if (g) {
        g->n_slots = 1024;
        g->slots = calloc((size_t) g->n_slots, sizeof *g->slots);
    }
    if (!g || !g->slots) {
        free(g);
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for an n-gram table");
    }
    *ngram = g;
    return LATHE_OK;
}

void lathe_ngram_free(lathe_ngram *ngram) {
    if (!ngram)
        return;
    for (int32_t i = 0; i < ngram->n; i++)
        free(ngram->entries[i].followers);
    free(ngram->entries);
    free(ngram->slots);
    free(ngram);
}

static uint32_t slot_of(const lathe_ngram *g, const int32_t gram[4]) {
    uint32_t i = hash_of(gram) & (uint32_t) (g->n_slots - 1);
    while (g->slots[i] && memcmp(g->entries[g->slots[i] - 1].gram, gram, 4 * sizeof *gram) != 0)
        i = (i + 1) & (uint32_t) (g->n_slots - 1);
    return i;
}

const lathe_ngram_entry *lathe_ngram_find(const lathe_ngram *ngram, const int32_t *tokens, int32_t size) {
    int32_t gram[4] = {-1, -1, -1, -1};
    memcpy(gram, tokens, (size_t) size * sizeof *tokens);
    const int32_t at = ngram->slots[slot_of(ngram, gram)];
    return at ? &ngram->entries[at - 1] : NULL;
}

lathe_status lathe_ngram_entry_of(lathe_ngram *g, const int32_t gram[4], lathe_ngram_entry **entry,
                                  bool *is_new, lathe_error *err) {
    uint32_t slot = slot_of(g, gram);
    *is_new = g->slots[slot] == 0;
    if (!*is_new) {
        *entry = &g->entries[g->slots[slot] - 1];
        return LATHE_OK;
    }
    if (g->n == g->capacity) {
        if (g->capacity > INT32_MAX / 4)
            return lathe_fail(err, LATHE_ERR_MEMORY, "more than %d n-grams", (int) g->capacity);
        const int32_t more = g->capacity ? 2 * g->capacity : 256;
        lathe_ngram_entry *grown = realloc(g->entries, (size_t) more * sizeof *grown);
        if (!grown)
            return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %d n-grams", (int) more);
        g->entries = grown;
        g->capacity = more;
    }
    if (2 * (g->n + 1) > g->n_slots) {
        int32_t *slots = calloc(2 * (size_t) g->n_slots, sizeof *slots);
        if (!slots)
            return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %d n-grams", (int) g->n);
        free(g->slots);
        g->slots = slots;
        g->n_slots *= 2;
        for (int32_t i = 0; i < g->n; i++)
            g->slots[slot_of(g, g->entries[i].gram)] = i + 1;
        slot = slot_of(g, gram);
    }
    lathe_ngram_entry *e = &g->entries[g->n++];
    *e = (lathe_ngram_entry){0};
    memcpy(e->gram, gram, sizeof e->gram);
    g->slots[slot] = g->n;
    *entry = e;
    return LATHE_OK;
}

lathe_status lathe_ngram_add(lathe_ngram_entry *e, int32_t token, int32_t count, bool *was_there,
                             lathe_error *err) {
    int32_t low = 0, high = e->n;
    while (low < high) {
        const int32_t mid = low + (high - low) / 2;
        if (e->followers[mid].token < token)
            low = mid + 1;
        else
            high = mid;
    }
    const bool there = low < e->n && e->followers[low].token == token;
    if (was_there)
        *was_there = there;
    if (there) {
        const int64_t sum = (int64_t) e->followers[low].count + count;
        e->followers[low].count = sum > INT32_MAX ? INT32_MAX : (int32_t) sum;
        return LATHE_OK;
    }
    if (e->n == e->capacity) {
        const int32_t more = e->capacity ? 2 * e->capacity : 2;
        lathe_follower *grown = realloc(e->followers, (size_t) more * sizeof *grown);
        if (!grown)
            return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %d followers", (int) more);
        e->followers = grown;
        e->capacity = more;
    }
    memmove(e->followers + low + 1, e->followers + low, (size_t) (e->n - low) * sizeof *e->followers);
    e->followers[low] = (lathe_follower){token, count};
    e->n++;
    return LATHE_OK;
}

lathe_status lathe_ngram_update(lathe_ngram *ngram, const int32_t *ids, size_t n_ids, size_t first,
                                int32_t size_min, int32_t size_max, lathe_error *err) {
    if (size_min < 1 || size_max > 4 || size_min > size_max)
        return lathe_fail(err, LATHE_ERR_ARG, "n-grams of %d to %d tokens; 1 to 4", (int) size_min,
                          (int) size_max);
    for (size_t i = first; i < n_ids; i++)
        for (int32_t size = size_min; size <= size_max && (size_t) size <= i; size++) {
            int32_t gram[4] = {-1, -1, -1, -1};
            memcpy(gram, ids + i - (size_t) size, (size_t) size * sizeof *ids);
            lathe_ngram_entry *e;
            bool is_new;
            lathe_status status = lathe_ngram_entry_of(ngram, gram, &e, &is_new, err);
            if (!status)
                status = lathe_ngram_add(e, ids[i], 1, NULL, err);
            if (status)
                return status;
        }
    return LATHE_OK;
}

lathe_status lathe_ngram_merge(lathe_ngram *ngram, const lathe_ngram *from, lathe_error *err) {
    for (int32_t i = 0; i < from->n; i++) {
        lathe_ngram_entry *e;
        bool is_new;
        lathe_status status = lathe_ngram_entry_of(ngram, from->entries[i].gram, &e, &is_new, err);
        for (int32_t k = 0; k < from->entries[i].n && !status; k++)
            status = lathe_ngram_add(e, from->entries[i].followers[k].token,
                                     from->entries[i].followers[k].count, NULL, err);
        if (status)
            return status;
    }
    return LATHE_OK;
}

int64_t lathe_ngram_count(const lathe_ngram *ngram, int64_t by_size[4], int64_t *n_followers) {
    int64_t sizes[4] = {0}, followers = 0;
    for (int32_t i = 0; i < ngram->n; i++) {
        sizes[lathe_ngram_size(&ngram->entries[i]) - 1]++;
        followers += ngram->entries[i].n;
    }
    if (by_size)
        memcpy(by_size, sizes, sizeof sizes);
    if (n_followers)
        *n_followers = followers;
    return ngram->n;
}

int32_t lathe_ngram_size(const lathe_ngram_entry *e) {
    int32_t size = 1;
    while (size < 4 && e->gram[size] >= 0)
        size++;
    return size;
}

/* --- Drafting ------------------------------------------------------------------------------------ */

static int32_t count_in(const lathe_ngram_entry *e, int32_t token) {
    for (int32_t k = 0; e && k < e->n; k++)
        if (e->followers[k].token == token)
            return e->followers[k].count;
    return 0;
}

/* The follower of largest weight if the entry is well enough supported, else -1. */
static int32_t best_of(const lathe_ngram_entry *e, const lathe_ngram_entry *prior, int32_t count_min,
                       int32_t percent_min) {
    int64_t sum = 0, best_weight = 0;
    int32_t best = -1, best_count = 0;
    for (int32_t k = 0; e && k < e->n; k++) {
        const int64_t c = e->followers[k].count, in_prior = count_in(prior, e->followers[k].token);
        const int64_t most = 1 << 27; /* keeps the product inside 63 bits */
        const int64_t weight =
            in_prior > 0 ? (c < most ? c : most) * 100 * (in_prior < most ? in_prior : most) : c;
        sum += c;
        if (weight > best_weight) {
            best_weight = weight;
            best = e->followers[k].token;
            best_count = e->followers[k].count;
        }
    }
    return best >= 0 && sum >= count_min && 100 * (int64_t) best_count >= (int64_t) percent_min * sum ? best
                                                                                                      : -1;
}

int32_t lathe_ngram_draft(const lathe_ngram *context, const lathe_ngram *dynamic, const lathe_ngram *fixed,
                          const int32_t *ids, size_t n_ids, int32_t *out, int32_t n_max) {
    static const int32_t lax_count[] = {2, 2, 1, 1}, lax_percent[] = {66, 50, 50, 50};
    static const int32_t strict_count[] = {4, 3, 2, 2}, strict_percent[] = {75, 66, 66, 66};
    const int32_t keep = n_ids < 4 ? (int32_t) n_ids : 4;
    int32_t h[4] = {0}, n = 0, held = keep; /* the last tokens of the history, oldest first */
    memcpy(h, ids + n_ids - (size_t) keep, (size_t) keep * sizeof *h);
    if (n_ids < 2)
        return 0;
    while (n < n_max) {
        const lathe_ngram_entry *prior = fixed ? lathe_ngram_find(fixed, h + held - 2, 2) : NULL;
        int32_t token = -1;
        for (int32_t size = held; size >= 1 && context && token < 0; size--)
            token = best_of(lathe_ngram_find(context, h + held - size, size), prior, lax_count[size - 1],
                            lax_percent[size - 1]);
        for (int32_t size = held; size >= 1 && dynamic && token < 0; size--)
            token = best_of(lathe_ngram_find(dynamic, h + held - size, size), prior, strict_count[size - 1],
                            strict_percent[size - 1]);
        if (token < 0)
            token = best_of(prior, NULL, lax_count[1], lax_percent[1]);
        if (token < 0)
            break;
        out[n++] = token;
        if (held == 4)
            memmove(h, h + 1, 3 * sizeof *h);
        else
            held++;
        h[held - 1] = token;
    }
    return n;
}
