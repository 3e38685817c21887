/* diff.c - reverse and forward mode over the nodes between parameters and outputs. */
#include "tensor/diff.h"

#include <stdlib.h>
#include <string.h>

/* More nodes than any graph of ours has: a bound for the sizes below. */
#define MAX_NODES ((size_t) 1 << 22)

/* --- Order and lookup ----------------------------------------------------------------------------- */

static size_t slot_of(const lathe_diff *d, const struct ggml_tensor *x) {
    uint64_t h = (uint64_t) (uintptr_t) x * 0x9E3779B97F4A7C15u;
    size_t i = (size_t) (h >> 20) & (d->n_slots - 1);
    while (d->slots[i] != 0 && d->nodes[d->slots[i] - 1] != x)
        i = (i + 1) & (d->n_slots - 1);
    return i;
}

/* Index + 1 of a node, 0 where it is not in the graph. */
static size_t index_of(const lathe_diff *d, const struct ggml_tensor *x) {
    return x == NULL || d->n_slots == 0 ? 0 : d->slots[slot_of(d, x)];
}

static bool grow(lathe_diff *d, size_t *capacity) {
    size_t more = *capacity ? *capacity * 2 : 1024;
    if (more > MAX_NODES)
        return false;
    struct ggml_tensor **nodes = realloc(d->nodes, more * sizeof *nodes);
    if (nodes == NULL)
        return false;
    d->nodes = nodes;
    size_t *slots = calloc(more * 2, sizeof *slots);
    if (slots == NULL)
        return false;
    free(d->slots);
    d->slots = slots;
    d->n_slots = more * 2;
    for (size_t i = 0; i < d->n_nodes; i++)
        d->slots[slot_of(d, d->nodes[i])] = i + 1;
    *capacity = more;
    return true;
}

typedef struct frame {
    struct ggml_tensor *node;
    int next;
} frame;

/* Appends x and its ancestors, sources first; the stack is explicit, since graphs are deep. */
static bool visit(lathe_diff *d, size_t *capacity, frame **stack, size_t *stack_size, struct ggml_tensor *x) {
    size_t depth = 0;
    if (index_of(d, x) != 0)
        return true;
    for (;;) {
        if (depth + 1 >= *stack_size) {
            size_t more = *stack_size ? *stack_size * 2 : 256;
            frame *s = more > MAX_NODES ? NULL : realloc(*stack, more * sizeof *s);
            if (s == NULL)
                return false;
            *stack = s;
            *stack_size = more;
        }
        if (x != NULL)
            (*stack)[depth++] = (frame){x, 0};
        frame *top = &(*stack)[depth - 1];
        x = NULL;
        while (top->next < GGML_MAX_SRC && x == NULL) {
            struct ggml_tensor *s = top->node->src[top->next++];
            if (s != NULL && index_of(d, s) == 0)
                x = s;
        }
        if (x != NULL)
            continue;
        if (index_of(d, top->node) == 0) {
            if (d->n_nodes >= *capacity && !grow(d, capacity))
                return false;
            d->nodes[d->n_nodes++] = top->node;
            d->slots[slot_of(d, top->node)] = d->n_nodes;
        }
        if (--depth == 0)
            return true;
    }
}

static void release(lathe_diff *d) {
    free(d->nodes);
    free(d->slots);
    free(d->value);
    free(d->needed);
}

