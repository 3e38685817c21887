/* test_safetensors.c - reading .safetensors files, sound and not, and a published LongSpec draft made up here
 * that becomes a GGUF file: names, types, and rotated rows in the target's order. */
#include "support/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lathe/model.h"
#include "model/longspec.h"
#include "model/longspec_run.h"
#include "model/safetensors.h"

static lathe_error err;

typedef struct tensor {
    const char *name;
    int32_t rows, columns; /* rows 0: a vector */
} tensor;

enum { H = 128, Q = 128, K = 64, F = 80, DH = 32 };

/* The release's names; two of them (k and v of the cross block) are not used by anybody. */
static const tensor draft[] = {
    {"model.input_layernorm.weight", 0, H},
    {"model.self_attn.q_proj.weight", Q, H},
    {"model.self_attn.q_proj.bias", 0, Q},
    {"model.self_attn.k_proj.weight", K, H},
    {"model.self_attn.k_proj.bias", 0, K},
    {"model.self_attn.v_proj.weight", K, H},
    {"model.self_attn.v_proj.bias", 0, K},
    {"model.self_attn.o_proj.weight", H, Q},
    {"model.post_self_attention_layernorm.weight", 0, H},
    {"model.cross_attn.q_proj.weight", Q, H},
    {"model.cross_attn.q_proj.bias", 0, Q},
    {"model.cross_attn.k_proj.weight", K, H},
    {"model.cross_attn.v_proj.weight", K, H},
    {"model.cross_attn.o_proj.weight", H, Q},
    {"model.post_cross_attention_layernorm.weight", 0, H},
    {"model.mlp.gate_proj.weight", F, H},
    {"model.mlp.up_proj.weight", F, H},
    {"model.mlp.down_proj.weight", H, F},
};

/* Value of element (row, column) of tensor t: its row, so that moved rows show. */
static size_t write_draft(const char *path, size_t n_tensors) {
    char header[8192] = "{\"__metadata__\":{\"format\":\"pt\"}";
    size_t at = 0;
    for (size_t i = 0; i < n_tensors; i++) {
        const tensor *t = &draft[i];
        const size_t n = (size_t) (t->rows > 0 ? t->rows : 1) * (size_t) t->columns * 2;
        char shape[32];
        if (t->rows > 0)
            (void) snprintf(shape, sizeof shape, "%d,%d", t->rows, t->columns);
        else
            (void) snprintf(shape, sizeof shape, "%d", t->columns);
        const size_t used = strlen(header);
        (void) snprintf(header + used, sizeof header - used,
                        ",\"%s\":{\"dtype\":\"BF16\",\"shape\":[%s],\"data_offsets\":[%zu,%zu]}", t->name,
                        shape, at, at + n);
        at += n;
    }
    strcat(header, "}");
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    const uint64_t n = strlen(header);
    uint8_t length[8];
    for (int i = 0; i < 8; i++)
        length[i] = (uint8_t) (n >> (8 * i));
    fwrite(length, 1, 8, f);
    fwrite(header, 1, n, f);
    for (size_t i = 0; i < n_tensors; i++)
        for (int32_t r = 0; r < (draft[i].rows > 0 ? draft[i].rows : 1); r++)
            for (int32_t c = 0; c < draft[i].columns; c++) {
                const float value =
                    draft[i].rows > 0 ? (float) r : (float) c; /* small integers are exact in bf16 */
                uint32_t bits;
                memcpy(&bits, &value, sizeof bits);
                const uint8_t half[2] = {(uint8_t) (bits >> 16), (uint8_t) (bits >> 24)};
                fwrite(half, 1, 2, f);
            }
    fclose(f);
    return 8 + (size_t) n + at;
}

static void a_file_is_read_as_it_is(void **state) {
    (void) state;
    const char *path = temp_file(".safetensors");
    lathe_safetensors *st;
    write_draft(path, LATHE_LEN(draft));
    check_ok(lathe_safetensors_open(path, &st, &err), err);
    assert_int_equal(lathe_safetensors_count(st), LATHE_LEN(draft));
    const lathe_safetensor *t = lathe_safetensors_find(st, "mlp.down_proj.weight");
    assert_non_null(t);
    assert_int_equal(t->ne[0], F);
    assert_int_equal(t->ne[1], H);
    assert_null(lathe_safetensors_find(st, "q_proj.weight")); /* there are two */
    assert_null(lathe_safetensors_find(st, "proj.weight"));   /* a part of a word is none */
    lathe_safetensors_close(st);
}

