/* synth_family.c - which keys and tensors a family has, as a table of switches. */
#include "model/synth_family.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum qkv_bias { NO_BIAS, QKV_BIAS, ALL_BIAS };

typedef struct synth_family {
    const char *name;
    bool layer_norm; /* with bias; else RMS */
    bool positions;  /* learned table instead of RoPE */
    bool fused_qkv;
    enum qkv_bias bias; /* of the attention projections */
    bool head_norm;     /* attn_q_norm, attn_k_norm */
    bool gated;         /* ffn_gate */
    bool fused_up;      /* gate and up in one ffn_up */
    bool ffn_bias;
    bool post_norms;    /* gemma2's four norms */
    bool full_heads;    /* as many key heads as heads */
    int tying;          /* 0: as the shape says, 1: always tied, -1: never */
    int rotary_divisor; /* n_rot = head_dim / this */
    float eps;
    int window_divisor; /* sliding window = context / this; 0: none */
    int n_ctx_max;
} synth_family;

static const synth_family families[] = {
    {.name = "llama", .gated = true, .eps = 1e-5f},
    {.name = "qwen2", .gated = true, .bias = QKV_BIAS, .eps = 1e-6f},
    {.name = "qwen3", .gated = true, .head_norm = true, .eps = 1e-6f},
    {.name = "gemma", .gated = true, .tying = 1, .eps = 1e-6f},
    {.name = "gemma2", .gated = true, .tying = 1, .post_norms = true, .eps = 1e-6f, .window_divisor = 8},
    {.name = "gemma3",
     .gated = true,
     .tying = 1,
     .post_norms = true,
     .head_norm = true,
     .eps = 1e-6f,
     .window_divisor = 8},
    {.name = "phi3", .gated = true, .fused_qkv = true, .fused_up = true, .eps = 1e-5f},
    {.name = "gpt2",
     .layer_norm = true,
     .positions = true,
     .fused_qkv = true,
     .bias = ALL_BIAS,
     .ffn_bias = true,
     .full_heads = true,
     .eps = 1e-5f,
     .n_ctx_max = 16384},
    {.name = "gptneox",
     .layer_norm = true,
     .fused_qkv = true,
     .bias = ALL_BIAS,
     .ffn_bias = true,
     .full_heads = true,
     .tying = -1,
     .rotary_divisor = 4,
     .eps = 1e-5f},
    {.name = "stablelm",
     .layer_norm = true,
     .bias = QKV_BIAS,
     .gated = true,
     .tying = -1,
     .rotary_divisor = 4,
     .eps = 1e-5f},
    {.name = "opt",
     .layer_norm = true,
     .positions = true,
     .bias = ALL_BIAS,
     .ffn_bias = true,
     .full_heads = true,
     .tying = 1,
     .eps = 1e-5f,
     .n_ctx_max = 16384},
};

typedef struct synth_shape {
    const char *name;
    int32_t n_layer, n_embd, n_head, n_head_kv, head_dim, n_ff, n_vocab;
    bool tied;
    int32_t n_ctx;
    float freq_base;
} synth_shape;

static const synth_shape shapes[] = {
    {"1M", 4, 128, 4, 2, 32, 384, 1024, true, 2048, 1e4f},
    {"10M", 8, 256, 8, 4, 32, 1024, 8192, true, 4096, 1e4f},
    {"100M", 12, 768, 12, 4, 64, 2048, 32000, true, 32768, 1e4f},
    {"1B", 16, 2048, 32, 8, 64, 8192, 32000, true, 32768, 5e5f},
    {"8B", 32, 4096, 32, 8, 128, 14336, 128256, false, 32768, 5e5f},
};

/* --- Tensors ------------------------------------------------------------------------------------- */

