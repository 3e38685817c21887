/* convert.c - values from and to tensor types by ggml's reference code, split over threads by rows. */
#include "model/convert.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include <ggml.h>

#include "model/gguf.h"

enum { GRAIN_VALUES = 1 << 16, PIECE_VALUES = 4096 };

bool lathe_convert_from_known(uint32_t type) {
    return lathe_gguf_block_values(type) != 0 && type < GGML_TYPE_COUNT &&
           (type == GGML_TYPE_F32 || ggml_get_type_traits((enum ggml_type) type)->to_float != NULL);
}

/* In the order in which people look for them. */
static const uint32_t targets[] = {
    GGML_TYPE_Q8_0,  GGML_TYPE_Q6_K,   GGML_TYPE_Q5_K,   GGML_TYPE_Q4_K,  GGML_TYPE_Q4_0,    GGML_TYPE_F16,
    GGML_TYPE_BF16,  GGML_TYPE_F32,    GGML_TYPE_Q3_K,   GGML_TYPE_Q2_K,  GGML_TYPE_Q4_1,    GGML_TYPE_Q5_0,
    GGML_TYPE_Q5_1,  GGML_TYPE_IQ4_NL, GGML_TYPE_IQ4_XS, GGML_TYPE_IQ3_S, GGML_TYPE_IQ3_XXS, GGML_TYPE_TQ1_0,
    GGML_TYPE_TQ2_0, GGML_TYPE_MXFP4,  GGML_TYPE_NVFP4,  GGML_TYPE_Q1_0};

bool lathe_convert_to_known(uint32_t type) {
    for (size_t i = 0; i < LATHE_LEN(targets); i++)
        if (targets[i] == type)
            return true;
    return false;
}

const char *lathe_convert_names(char *out, size_t n_out) {
    size_t w = 0;
    out[0] = 0;
    for (size_t i = 0; i < LATHE_LEN(targets) && w < n_out; i++)
        w += (size_t) snprintf(out + w, n_out - w, "%s%s", i ? ", " : "",
                               lathe_gguf_tensor_type_name(targets[i]));
    return out;
}

/* --- From ---------------------------------------------------------------------------------------- */

typedef struct from_work {
    uint32_t type;
    const uint8_t *bytes;
    float *out;
    int64_t block; /* values */
} from_work;

/* begin and end count blocks. */
static void from_piece(void *ctx, int worker, int64_t piece, int64_t begin, int64_t end) {
    const from_work *w = ctx;
    const size_t block_bytes = lathe_gguf_block_bytes(w->type);
    (void) worker, (void) piece;
    const uint8_t *p = w->bytes + (size_t) begin * block_bytes;
    float *out = w->out + begin * w->block;
    if (w->type == GGML_TYPE_F32) {
        memcpy(out, p, (size_t) (end - begin) * sizeof *out);
        return;
    }
    const ggml_to_float_t to_float = ggml_get_type_traits((enum ggml_type) w->type)->to_float;
    if ((uintptr_t) p % 8 == 0) {
        to_float(p, out, (end - begin) * w->block);
        return;
    }
    /* blocks of a file whose alignment is under 8: through an aligned copy */
    _Alignas(64) uint8_t copy[PIECE_VALUES * 2];
    const int64_t step = (int64_t) (sizeof copy / block_bytes);
    for (int64_t i = begin; i < end; i += step) {
        const int64_t n = end - i < step ? end - i : step;
        memcpy(copy, w->bytes + (size_t) i * block_bytes, (size_t) n * block_bytes);
        to_float(copy, w->out + i * w->block, n * w->block);
    }
}

void lathe_convert_from(lathe_pool *pool, uint32_t type, const uint8_t *bytes, int64_t n, float *out) {
    from_work w = {.type = type, .bytes = bytes, .out = out, .block = lathe_gguf_block_values(type)};
    lathe_parallel_for(pool, n / w.block, GRAIN_VALUES / w.block, from_piece, &w);
}

/* --- To ------------------------------------------------------------------------------------------ */