static lathe_status prepare(lathe_diff *d, struct ggml_context *ctx, struct ggml_tensor *const *outputs,
                            size_t n_outputs, struct ggml_tensor *const *params, size_t n,
                            const lathe_diff_opts *opts, lathe_error *err) {
    *d = (lathe_diff){.ctx = ctx, .err = err};
    if (opts != NULL)
        d->opts = *opts;
    size_t capacity = 0, stack_size = 0;
    frame *stack = NULL;
    bool ok = grow(d, &capacity);
    for (size_t i = 0; ok && i < n; i++) { /* parameters are leaves, whatever they were computed from */
        if (params[i] == NULL || index_of(d, params[i]) != 0)
            continue;
        if (d->n_nodes >= capacity && !(ok = grow(d, &capacity)))
            break;
        d->nodes[d->n_nodes++] = params[i];
        d->slots[slot_of(d, params[i])] = d->n_nodes;
    }
    for (size_t i = 0; ok && i < n_outputs; i++)
        ok = visit(d, &capacity, &stack, &stack_size, outputs[i]);
    free(stack);
    if (ok) {
        d->value = calloc(d->n_nodes + 1, sizeof(struct ggml_tensor *));
        d->needed = calloc(d->n_nodes + 1, sizeof(bool));
        ok = d->value != NULL && d->needed != NULL;
    }
    if (!ok) {
        release(d);
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for the derivative of a graph of %zu nodes",
                          d->n_nodes);
    }
    for (size_t i = 0; i < n; i++) {
        size_t at = index_of(d, params[i]);
        if (at != 0)
            d->needed[at - 1] = true;
    }
    for (size_t i = 0; i < d->n_nodes; i++)
        for (int s = 0; s < GGML_MAX_SRC && !d->needed[i]; s++) {
            size_t at = index_of(d, d->nodes[i]->src[s]);
            d->needed[i] = at != 0 && d->needed[at - 1];
        }
    return LATHE_OK;
}

/* --- Rules ---------------------------------------------------------------------------------------- */

static bool is_layout(enum ggml_op op) {
    return op == GGML_OP_VIEW || op == GGML_OP_RESHAPE || op == GGML_OP_PERMUTE || op == GGML_OP_TRANSPOSE;
}

static const lathe_rule *rule_of(lathe_diff *d, struct ggml_tensor *y) {
    const lathe_rule *rule = lathe_rule_elementwise(y);
    if (rule == NULL)
        rule = lathe_rule_shape(y);
    if (rule == NULL)
        rule = lathe_rule_norm(y);
    if (rule == NULL)
        rule = lathe_rule_softmax(y);
    if (rule == NULL)
        rule = lathe_rule_product(y);
    if (rule == NULL)
        rule = lathe_rule_image(y);
    if (rule == NULL)
        rule = lathe_rule_upscale(y);
    if (rule == NULL)
        rule = lathe_rule_fused(y);
    if (rule == NULL)
        lathe_diff_fail(d, y, "there is no derivative rule for this op");
    else if (y->view_src != NULL && !is_layout(y->op) && y->op != GGML_OP_CLAMP && y->op != GGML_OP_CPY)
        lathe_diff_fail(d, y, "it was computed in place, which destroys what the derivative needs");
    else if (y->type != GGML_TYPE_F32)
        lathe_diff_fail(d, y, "derivatives are taken in f32 only");
    else
        return rule;
    return NULL;
}

void lathe_diff_fail(lathe_diff *d, const struct ggml_tensor *y, const char *why) {
    if (d->status == LATHE_OK)
        d->status =
            lathe_fail(d->err, LATHE_ERR_UNSUPPORTED, "%s (tensor '%s'): %s", ggml_op_desc(y), y->name, why);
}

bool lathe_diff_needs(const lathe_diff *d, const struct ggml_tensor *x) {
    size_t at = index_of(d, x);
    return at != 0 && d->needed[at - 1];
}

void lathe_diff_add(lathe_diff *d, struct ggml_tensor *x, struct ggml_tensor *g) {
    size_t at = index_of(d, x);
    if (at == 0 || !d->needed[at - 1] || g == NULL)
        return;
    struct ggml_tensor **value = &d->value[at - 1];
    g = lathe_diff_as(d, g, x);
    *value = *value == NULL ? g : ggml_add(d->ctx, *value, g);
}

/* --- Modes ---------------------------------------------------------------------------------------- */