static void add(lathe_synth_plan *p, int32_t il, const char *name, int64_t ne0, int64_t ne1,
                lathe_synth_init init) {
    lathe_synth_tensor *t = &p->tensors[p->n_tensors++];
    *t = (lathe_synth_tensor){.n_dims = ne1 ? 2 : 1, .ne = {ne0, ne1 ? ne1 : 1}, .init = init};
    if (il >= 0)
        snprintf(t->name, sizeof t->name, "blk.%d.%s", il, name);
    else
        snprintf(t->name, sizeof t->name, "%s", name);
}

static void add_norm(lathe_synth_plan *p, int32_t il, const char *name, int64_t n) {
    char full[48];
    snprintf(full, sizeof full, "%s.weight", name);
    add(p, il, full, n, 0, LATHE_SYNTH_NORM);
    if (!p->family->layer_norm)
        return;
    snprintf(full, sizeof full, "%s.bias", name);
    add(p, il, full, n, 0, LATHE_SYNTH_BIAS);
}

static void add_matrix(lathe_synth_plan *p, int32_t il, const char *name, int64_t n_in, int64_t n_out,
                       lathe_synth_init init, bool bias) {
    char full[48];
    snprintf(full, sizeof full, "%s.weight", name);
    add(p, il, full, n_in, n_out, init);
    if (!bias)
        return;
    snprintf(full, sizeof full, "%s.bias", name);
    add(p, il, full, n_out, 0, LATHE_SYNTH_BIAS);
}

static void add_layer(lathe_synth_plan *p, int32_t il) {
    const synth_family *f = p->family;
    const int64_t d = p->n_embd, dh = p->head_dim, nq = p->n_head * dh, nk = p->n_head_kv * dh, ff = p->n_ff;
    const bool qkv_bias = f->bias != NO_BIAS;
    add_norm(p, il, "attn_norm", d);
    if (f->fused_qkv) {
        add_matrix(p, il, "attn_qkv", d, nq + 2 * nk, LATHE_SYNTH_MATRIX, qkv_bias);
    } else {
        add_matrix(p, il, "attn_q", d, nq, LATHE_SYNTH_MATRIX, qkv_bias);
        add_matrix(p, il, "attn_k", d, nk, LATHE_SYNTH_MATRIX, qkv_bias);
        add_matrix(p, il, "attn_v", d, nk, LATHE_SYNTH_MATRIX, qkv_bias);
    }
    if (f->head_norm) {
        add_norm(p, il, "attn_q_norm", dh);
        add_norm(p, il, "attn_k_norm", dh);
    }
    add_matrix(p, il, "attn_output", nq, d, LATHE_SYNTH_RESIDUAL, f->bias == ALL_BIAS);
    if (f->post_norms)
        add_norm(p, il, "post_attention_norm", d);
    add_norm(p, il, "ffn_norm", d);
    if (f->gated && !f->fused_up)
        add_matrix(p, il, "ffn_gate", d, ff, LATHE_SYNTH_MATRIX, f->ffn_bias);
    add_matrix(p, il, "ffn_up", d, f->fused_up ? 2 * ff : ff, LATHE_SYNTH_MATRIX, f->ffn_bias);
    add_matrix(p, il, "ffn_down", ff, d, LATHE_SYNTH_RESIDUAL, f->ffn_bias);
    if (f->post_norms)
        add_norm(p, il, "post_ffw_norm", d);
}

