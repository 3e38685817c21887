/* beam.c - see beam.h. */
#include "decode/beam.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

lathe_status lathe_beam_parse(const char *text, lathe_beam_shape *shape, lathe_error *err) {
    lathe_beam_shape s = {0};
    if (text == NULL || strcmp(text, "chain") == 0) {
        *shape = s;
        return LATHE_OK;
    }
    bool ok = strncmp(text, "beam:", 5) == 0;
    for (const char *at = text + 5; ok;) {
        char *end = NULL;
        const long width = strtol(at, &end, 10);
        ok = end != at && width >= 1 && width <= LATHE_BEAM_WIDTH_MAX && s.n_layers < LATHE_BEAM_LAYERS_MAX;
        if (!ok)
            break;
        s.width[s.n_layers++] = (int32_t) width;
        s.n_nodes += (int32_t) width;
        at = end + 1;
        if (*end == '\0')
            break;
        ok = *end == ',';
    }
    if (!ok || s.n_nodes > LATHE_BEAM_NODES_MAX)
        return lathe_fail(
            err, LATHE_ERR_ARG,
            "a draft tree '%.40s'; chain, or beam:W1,W2,... with at most %d widths of 1 to %d and %d "
            "nodes, is right",
            text, (int) LATHE_BEAM_LAYERS_MAX, (int) LATHE_BEAM_WIDTH_MAX, (int) LATHE_BEAM_NODES_MAX);
    *shape = s;
    return LATHE_OK;
}

/* true where a ranks before b. */
static bool before(const lathe_beam_node *a, const lathe_beam_node *b) {
    if (a->score > b->score || a->score < b->score)
        return a->score > b->score;
    return a->parent != b->parent ? a->parent < b->parent : a->token < b->token;
}

int32_t lathe_beam_layer(const double *score, const float *logits, int32_t n, int32_t n_vocab, int32_t width,
                         lathe_beam_node *out) {
    int32_t kept = 0;
    for (int32_t i = 0; i < n; i++) {
        const float *row = logits + (size_t) i * (size_t) n_vocab;
        float top = row[0];
        double sum = 0;
        for (int32_t x = 1; x < n_vocab; x++)
            top = row[x] > top ? row[x] : top;
        for (int32_t x = 0; x < n_vocab; x++)
            sum += exp((double) row[x] - top);
        const double log_sum = top + log(sum);
        for (int32_t x = 0; x < n_vocab; x++) {
            const double lp = row[x] - log_sum;
            lathe_beam_node c = {.parent = i, .token = x, .score = score[i] + lp, .prob = exp(lp)};
            if (kept == width && !before(&c, &out[kept - 1]))
                continue;
            int32_t at = kept < width ? kept++ : width - 1;
            for (; at > 0 && before(&c, &out[at - 1]); at--)
                out[at] = out[at - 1];
            out[at] = c;
        }
    }
    return kept;
}