static void cut_and_changed_files_are_refused_or_read_never_worse(void **state) {
    (void) state;
    const char *path = temp_file(".safetensors"), *broken = temp_file(".broken.safetensors");
    const size_t n = write_draft(path, 3);
    uint8_t *bytes = malloc(n);
    FILE *f = fopen(path, "rb");
    assert_int_equal(fread(bytes, 1, n, f), n);
    fclose(f);
    lathe_rng rng = lathe_rng_new(1, 0, 0);
    for (int i = 0; i < 400; i++) {
        const bool cut = i < 100;
        const size_t length = cut ? (size_t) lathe_rng_below(&rng, n) : n;
        const size_t at = (size_t) lathe_rng_below(&rng, 700);
        const uint8_t was = bytes[at];
        if (!cut)
            bytes[at] = (uint8_t) lathe_rng_below(&rng, 256);
        f = fopen(broken, "wb");
        fwrite(bytes, 1, length, f);
        fclose(f);
        bytes[at] = was;
        lathe_safetensors *st = NULL;
        const lathe_status status = lathe_safetensors_open(broken, &st, &err);
        assert_true(!cut || status != LATHE_OK);
        uint32_t sum = 0; /* whatever it says is within the file */
        for (size_t k = 0; st && k < lathe_safetensors_count(st); k++)
            for (size_t b = 0; b < lathe_safetensors_at(st, k)->n_bytes; b++)
                sum += lathe_safetensors_at(st, k)->data[b];
        assert_true(sum < UINT32_MAX);
        lathe_safetensors_close(st);
    }
    free(bytes);
    lathe_safetensors *st = NULL;
    assert_int_not_equal(lathe_safetensors_open("/nowhere", &st, &err), LATHE_OK);
}

static void a_published_draft_becomes_a_file_for_its_target(void **state) {
    (void) state;
    const char *from = temp_file(".safetensors"), *target = temp_file(".gguf"),
               *to = temp_file(".draft.gguf");
    lathe_synth_params sp = lathe_synth_params_default();
    lathe_synth_result sr;
    int64_t n_params = 0;
    check_ok(lathe_model_synth(target, &sp, &sr, &err), err);
    write_draft(from, LATHE_LEN(draft));
    check_ok(lathe_longspec_convert(from, target, 100, to, &n_params, &err), err);
    lathe_gguf *g;
    lathe_longspec_desc d;
    check_ok(lathe_gguf_open(to, NULL, &g, &err), err);
    check_ok(lathe_longspec_read(g, &d, &err), err);
    assert_int_equal(d.window, 100);
    assert_int_equal(d.n_ff, F);
    assert_true(d.qkv_bias && !d.final_norm);
    assert_int_equal(n_params, lathe_longspec_n_params(&d));
    assert_int_equal(lathe_gguf_n_tensors(g), 16);
    /* llama files have rotated rows in pairs: row 2 i was row i of its head, row 2 i + 1 was row i + dh / 2.
     */
    const lathe_gguf_tensor *q = lathe_gguf_tensor_find(g, "xattn_q.weight"),
                            *v = lathe_gguf_tensor_find(g, "attn_v.weight");
    assert_int_equal(q->type, v->type);
    for (int32_t r = 0; r < Q; r++) {
        const uint32_t bits =
            (uint32_t) q->data[(size_t) r * H * 2] << 16 | (uint32_t) q->data[(size_t) r * H * 2 + 1] << 24;
        float value;
        memcpy(&value, &bits, sizeof value);
        const int32_t i = r % DH, was = r - i + (i % 2 == 0 ? i / 2 : i / 2 + DH / 2);
        check_near(value, was, 0);
    }
    for (int32_t r = 0; r < K; r++) {
        const uint32_t bits =
            (uint32_t) v->data[(size_t) r * H * 2] << 16 | (uint32_t) v->data[(size_t) r * H * 2 + 1] << 24;
        float value;
        memcpy(&value, &bits, sizeof value);
        check_near(value, r, 0);
    }
    const float *bias = (const float *) (const void *) lathe_gguf_tensor_find(g, "attn_k.bias")->data;
    check_near(bias[1], DH / 2, 0);
    check_near(bias[2], 1, 0);
    lathe_gguf_close(g);
    /* the file drafts */
    lathe_model *m;
    lathe_context *c;
    lathe_longspec *l;
    lathe_context_params cp = lathe_context_params_default();
    cp.n_threads = 1;
    cp.n_ctx = 64;
    check_ok(lathe_model_load(target, NULL, &m, &err), err);
    check_ok(lathe_context_new(m, &cp, &c, &err), err);
    check_ok(lathe_longspec_open(to, c, &l, &err), err);
    lathe_longspec_free(l);
    lathe_context_free(c);
    lathe_model_free(m);
}

static void a_draft_that_lacks_a_tensor_is_refused_by_its_name(void **state) {
    (void) state;
    const char *from = temp_file(".safetensors"), *target = temp_file(".gguf"),
               *to = temp_file(".draft.gguf");
    lathe_synth_params sp = lathe_synth_params_default();
    lathe_synth_result sr;
    int64_t n_params;
    check_ok(lathe_model_synth(target, &sp, &sr, &err), err);
    write_draft(from, LATHE_LEN(draft) - 1);
    assert_int_equal(lathe_longspec_convert(from, target, 100, to, &n_params, &err), LATHE_ERR_INPUT);
    assert_non_null(strstr(err.text, "ffn_down"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_is_read_as_it_is),
        cmocka_unit_test(cut_and_changed_files_are_refused_or_read_never_worse),
        cmocka_unit_test(a_published_draft_becomes_a_file_for_its_target),
        cmocka_unit_test(a_draft_that_lacks_a_tensor_is_refused_by_its_name),
    };
    return cmocka_run_group_tests_name("model/safetensors", tests, NULL, NULL) != 0;
}