lathe_status lathe_synth_plan_make(const char *arch, const char *shape, lathe_synth_plan *plan,
                                   lathe_error *err) {
    const synth_family *f = NULL;
    const synth_shape *s = NULL;
    for (size_t i = 0; i < LATHE_LEN(families); i++)
        if (strcmp(families[i].name, arch) == 0)
            f = &families[i];
    for (size_t i = 0; i < LATHE_LEN(shapes); i++)
        if (strcmp(shapes[i].name, shape) == 0)
            s = &shapes[i];
    if (!f) {
        char names[160] = "";
        for (size_t i = 0; i < LATHE_LEN(families); i++) {
            strcat(names, i ? ", " : ""); /* 11 names of at most 8 bytes fit */
            strcat(names, families[i].name);
        }
        return lathe_fail(err, LATHE_ERR_ARG, "unknown family '%.40s'; want one of %s", arch, names);
    }
    if (!s)
        return lathe_fail(err, LATHE_ERR_ARG, "unknown shape '%.40s'; want 1M, 10M, 100M, 1B or 8B", shape);
    lathe_synth_plan p = {.arch = f->name,
                          .shape = s->name,
                          .n_layer = s->n_layer,
                          .n_embd = s->n_embd,
                          .n_head = s->n_head,
                          .n_head_kv = f->full_heads ? s->n_head : s->n_head_kv,
                          .head_dim = s->head_dim,
                          .n_ff = s->n_ff,
                          .n_vocab = s->n_vocab,
                          .n_ctx = f->n_ctx_max && f->n_ctx_max < s->n_ctx ? f->n_ctx_max : s->n_ctx,
                          .n_rot = s->head_dim / (f->rotary_divisor ? f->rotary_divisor : 1),
                          .freq_base = s->freq_base,
                          .tied = f->tying ? f->tying > 0 : s->tied,
                          .family = f};
    enum { OUTSIDE_LAYERS = 5, A_LAYER = 20 };
    p.tensors = calloc((size_t) p.n_layer * A_LAYER + OUTSIDE_LAYERS, sizeof *p.tensors);
    if (!p.tensors)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for the tensor list of '%s' %s", arch, shape);
    add_matrix(&p, -1, "token_embd", p.n_embd, p.n_vocab, p.tied ? LATHE_SYNTH_EMBED : LATHE_SYNTH_MATRIX,
               false);
    if (f->positions)
        add_matrix(&p, -1, "position_embd", p.n_embd, p.n_ctx, LATHE_SYNTH_EMBED, false);
    for (int32_t il = 0; il < p.n_layer; il++)
        add_layer(&p, il);
    add_norm(&p, -1, "output_norm", p.n_embd);
    if (!p.tied)
        add_matrix(&p, -1, "output", p.n_embd, p.n_vocab, LATHE_SYNTH_MATRIX, false);
    *plan = p;
    return LATHE_OK;
}

void lathe_synth_plan_free(lathe_synth_plan *plan) {
    free(plan->tensors);
    plan->tensors = NULL;
}

/* --- Metadata ------------------------------------------------------------------------------------ */

static const char *key_of(const lathe_synth_plan *p, const char *rest, char out[96]) {
    snprintf(out, 96, "%s.%s", p->arch, rest);
    return out;
}