lathe_status lathe_tensor_vjp(struct ggml_context *ctx, struct ggml_tensor *const *outputs,
                              struct ggml_tensor *const *seeds, size_t n_outputs,
                              struct ggml_tensor *const *params, size_t n, const lathe_diff_opts *opts,
                              struct ggml_tensor **grads, lathe_error *err) {
    lathe_diff d;
    lathe_status status = prepare(&d, ctx, outputs, n_outputs, params, n, opts, err);
    if (status != LATHE_OK)
        return status;
    for (size_t i = 0; i < n_outputs; i++)
        lathe_diff_add(&d, outputs[i], seeds[i]);
    for (size_t i = d.n_nodes; i-- > 0 && d.status == LATHE_OK;) {
        struct ggml_tensor *y = d.nodes[i];
        bool depends = false, leaf = false;
        for (size_t p = 0; p < n && !leaf; p++)
            leaf = params[p] == y;
        for (int s = 0; s < GGML_MAX_SRC && !depends; s++)
            depends = lathe_diff_needs(&d, y->src[s]);
        if (d.value[i] == NULL || !depends || leaf)
            continue;
        const lathe_rule *rule = rule_of(&d, y);
        if (rule != NULL)
            rule->vjp(&d, y, d.value[i]);
    }
    for (size_t i = 0; i < n && d.status == LATHE_OK; i++) {
        size_t at = index_of(&d, params[i]);
        grads[i] = at != 0 && d.value[at - 1] != NULL ? lathe_diff_cont(&d, d.value[at - 1])
                                                      : lathe_diff_zeros(&d, params[i]);
    }
    release(&d);
    return d.status;
}

lathe_status lathe_tensor_grad(struct ggml_context *ctx, struct ggml_tensor *loss,
                               struct ggml_tensor *const *params, size_t n, const lathe_diff_opts *opts,
                               struct ggml_tensor **grads, lathe_error *err) {
    if (ggml_nelements(loss) != 1 || loss->type != GGML_TYPE_F32)
        return lathe_fail(err, LATHE_ERR_ARG, "a gradient needs a scalar f32 loss, '%s' has %lld elements",
                          loss->name, (long long) ggml_nelements(loss));
    struct ggml_tensor *seed = ggml_fill(ctx, loss, 1.0f);
    return lathe_tensor_vjp(ctx, &loss, &seed, 1, params, n, opts, grads, err);
}

lathe_status lathe_tensor_jvp(struct ggml_context *ctx, struct ggml_tensor *const *outputs, size_t n_outputs,
                              struct ggml_tensor *const *params, struct ggml_tensor *const *tangents,
                              size_t n, const lathe_diff_opts *opts, struct ggml_tensor **tangents_out,
                              lathe_error *err) {
    lathe_diff d;
    lathe_status status = prepare(&d, ctx, outputs, n_outputs, params, n, opts, err);
    if (status != LATHE_OK)
        return status;
    for (size_t i = 0; i < n; i++)
        lathe_diff_add(&d, params[i], tangents[i]);
    for (size_t i = 0; i < d.n_nodes && d.status == LATHE_OK; i++) {
        struct ggml_tensor *y = d.nodes[i], *t[GGML_MAX_SRC] = {NULL}, *own = d.value[i];
        bool any = false;
        for (int s = 0; s < GGML_MAX_SRC; s++) {
            size_t at = index_of(&d, y->src[s]);
            t[s] = at != 0 ? d.value[at - 1] : NULL;
            any = any || t[s] != NULL;
        }
        if (!any || own != NULL) /* a parameter's tangent is what was given */
            continue;
        const lathe_rule *rule = rule_of(&d, y);
        if (rule != NULL)
            d.value[i] = rule->jvp(&d, y, t);
    }
    for (size_t i = 0; i < n_outputs && d.status == LATHE_OK; i++) {
        struct ggml_tensor *t = d.value[index_of(&d, outputs[i]) - 1];
        tangents_out[i] = t != NULL ? t : lathe_diff_zeros(&d, outputs[i]);
    }
    release(&d);
    return d.status;
}

