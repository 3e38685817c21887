/* trim_head.c - see trim_head.h. */
#include "model/trim_head.h"

#include <stdlib.h>
#include <string.h>

static lathe_status check_ids(const lathe_model *m, const int32_t *ids, int32_t n, lathe_error *err) {
    if (n < 1 || n > m->desc.n_vocab)
        return lathe_fail(err, LATHE_ERR_ARG, "an output matrix of %d rows; 1 to %d is right", (int) n,
                          m->desc.n_vocab);
    for (int32_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= m->desc.n_vocab || (i > 0 && ids[i] <= ids[i - 1]))
            return lathe_fail(err, LATHE_ERR_ARG,
                              "row %d of a trimmed output matrix is id %d; ids rise, from 0 to %d", (int) i,
                              (int) ids[i], m->desc.n_vocab - 1);
    return LATHE_OK;
}

/* Rows ids [n] of t [width, n_vocab] (a bias: width 1) in memory of their own. */
static struct ggml_tensor *some_rows(lathe_head *head, const struct ggml_tensor *t, int64_t width) {
    const size_t row = ggml_row_size(t->type, width);
    struct ggml_tensor *out = width > 1 ? ggml_new_tensor_2d(head->ctx, t->type, width, head->n)
                                        : ggml_new_tensor_1d(head->ctx, t->type, head->n);
    for (int32_t i = 0; i < head->n; i++)
        memcpy((char *) out->data + (size_t) i * row, (const char *) t->data + (size_t) head->ids[i] * row,
               row);
    return out;
}

lathe_status lathe_model_trim_head(lathe_model *m, const int32_t *ids, int32_t n, lathe_error *err) {
    lathe_weights *w = &m->weights.by_role;
    lathe_status status = check_ids(m, ids, n, err);
    if (status == LATHE_OK && (m->n_devices != 1 || !lathe_device_is_cpu(m->devices[0])))
        status =
            lathe_fail(err, LATHE_ERR_UNSUPPORTED,
                       "an output matrix is trimmed on the processor only; leave out --device and --rpc");
    if (status != LATHE_OK)
        return status;
    lathe_head head = {.n = n, .ids = malloc((size_t) n * sizeof *ids)};
    const size_t bytes = ggml_row_size(w->output->type, w->output->ne[0]) * (size_t) n +
                         (size_t) n * sizeof(float) + 2 * ggml_tensor_overhead() + 4096;
    if (head.ids != NULL)
        head.ctx = ggml_init((struct ggml_init_params){.mem_size = bytes});
    if (head.ctx == NULL) {
        free(head.ids);
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for an output matrix of %d rows", (int) n);
    }
    memcpy(head.ids, ids, (size_t) n * sizeof *ids);
    head.whole = w->output;
    if (w->output != w->token_embd)
        m->weights.n_bytes -= (int64_t) ggml_nbytes(w->output);
    w->output = some_rows(&head, w->output, w->output->ne[0]);
    if (w->output_b != NULL)
        w->output_b = some_rows(&head, w->output_b, 1);
    m->weights.n_bytes += (int64_t) ggml_nbytes(w->output);
    m->head = head;
    return LATHE_OK;
}

void lathe_model_trim_free(lathe_model *m) {
    if (m->head.ctx != NULL)
        ggml_free(m->head.ctx);
    free(m->head.ids);
    m->head = (lathe_head){0};
}
