/* attention_seen.h - for attention_tmpl.h: where entries lie in the cache, and which of them a row sees. */
/* Cache rows of entries e0 to e0 + n - 1. */
static void find_rows(const lathe_attention_args *a, int64_t h, int64_t e0, int n, int32_t *row) {
    if (a->rows != NULL) {
        memcpy(row, a->rows + h * a->rows_head + e0, (size_t) n * sizeof *row);
        return;
    }
    int i = 0;
    int64_t before = 0;
    for (int32_t r = 0; r < a->n_ranges && i < n; before += a->ranges[r++].n)
        for (; i < n && e0 + i < before + a->ranges[r].n; i++)
            row[i] = (int32_t) (a->ranges[r].first + e0 + i - before);
    for (; i < n; i++)
        row[i] = (int32_t) (e0 + i);
}

static void set_rows(const lathe_attention_args *a, int64_t h, const int32_t *row, int n, attn_block *b) {
    const uint8_t *k = a->k + (size_t) h * a->k_head, *v = a->v + (size_t) h * a->v_head;
    b->n = n;
    for (int i = 0; i < n; i++) {
        b->k_row[i] = k + (size_t) row[i] * a->k_row;
        b->v_row[i] = v + (size_t) row[i] * a->v_row;
    }
    for (int i = n; i < BLOCK; i++) {
        b->k_row[i] = b->k_row[n - 1];
        b->v_row[i] = b->v_row[n - 1];
    }
}

static bool is_hidden(const lathe_attention_args *a, int64_t t, int64_t e) {
    return a->mask != NULL && e >= a->mask_first && a->mask[t * a->mask_stride + e - a->mask_first] == 0xfc00;
}

/* Blocks that are seen without holes are taken by entry, by all rows of the step together. Behind the first
 * hole what a row sees is taken as if it lay there without one: a row's bits do not depend on what others
 * hold in between (nodes of a token tree, other sequences). */
static attn_view view_of(const lathe_attention_args *a, int64_t t) {
    attn_view v = {.first = 0, .end = a->n_kv, .cut = INT64_MAX, .plain = true};
    if (a->seen != NULL) {
        v.first = a->seen[2 * t] > 0 ? a->seen[2 * t] : 0;
        v.end = a->seen[2 * t + 1] < a->n_kv ? a->seen[2 * t + 1] : a->n_kv;
    }
    while (v.end > v.first && is_hidden(a, t, v.end - 1))
        v.end--;
    while (v.first < v.end && is_hidden(a, t, v.first))
        v.first++;
    int64_t from = a->mask_first > v.first ? a->mask_first : v.first;
    if (a->mask == NULL || from >= v.end)
        return v;
    const uint16_t *mask = a->mask + t * a->mask_stride - a->mask_first;
    for (int64_t e0 = from; e0 < v.end; e0 += 1024) {
        int64_t e1 = v.end - e0 < 1024 ? v.end : e0 + 1024;
        uint16_t any = 0, hole = 0;
        for (int64_t e = e0; e < e1; e++) {
            any |= mask[e];
            hole |= (uint16_t) (mask[e] == 0xfc00);
        }
        v.plain = v.plain && any == 0;
        if (hole != 0 && a->in_place)
            return v;
        if (hole != 0) {
            while (mask[e0] != 0xfc00)
                e0++;
            v.cut = e0 / BLOCK * BLOCK;
            return v;
        }
    }
    return v;
}

static float added(const lathe_attention_args *a, int64_t t, int64_t e) {
    return a->mask != NULL && e >= a->mask_first
               ? lathe_half_to_float(a->mask[t * a->mask_stride + e - a->mask_first])
               : 0.0f;
}

enum { SEES_NONE, SEES_ALL, SEES_SOME };

/* What row t sees of entries e0 to e0 + n - 1 without a list. */
static int sees(const attn_tile *tile, int64_t t, int64_t e0, int n) {
    const lathe_attention_args *a = tile->a;
    const attn_view *v = &tile->view[t - tile->t0];
    if (e0 >= v->cut || e0 >= v->end || e0 + n <= v->first)
        return SEES_NONE;
    if (v->plain)
        return n == BLOCK && v->first <= e0 && v->end >= e0 + n ? SEES_ALL : SEES_SOME;
    if (a->in_place && n == BLOCK && e0 >= a->mask_first) {
        const uint16_t *mask = a->mask + t * a->mask_stride + e0 - a->mask_first;
        uint16_t hidden = 1;
        for (int i = 0; i < BLOCK; i++)
            hidden &= (uint16_t) (mask[i] == 0xfc00);
        if (hidden != 0)
            return SEES_NONE;
    }
    return SEES_SOME;
}

/* What row t adds to the scores of the block's entries. */
static void find_mask(const attn_tile *tile, int64_t t, int64_t e0, int n, float *add) {
    const lathe_attention_args *a = tile->a;
    const attn_view *v = &tile->view[t - tile->t0];
    if (!v->plain && n == BLOCK && e0 >= a->mask_first && e0 >= v->first && e0 + n <= v->end) {
        const uint16_t *mask = a->mask + t * a->mask_stride + e0 - a->mask_first;
        for (int i = 0; i < BLOCK; i += 16)
            vf_store(add + i, vf_half((const uint8_t *) (mask + i)));
        return;
    }
    for (int i = 0; i < BLOCK; i++)
        add[i] = i >= n || e0 + i < v->first || e0 + i >= v->end ? -INFINITY
                 : v->plain                                      ? 0.0f
                                                                 : added(a, t, e0 + i);
}