lathe_status lathe_tensor_hvp(struct ggml_context *ctx, struct ggml_tensor *loss,
                              struct ggml_tensor *const *params, struct ggml_tensor *const *vectors, size_t n,
                              const lathe_diff_opts *opts, struct ggml_tensor **grads,
                              struct ggml_tensor **products, lathe_error *err) {
    struct ggml_tensor **g = grads != NULL ? grads : calloc(n + 1, sizeof *g);
    if (g == NULL)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %zu gradients", n);
    lathe_status status = lathe_tensor_grad(ctx, loss, params, n, opts, g, err);
    if (status == LATHE_OK)
        status = lathe_tensor_jvp(ctx, g, n, params, vectors, n, opts, products, err);
    if (grads == NULL)
        free(g);
    return status;
}

/* --- Recomputing ---------------------------------------------------------------------------------- */

/* The same op on other sources; what is a view of something cloned is one of the clone. */
static struct ggml_tensor *clone_node(lathe_diff *d, const struct ggml_tensor *x) {
    struct ggml_tensor *y = ggml_dup_tensor(d->ctx, x);
    memcpy(y->nb, x->nb, sizeof y->nb);
    memcpy(y->op_params, x->op_params, sizeof y->op_params);
    y->op = x->op;
    for (int s = 0; s < GGML_MAX_SRC; s++) {
        size_t at = index_of(d, x->src[s]);
        y->src[s] = at != 0 && d->value[at - 1] != NULL ? d->value[at - 1] : x->src[s];
    }
    if (x->view_src != NULL) {
        size_t at = index_of(d, x->view_src);
        y->view_src = at != 0 && d->value[at - 1] != NULL ? d->value[at - 1] : x->view_src;
        y->view_offs = x->view_offs;
    }
    return y;
}

/* A second computation of `out` from `from`. */
static lathe_status again_from(struct ggml_context *ctx, struct ggml_tensor *out, struct ggml_tensor *from,
                               struct ggml_tensor **clone, lathe_error *err) {
    lathe_diff d;
    lathe_status status = prepare(&d, ctx, &out, 1, &from, 1, NULL, err);
    if (status != LATHE_OK)
        return status;
    for (size_t i = 0; i < d.n_nodes; i++)
        if (d.needed[i] && d.nodes[i] != from)
            d.value[i] = clone_node(&d, d.nodes[i]);
    size_t at = index_of(&d, out);
    *clone = d.value[at - 1] != NULL ? d.value[at - 1] : out;
    release(&d);
    return LATHE_OK;
}

lathe_status lathe_tensor_vjp_recompute(struct ggml_context *ctx, struct ggml_cgraph *graph,
                                        struct ggml_tensor *output, struct ggml_tensor *seed,
                                        struct ggml_tensor *const *marks, size_t n_marks,
                                        struct ggml_tensor *const *params, size_t n,
                                        const lathe_diff_opts *opts, struct ggml_tensor **grads,
                                        lathe_error *err) {
    struct ggml_tensor **leaves = calloc(2 * (n + 1), sizeof *leaves), **part = leaves + n + 1;
    if (leaves == NULL)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %zu gradients", n);
    memcpy(leaves, params, n * sizeof *leaves);
    lathe_status status = LATHE_OK;
    for (size_t l = n_marks + 1; l-- > 0 && status == LATHE_OK;) { /* from the last segment to the first */
        struct ggml_tensor *out = l == n_marks ? output : marks[l];
        leaves[n] = l > 0 ? marks[l - 1] : NULL;
        if (l > 0 && l < n_marks)
            status = again_from(ctx, out, marks[l - 1], &out, err);
        if (status == LATHE_OK)
            status = lathe_tensor_vjp(ctx, &out, &seed, 1, leaves, l > 0 ? n + 1 : n, opts, part, err);
        for (size_t i = 0; i < n && status == LATHE_OK; i++) {
            if (part[i]->op == GGML_OP_FILL) /* this segment does not use it */
                continue;
            grads[i] = grads[i] == NULL ? part[i] : ggml_add(ctx, grads[i], part[i]);
            ggml_build_forward_expand(graph, grads[i]);
        }
        if (l > 0 && status == LATHE_OK) {
            seed = part[n];
            ggml_build_forward_expand(graph, seed);
        }
    }
    for (size_t i = 0; i < n && status == LATHE_OK; i++)
        if (grads[i] == NULL)
            grads[i] = ggml_fill(ctx, params[i], 0.0f);
    free(leaves);
    return status;
}

