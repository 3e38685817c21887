/* attention_types.h - what the parts of attention_tmpl.h hold in their hands. */
#define ALWAYS static inline __attribute__((always_inline))

enum {
    BLOCK = LATHE_ATTENTION_BLOCK,
    TILE_MAX = LATHE_ATTENTION_TILE_MAX,
    WIDTH = LATHE_ATTENTION_DH_MAX,
    LOOKS = BLOCK / 2
};

/* A block of entries of one KV head, and the queries that see some of it. */
typedef struct attn_block {
    const uint8_t *k_row[BLOCK],
        *v_row[BLOCK]; /* places after the last entry repeat it, and are never seen */
    int n;             /* entries */
    float k[BLOCK * WIDTH] __attribute__((aligned(64))); /* [dk, BLOCK] */
    float v[BLOCK * WIDTH] __attribute__((aligned(64))); /* [BLOCK, dv rounded up to 16] */
    float s[TILE_MAX * BLOCK] __attribute__((aligned(64)));
    float add[BLOCK] __attribute__((aligned(64)));
    const float *q[TILE_MAX];
    float *p[TILE_MAX], *o[TILE_MAX];
    int n_active;
    /* What is needed next, in pieces of two cache lines, asked for while this block is worked on. */
    const uint8_t *ahead[2 * BLOCK * WIDTH * 4 / 128];
    int n_ahead, at_ahead, per_look;
} attn_block;

/* What a row of the step sees: entries of [first, end); from entry `cut` on there are holes, and the rest is
 * taken as a list. plain: whatever is seen is seen without addition. */
typedef struct attn_view {
    int64_t first, end, cut;
    bool plain;
} attn_view;

/* KV heads [h0, h1) and rows [t0, t1) of the step. */
typedef struct attn_tile {
    const lathe_attention_args *a;
    int64_t h0, h1, t0, t1;
    int64_t group, width;
    int64_t first, end; /* entries that some row takes by block */
    attn_view view[TILE_MAX];
} attn_tile;

/* Where queries stand: largest score, sum, and unnormalised result. */
typedef struct attn_state {
    float *m, *l, *o; /* [heads, rows, group], o times width */
} attn_state;
