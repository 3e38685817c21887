/* linear.h - packed weights in ggml graphs: two custom ops of the processor, one that quantises activations
 * (shared by all products with the same input) and one that multiplies. */
#ifndef LATHE_TENSOR_CPU_LINEAR_H
#define LATHE_TENSOR_CPU_LINEAR_H

#include "tensor/cpu/cpu.h"

struct ggml_context;
struct ggml_tensor;

typedef struct lathe_packed_set lathe_packed_set;

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

#endif
