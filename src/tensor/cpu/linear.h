/* linear.h - packed weights in ggml graphs: custom ops of the processor, one that quantises activations
 * (shared by all products with the same input, together with the norm or the gate before it) and some that
 * multiply.
 *
 * The bits of a column depend neither on the number of columns nor on which of these ops computes it. */
#ifndef LATHE_TENSOR_CPU_LINEAR_H
#define LATHE_TENSOR_CPU_LINEAR_H

#include "tensor/cpu/cpu.h"
#include "tensor/cpu/rows.h"

struct ggml_context;
struct ggml_tensor;

typedef struct lathe_packed_set lathe_packed_set;

/* What a packed tensor's `extra` points to. */
typedef struct lathe_packed_weight {
    lathe_packed packed;
    const lathe_cpu *cpu;
    const lathe_rows *rows;
} lathe_packed_weight;

/* Room for max weights that `cpu` multiplies. */
LATHE_NODISCARD lathe_status lathe_packed_set_new(const lathe_cpu *cpu, size_t max, lathe_packed_set **set,
                                                  lathe_error *err);
void lathe_packed_set_free(lathe_packed_set *set);
/* Packs a matrix on all cores if its type and shape allow (else nothing happens), and remembers it in
 * w->extra. release: its bytes lie in a mapped file, whose pages are given back to the system. */
LATHE_NODISCARD lathe_status lathe_packed_set_add(lathe_packed_set *set, struct ggml_tensor *w, bool release,
                                                  lathe_error *err);
/* W x, or NULL where w is not packed or x [n_cols, T] is not contiguous f32. user is not used: it has the
 * form that the graph builder calls. */
struct ggml_tensor *lathe_packed_linear(void *user, struct ggml_context *ctx, struct ggml_tensor *w,
                                        struct ggml_tensor *x);
/* y[i] = w[i] x for n <= 4 matrices, in one op, with a single wait for the other threads at its end. x must
 * be one column. False (and nothing is built) where lathe_packed_linear would not do or x has more columns.
 */
bool lathe_packed_linear_group(void *user, struct ggml_context *ctx, struct ggml_tensor *const *w, int n,
                               struct ggml_tensor *x, struct ggml_tensor **y);
/* silu(gate x) * (up x), again for one column and in one op; NULL as above, or where `next`, which multiplies
 * the result, is not packed: steps of several rows would round otherwise then. */
struct ggml_tensor *lathe_packed_swiglu(void *user, struct ggml_context *ctx, struct ggml_tensor *gate,
                                        struct ggml_tensor *up, struct ggml_tensor *x,
                                        const struct ggml_tensor *next);

#endif
