/* diff.h - the walk over a graph's nodes and the rules that it applies. */
#ifndef LATHE_TENSOR_DIFF_H
#define LATHE_TENSOR_DIFF_H

#include <ggml.h>

#include "lathe/tensor.h"

/* One derivation. Rules read ctx and opts, and report failure through lathe_diff_fail. */
typedef struct lathe_diff {
    struct ggml_context *ctx;
    lathe_diff_opts opts;
    struct ggml_tensor **nodes; /* [n_nodes], sources before users */
    struct ggml_tensor **value; /* [n_nodes] cotangent or tangent; NULL: zero */
    bool *needed;               /* [n_nodes] depends on a parameter */
    size_t n_nodes;
    size_t *slots; /* hash table of pointers: index + 1 */
    size_t n_slots;
    lathe_error *err;
    lathe_status status;
} lathe_diff;

typedef struct lathe_rule {
    /* Adds the contributions of cotangent g of y to its sources. */
    void (*vjp)(lathe_diff *d, struct ggml_tensor *y, struct ggml_tensor *g);
    /* The tangent of y from those of its sources (NULL: zero; at least one is not); the layout is y's. */
    struct ggml_tensor *(*jvp)(lathe_diff *d, struct ggml_tensor *y, struct ggml_tensor *const *t);
} lathe_rule;

/* The rule of y's op, or NULL. Each table covers one family of ops. */
const lathe_rule *lathe_rule_elementwise(const struct ggml_tensor *y);
const lathe_rule *lathe_rule_shape(const struct ggml_tensor *y);
const lathe_rule *lathe_rule_norm(const struct ggml_tensor *y);
const lathe_rule *lathe_rule_softmax(const struct ggml_tensor *y);
const lathe_rule *lathe_rule_product(const struct ggml_tensor *y);
const lathe_rule *lathe_rule_fused(const struct ggml_tensor *y);
const lathe_rule *lathe_rule_image(const struct ggml_tensor *y);
const lathe_rule *lathe_rule_upscale(const struct ggml_tensor *y);

/* true where x depends on a parameter: contributions to others are not built. */
bool lathe_diff_needs(const lathe_diff *d, const struct ggml_tensor *x);
/* cotangent(x) += g (same number of elements; g is reshaped to x). */
void lathe_diff_add(lathe_diff *d, struct ggml_tensor *x, struct ggml_tensor *g);
void lathe_diff_fail(lathe_diff *d, const struct ggml_tensor *y, const char *why);

/* --- Building blocks that the rules share --------------------------------------------------------- */

struct ggml_tensor *lathe_diff_cont(lathe_diff *d, struct ggml_tensor *x); /* contiguous */
struct ggml_tensor *lathe_diff_as(lathe_diff *d, struct ggml_tensor *x,
                                  const struct ggml_tensor *like); /* reshaped */
struct ggml_tensor *lathe_diff_zeros(lathe_diff *d, struct ggml_tensor *like);
/* Sum of g over the dims along which `like` was broadcast. */
struct ggml_tensor *lathe_diff_sum_to(lathe_diff *d, struct ggml_tensor *g, struct ggml_tensor *like);
/* Sum of g over blocks of its third and fourth dimensions, for operands that are shared by r heads in a row
 * each: [.., r h2, q h3] -> like's [.., h2, h3]. */
struct ggml_tensor *lathe_diff_sum_groups(lathe_diff *d, struct ggml_tensor *g,
                                          const struct ggml_tensor *like);
/* a + b, where either may be NULL. */
struct ggml_tensor *lathe_diff_plus(lathe_diff *d, struct ggml_tensor *a, struct ggml_tensor *b);
/* The same op as y on other sources (NULL: y's own); the result is contiguous in y's shape. */
struct ggml_tensor *lathe_diff_again(lathe_diff *d, struct ggml_tensor *y, enum ggml_op op,
                                     struct ggml_tensor *src0, struct ggml_tensor *src1);
float lathe_diff_param_f32(const struct ggml_tensor *y, int i);
/* sigma(x) and such: act'(x) of the unary op, NULL where there is no rule. */
struct ggml_tensor *lathe_diff_slope(lathe_diff *d, enum ggml_unary_op op, struct ggml_tensor *x,
                                     struct ggml_tensor *y);

#endif
