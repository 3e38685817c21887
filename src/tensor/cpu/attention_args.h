/* attention_args.h - what the fused attention kernel (attention_tmpl.h) is given.
 *
 * One step of n_q query rows over the cached keys and values of one layer. Queries h * G .. h * G + G - 1 of
 * every row share KV head h (G = n_head / n_head_kv); keys and values are read once for all of them.
 *
 *     s[t, head, e] = softcap(scale * q[t, head] . k[row(e), h]) + slope[head] * mask[t, e]
 *     p = exp(s - lse),  lse = log(sum_e exp s + exp sink[head])
 *     out[t, head] = sum_e p[e] v[row(e), h]
 *
 * Entries e in [0, n_kv) are what attention runs over; row(e) is where entry e lies in the cache. Entries
 * that a query does not see take no part, whatever their rows hold (NaN too); so do rows of seen entries
 * whose weight is 0. A NaN or +infinity in a score makes the query's result NaN. A query that sees nothing
 * gets zeros and lse = -infinity (lse = sink with a sink).
 *
 * Bits: entries are taken in blocks of a fixed size, blocks in chunks of a fixed size, chunks are merged in
 * order; every sum has one order. A query's result depends neither on n_q, nor on threads, nor on the
 * instruction set, nor on unseen entries after its last seen one. */
#ifndef LATHE_TENSOR_CPU_ATTENTION_ARGS_H
#define LATHE_TENSOR_CPU_ATTENTION_ARGS_H

#include "lathe/base.h"

enum { LATHE_ATTENTION_DH_MAX = 256, LATHE_ATTENTION_GROUP_MAX = 32 };

/* How a cache keeps its numbers. */
typedef enum lathe_kv_type {
    LATHE_KV_F32,
    LATHE_KV_F16,
    LATHE_KV_BF16,
    LATHE_KV_Q8_0, /* blocks of 32: widths are multiples of it */
    LATHE_KV_Q4_0,
    LATHE_KV_TYPES
} lathe_kv_type;

/* Cache rows [first, first + n). */
typedef struct lathe_kv_range {
    int32_t first, n;
} lathe_kv_range;

typedef struct lathe_attention_args {
    int64_t n_q, n_kv, n_head, n_head_kv; /* n_head a multiple of n_head_kv, of at most GROUP_MAX times */
    int64_t dk, dv;                       /* width of keys and of values, 1 to DH_MAX */
    const float *q;                       /* strides in floats */
    int64_t q_row, q_head;
    const uint8_t *k, *v; /* strides in bytes */
    size_t k_row, k_head, v_row, v_head;
    lathe_kv_type k_type, v_type;
    /* row(e): rows[h * rows_head + e] (rows_head 0: one list for all KV heads); without rows the ranges one
     * after the other (a ring is two of them); without ranges e. */
    const int32_t *rows;
    int64_t rows_head;
    const lathe_kv_range *ranges;
    int32_t n_ranges;
    /* What is seen: entries [seen[2t], seen[2t + 1]) (causal limit, window; NULL: all), and of these, from
     * entry mask_first on, those whose mask (half; column e - mask_first) is not -infinity. Without mask all.
     */
    const int32_t *seen;
    const uint16_t *mask;
    int64_t mask_stride, mask_first;
    bool in_place; /* entries that are not seen keep their place: behind a hole nothing is moved together */
    float scale, softcap; /* softcap 0: none */
    const float *slopes;  /* [n_head] factors of the mask (ALiBi); NULL: 1 */
    const float *sinks;   /* [n_head] logits that only the denominator has; NULL: none */
    float *out;           /* [n_q, n_head, dv] */
    float *lse;           /* [n_q, n_head] or NULL */
    float *mass;          /* [n_head, n_kv] or NULL: sums of p over the queries */
} lathe_attention_args;

#endif