typedef struct to_work {
    uint32_t type;
    const float *values;
    int64_t n_per_row;
    size_t row_bytes;
    uint8_t *out;
} to_work;

static void to_rows(void *ctx, int worker, int64_t piece, int64_t begin, int64_t end) {
    const to_work *w = ctx;
    (void) worker, (void) piece;
    ggml_quantize_chunk((enum ggml_type) w->type, w->values + begin * w->n_per_row,
                        w->out + (size_t) begin * w->row_bytes, 0, end - begin, w->n_per_row, NULL);
}

void lathe_convert_to(lathe_pool *pool, uint32_t type, const float *values, int64_t n_rows, int64_t n_per_row,
                      uint8_t *out) {
    to_work w = {.type = type, .values = values, .n_per_row = n_per_row, .out = out};
    w.row_bytes = (size_t) (n_per_row / lathe_gguf_block_values(type)) * lathe_gguf_block_bytes(type);
    const int64_t grain = n_per_row < GRAIN_VALUES ? GRAIN_VALUES / n_per_row : 1;
    lathe_parallel_for(pool, n_rows, grain, to_rows, &w);
}

/* --- NaN ----------------------------------------------------------------------------------------- */

typedef struct scan_work {
    const float *values;
    int64_t *found; /* [pieces] */
} scan_work;

enum { SCAN_PIECES = 64 };

static void scan_piece(void *ctx, int worker, int64_t piece, int64_t begin, int64_t end) {
    const scan_work *w = ctx;
    (void) worker;
    bool bad = false;
    for (int64_t i = begin; i < end; i++)
        bad |= !(fabsf(w->values[i]) <= 3.402823466e38f);
    for (int64_t i = begin; bad && i < end; i++)
        if (!isfinite(w->values[i])) {
            w->found[piece] = i;
            return;
        }
}

int64_t lathe_convert_first_bad(lathe_pool *pool, const float *values, int64_t n) {
    int64_t found[SCAN_PIECES];
    for (int i = 0; i < SCAN_PIECES; i++)
        found[i] = -1;
    scan_work w = {.values = values, .found = found};
    lathe_parallel_for(pool, n, (n + SCAN_PIECES - 1) / SCAN_PIECES, scan_piece, &w);
    for (int i = 0; i < SCAN_PIECES; i++)
        if (found[i] >= 0)
            return found[i];
    return -1;
}

/* --- Which type ---------------------------------------------------------------------------------- */

static bool ends_with(const char *name, const char *end) {
    const size_t n = strlen(name), m = strlen(end);
    return n >= m && strcmp(name + n - m, end) == 0;
}

static bool is_plain_float(uint32_t type) {
    return type == GGML_TYPE_F32 || type == GGML_TYPE_F16 || type == GGML_TYPE_BF16;
}

/* What takes the place of a type whose blocks do not divide the row. */
static uint32_t narrower(uint32_t type) {
    switch (type) {
    case GGML_TYPE_Q4_K:
        return GGML_TYPE_Q5_0;
    case GGML_TYPE_Q5_K:
        return GGML_TYPE_Q5_1;
    case GGML_TYPE_Q6_K:
        return GGML_TYPE_Q8_0;
    case GGML_TYPE_Q2_K:
    case GGML_TYPE_Q3_K:
    case GGML_TYPE_IQ3_S:
    case GGML_TYPE_IQ3_XXS:
    case GGML_TYPE_IQ4_XS:
        return GGML_TYPE_IQ4_NL;
    case GGML_TYPE_TQ1_0:
    case GGML_TYPE_TQ2_0:
    case GGML_TYPE_NVFP4:
    case GGML_TYPE_Q1_0:
        return GGML_TYPE_Q4_0;
    default:
        return GGML_TYPE_F16;
    }
}

static uint32_t fitting(uint32_t type, int64_t ne0) {
    while (ne0 % lathe_gguf_block_values(type) != 0)
        type = narrower(type); /* ends at f16, whose block is one value */
    return type;
}

