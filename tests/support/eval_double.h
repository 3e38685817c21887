/* eval_double.h - the nodes of a ggml graph computed in double precision by plain loops that share nothing
 * with ggml's kernels (learning.md D.j): what derivatives are checked with where f32 is noise. */
#ifndef LATHE_TESTS_EVAL_DOUBLE_H
#define LATHE_TESTS_EVAL_DOUBLE_H

#include <ggml.h>
#include <stdbool.h>

typedef struct double_graph double_graph;

/* Of the outputs and all they are computed from; leaves take their f32 values. The test fails for an op that
 * is not known here (ops of ours among them). */
double_graph *double_graph_new(struct ggml_tensor *const *outputs, int n);
void double_graph_free(double_graph *g);
void double_graph_compute(double_graph *g);
/* Values of a tensor in the order of its memory; of a leaf they may be changed before computing. */
double *double_graph_of(double_graph *g, const struct ggml_tensor *t);
/* true where all ops are known. */
bool double_graph_knows(struct ggml_tensor *const *outputs, int n);

/* --- For eval_double_nn.c --------------------------------------------------------------------------- */

typedef struct double_view {
    double *x; /* element 0 */
    int64_t ne[4], step[4];
} double_view;

static inline double *at(const double_view *v, int64_t i0, int64_t i1, int64_t i2, int64_t i3) {
    return v->x + i0 * v->step[0] + i1 * v->step[1] + i2 * v->step[2] + i3 * v->step[3];
}
/* y's node from views of itself and of its sources; false: not an op of that file. */
bool double_nn(const struct ggml_tensor *t, const double_view *y, const double_view *s);

#endif