/* --- Building blocks ------------------------------------------------------------------------------ */

struct ggml_tensor *lathe_diff_cont(lathe_diff *d, struct ggml_tensor *x) {
    return ggml_is_contiguous(x) ? x : ggml_cont(d->ctx, x);
}

struct ggml_tensor *lathe_diff_as(lathe_diff *d, struct ggml_tensor *x, const struct ggml_tensor *like) {
    if (ggml_are_same_shape(x, like))
        return x;
    return ggml_reshape_4d(d->ctx, lathe_diff_cont(d, x), like->ne[0], like->ne[1], like->ne[2], like->ne[3]);
}

struct ggml_tensor *lathe_diff_zeros(lathe_diff *d, struct ggml_tensor *like) {
    return ggml_fill(d->ctx, lathe_diff_cont(d, like), 0.0f);
}

struct ggml_tensor *lathe_diff_sum_to(lathe_diff *d, struct ggml_tensor *g, struct ggml_tensor *like) {
    if (ggml_are_same_shape(g, like))
        return g;
    g = lathe_diff_cont(d, g);
    if (like->ne[0] == 1 && g->ne[0] > 1)
        g = ggml_sum_rows(d->ctx, g);
    return ggml_are_same_shape(g, like) ? g : ggml_repeat_back(d->ctx, g, like);
}

struct ggml_tensor *lathe_diff_sum_groups(lathe_diff *d, struct ggml_tensor *g,
                                          const struct ggml_tensor *like) {
    struct ggml_context *ctx = d->ctx;
    const int64_t one = g->ne[0] * g->ne[1], h2 = like->ne[2], h3 = like->ne[3];
    const int64_t r2 = g->ne[2] / h2, r3 = g->ne[3] / h3, wide[2] = {g->ne[0], g->ne[1]};
    if (r2 > 1) {
        struct ggml_tensor *x = ggml_reshape_4d(ctx, lathe_diff_cont(d, g), one, r2, h2, h3 * r3);
        g = ggml_sum_rows(ctx, ggml_cont(ctx, ggml_permute(ctx, x, 1, 0, 2, 3)));
    }
    if (r3 > 1) {
        struct ggml_tensor *x = ggml_reshape_3d(ctx, lathe_diff_cont(d, g), one * h2, r3, h3);
        g = ggml_sum_rows(ctx, ggml_cont(ctx, ggml_permute(ctx, x, 1, 0, 2, 3)));
    }
    return ggml_reshape_4d(ctx, lathe_diff_cont(d, g), wide[0], wide[1], h2, h3);
}

struct ggml_tensor *lathe_diff_plus(lathe_diff *d, struct ggml_tensor *a, struct ggml_tensor *b) {
    return a == NULL ? b : b == NULL ? a : ggml_add(d->ctx, a, b);
}

struct ggml_tensor *lathe_diff_again(lathe_diff *d, struct ggml_tensor *y, enum ggml_op op,
                                     struct ggml_tensor *src0, struct ggml_tensor *src1) {
    struct ggml_tensor *z = ggml_new_tensor(d->ctx, y->type, GGML_MAX_DIMS, y->ne);
    z->op = op;
    memcpy(z->op_params, y->op_params, sizeof z->op_params);
    for (int i = 0; i < GGML_MAX_SRC; i++)
        z->src[i] = y->src[i];
    if (src0 != NULL)
        z->src[0] = src0;
    if (src1 != NULL)
        z->src[1] = src1;
    return z;
}

float lathe_diff_param_f32(const struct ggml_tensor *y, int i) {
    float value;
    memcpy(&value, &y->op_params[i], sizeof value);
    return value;
}