/* The "M" rule is richer in the outer eighths and in every third layer between. */
static bool is_rich_layer(int32_t il, int32_t n) {
    return il < n / 8 || il >= 7 * n / 8 || (il - n / 8) % 3 == 2;
}

uint32_t lathe_type_for(const lathe_type_rule *rule, const char *name, int32_t n_dims, int64_t ne0,
                        uint32_t from) {
    if (!lathe_convert_from_known(from))
        return from; /* integers and the like are no weights */
    if (rule->target == GGML_TYPE_F32)
        return GGML_TYPE_F32;
    if (!ends_with(name, "weight") || n_dims < 2 || ends_with(name, "_norm.weight") ||
        strcmp(name, "position_embd.weight") == 0 || ends_with(name, "ffn_gate_inp.weight"))
        return from;
    if (is_plain_float(rule->target))
        return rule->target;
    const bool is_output =
        strcmp(name, "output.weight") == 0 || (rule->tied && strcmp(name, "token_embd.weight") == 0);
    if (is_output)
        return fitting(rule->target == GGML_TYPE_Q8_0 ? GGML_TYPE_Q8_0 : GGML_TYPE_Q6_K, ne0);
    int32_t il = -1;
    if (rule->mix && sscanf(name, "blk.%d.", &il) == 1 && is_rich_layer(il, rule->n_layer) &&
        (ends_with(name, ".attn_v.weight") || ends_with(name, ".ffn_down.weight")))
        return fitting(GGML_TYPE_Q6_K, ne0);
    return fitting(rule->target, ne0);
}

typedef struct file_type {
    int32_t number;
    uint32_t target;
    bool mix;
    const char *name;
} file_type;

static const file_type file_types[] = {
    {0, GGML_TYPE_F32, false, "f32"},          {1, GGML_TYPE_F16, false, "f16"},
    {2, GGML_TYPE_Q4_0, false, "q4_0"},        {3, GGML_TYPE_Q4_1, false, "q4_1"},
    {7, GGML_TYPE_Q8_0, false, "q8_0"},        {8, GGML_TYPE_Q5_0, false, "q5_0"},
    {9, GGML_TYPE_Q5_1, false, "q5_1"},        {10, GGML_TYPE_Q2_K, false, "q2_K"},
    {11, GGML_TYPE_Q3_K, false, "q3_K small"}, {12, GGML_TYPE_Q3_K, true, "q3_K medium"},
    {14, GGML_TYPE_Q4_K, false, "q4_K small"}, {15, GGML_TYPE_Q4_K, true, "q4_K medium"},
    {16, GGML_TYPE_Q5_K, false, "q5_K small"}, {17, GGML_TYPE_Q5_K, true, "q5_K medium"},
    {18, GGML_TYPE_Q6_K, false, "q6_K"},       {23, GGML_TYPE_IQ3_XXS, false, "iq3_xxs"},
    {25, GGML_TYPE_IQ4_NL, false, "iq4_nl"},   {26, GGML_TYPE_IQ3_S, false, "iq3_s"},
    {30, GGML_TYPE_IQ4_XS, false, "iq4_xs"},   {32, GGML_TYPE_BF16, false, "bf16"},
    {36, GGML_TYPE_TQ1_0, false, "tq1_0"},     {37, GGML_TYPE_TQ2_0, false, "tq2_0"},
    {38, GGML_TYPE_MXFP4, false, "mxfp4"},
};

int32_t lathe_file_type_of(uint32_t target, bool mix) {
    int32_t plain = -1;
    for (size_t i = 0; i < LATHE_LEN(file_types); i++) {
        if (file_types[i].target != target)
            continue;
        if (file_types[i].mix == mix)
            return file_types[i].number;
        plain = file_types[i].number;
    }
    return plain;
}

const char *lathe_file_type_name(int64_t number) {
    for (size_t i = 0; i < LATHE_LEN(file_types); i++)
        if (file_types[i].number == number)
            return file_types[i].name;
    return NULL;
}