void lathe_synth_put_metadata(const lathe_synth_plan *p, lathe_gguf_writer *w) {
    const synth_family *f = p->family;
    char key[96];
    snprintf(key, sizeof key, "synth %s %s", p->arch, p->shape);
    lathe_gguf_put_text(w, "general.architecture", p->arch);
    lathe_gguf_put_text(w, "general.name", key);
    lathe_gguf_put_u32(w, key_of(p, "context_length", key), (uint32_t) p->n_ctx);
    lathe_gguf_put_u32(w, key_of(p, "embedding_length", key), (uint32_t) p->n_embd);
    lathe_gguf_put_u32(w, key_of(p, "block_count", key), (uint32_t) p->n_layer);
    lathe_gguf_put_u32(w, key_of(p, "feed_forward_length", key), (uint32_t) p->n_ff);
    lathe_gguf_put_u32(w, key_of(p, "attention.head_count", key), (uint32_t) p->n_head);
    lathe_gguf_put_u32(w, key_of(p, "attention.head_count_kv", key), (uint32_t) p->n_head_kv);
    lathe_gguf_put_u32(w, key_of(p, "attention.key_length", key), (uint32_t) p->head_dim);
    lathe_gguf_put_u32(w, key_of(p, "attention.value_length", key), (uint32_t) p->head_dim);
    lathe_gguf_put_u32(w, key_of(p, "vocab_size", key), (uint32_t) p->n_vocab);
    lathe_gguf_put_f32(
        w,
        key_of(p, f->layer_norm ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon", key),
        f->eps);
    if (!f->positions) {
        lathe_gguf_put_u32(w, key_of(p, "rope.dimension_count", key), (uint32_t) p->n_rot);
        lathe_gguf_put_f32(w, key_of(p, "rope.freq_base", key), p->freq_base);
    }
    if (f->window_divisor)
        lathe_gguf_put_u32(w, key_of(p, "attention.sliding_window", key),
                           (uint32_t) (p->n_ctx / f->window_divisor));
    if (strcmp(p->arch, "gemma2") == 0) {
        lathe_gguf_put_f32(w, key_of(p, "attn_logit_softcapping", key), 50);
        lathe_gguf_put_f32(w, key_of(p, "final_logit_softcapping", key), 30);
    }
    if (strcmp(p->arch, "gemma3") == 0)
        lathe_gguf_put_f32(w, key_of(p, "rope.freq_base_swa", key), 1e4f);
    if (f->rotary_divisor) /* gptneox and stablelm */
        lathe_gguf_put_bool(w, key_of(p, "use_parallel_residual", key), f->fused_qkv);
}

/* The n-th word (from 1) of a, b, ..., z, aa, ab, ...; returns its length. */
static size_t word(int32_t n, char out[8]) {
    char reversed[8];
    size_t len = 0;
    for (; n > 0; n = (n - 1) / 26)
        reversed[len++] = (char) ('a' + (n - 1) % 26);
    for (size_t i = 0; i < len; i++)
        out[i] = reversed[len - 1 - i];
    out[len] = 0;
    return len;
}

lathe_status lathe_synth_put_tokenizer(const lathe_synth_plan *p, lathe_gguf_writer *w, lathe_error *err) {
    enum { BYTE_FIRST = 3, SPACE = BYTE_FIRST + 256 };
    const size_t n = (size_t) p->n_vocab;
    char(*texts)[8] = calloc(n, sizeof *texts);
    const char **pointers = calloc(n, sizeof *pointers);
    float *scores = calloc(n, sizeof *scores);
    int32_t *types = calloc(n, sizeof *types);
    lathe_status st = LATHE_OK;
    if (!texts || !pointers || !scores || !types) {
        st = lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a vocabulary of %zu tokens", n);
        goto done;
    }
    for (int32_t id = 0; id < p->n_vocab; id++) {
        static const char *const special[BYTE_FIRST] = {"<unk>", "<s>", "</s>"};
        pointers[id] = texts[id];
        scores[id] = (float) -id;
        types[id] = id == 0 ? 2 : id < BYTE_FIRST ? 3 : id < SPACE ? 6 : 1;
        if (id < BYTE_FIRST)
            pointers[id] = special[id];
        else if (id < SPACE)
            snprintf(texts[id], sizeof *texts, "<0x%02X>", (unsigned) (id - BYTE_FIRST) & 0xFF);
        else if (id == SPACE)
            memcpy(texts[id], "\xE2\x96\x81", 4);
        else
            word(id - SPACE, texts[id]);
    }
    lathe_gguf_put_text(w, "tokenizer.ggml.model", "llama");
    lathe_gguf_put_text(w, "tokenizer.ggml.pre", "default");
    lathe_gguf_put_strings(w, "tokenizer.ggml.tokens", pointers, NULL, n);
    lathe_gguf_put_array(w, "tokenizer.ggml.scores", LATHE_GGUF_F32, scores, n);
    lathe_gguf_put_array(w, "tokenizer.ggml.token_type", LATHE_GGUF_I32, types, n);
    lathe_gguf_put_u32(w, "tokenizer.ggml.bos_token_id", 1);
    lathe_gguf_put_u32(w, "tokenizer.ggml.eos_token_id", 2);
    lathe_gguf_put_u32(w, "tokenizer.ggml.unknown_token_id", 0);
    lathe_gguf_put_bool(w, "tokenizer.ggml.add_bos_token", true);
    lathe_gguf_put_bool(w, "tokenizer.ggml.add_eos_token", false);

done:
    free(texts);
    free(pointers);
    free(scores);
    free(types);
    return st;
}
