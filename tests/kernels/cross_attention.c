/* cross_attention.c - fused attention of another instruction set against the scalar one, to the bit: a
 * program that needs nothing but the kernels, to be compiled for another processor and run under an emulator
 * (cross.sh). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensor/cpu/attention_set.h"

#ifndef OTHER_SET
#define OTHER_SET lathe_attention_neon
#endif

static uint64_t state = 88172645463325252u;
static uint32_t below(uint32_t n) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t) (state >> 33) % n;
}
static float small(void) {
    return (float) below(4001) / 1000.0f - 2.0f;
}

/* Bytes of n values; every bit pattern of a finite small number may come. */
static void fill(uint8_t *p, lathe_kv_type type, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        float x = small();
        uint32_t bits;
        memcpy(&bits, &x, sizeof bits);
        uint16_t brain = (uint16_t) (bits >> 16), half = (uint16_t) (below(0x4000) | below(2) << 15);
        if (type == LATHE_KV_F32)
            memcpy(p + 4 * i, &x, 4);
        else
            memcpy(p + 2 * i, type == LATHE_KV_F16 ? &half : &brain, 2);
    }
}

static void fill_blocks(uint8_t *p, size_t block, int64_t n_blocks) {
    for (int64_t i = 0; i < n_blocks; i++, p += block) {
        uint16_t scale = (uint16_t) (0x2000 + below(0x800));
        memcpy(p, &scale, 2);
        for (size_t j = 2; j < block; j++)
            p[j] = (uint8_t) below(256);
    }
}

int main(void) {
    enum { CASES = 20 };
    for (int c = 0; c < CASES; c++) {
        lathe_kv_type type = (lathe_kv_type) (c % LATHE_KV_TYPES);
        int64_t Hk = 1 + below(2), H = Hk * (1 + below(3)), T = 1 + below(c % 4 == 0 ? 40 : 6);
        int64_t d = type >= LATHE_KV_Q8_0 ? 32 * (1 + below(2)) : 1 + below(70), n_kv = 1 + below(700);
        size_t head = type == LATHE_KV_F32    ? 4 * (size_t) d
                      : type == LATHE_KV_Q8_0 ? (size_t) d / 32 * 34
                      : type == LATHE_KV_Q4_0 ? (size_t) d / 32 * 18
                                              : 2 * (size_t) d;
        size_t all = head * (size_t) (Hk * n_kv);
        uint8_t *k = malloc(all), *v = malloc(all);
        size_t n_out = (size_t) (T * H * d);
        float *q = malloc(n_out * sizeof *q), *a_out = malloc(n_out * sizeof *q),
              *b_out = malloc(n_out * sizeof *q);
        float *a_lse = malloc((size_t) (T * H) * sizeof *q), *b_lse = malloc((size_t) (T * H) * sizeof *q);
        uint16_t *mask = malloc((size_t) (T * n_kv) * sizeof *mask);
        if (k == NULL || v == NULL || q == NULL || a_out == NULL || b_out == NULL || a_lse == NULL ||
            b_lse == NULL || mask == NULL)
            return 1;
        if (type >= LATHE_KV_Q8_0) {
            fill_blocks(k, type == LATHE_KV_Q8_0 ? 34 : 18, (int64_t) (Hk * n_kv) * d / 32);
            fill_blocks(v, type == LATHE_KV_Q8_0 ? 34 : 18, (int64_t) (Hk * n_kv) * d / 32);
        } else {
            fill(k, type, Hk * n_kv * d);
            fill(v, type, Hk * n_kv * d);
        }
        for (size_t i = 0; i < n_out; i++)
            q[i] = small();
        for (int64_t i = 0; i < T * n_kv; i++)
            mask[i] = c % 3 > 0 && below(4) == 0 ? 0xfc00 : below(3) == 0 ? 0xb800 : 0;
        lathe_attention_args a = {.n_q = T,
                                  .n_kv = n_kv,
                                  .n_head = H,
                                  .n_head_kv = Hk,
                                  .dk = d,
                                  .dv = d,
                                  .q = q,
                                  .q_row = H * d,
                                  .q_head = d,
                                  .k = k,
                                  .v = v,
                                  .k_row = head * (size_t) Hk,
                                  .v_row = head * (size_t) Hk,
                                  .k_head = head,
                                  .v_head = head,
                                  .k_type = type,
                                  .v_type = type,
                                  .mask = mask,
                                  .mask_stride = n_kv,
                                  .scale = 0.2f,
                                  .softcap = c % 5 == 1 ? 4.0f : 0.0f,
                                  .in_place = c % 2 == 0};
        const lathe_attention_set *sets[] = {&lathe_attention_scalar, &OTHER_SET};
        for (int s = 0; s < 2; s++) {
            a.out = s == 0 ? a_out : b_out;
            a.lse = s == 0 ? a_lse : b_lse;
            for (int64_t h = 0; h < Hk; h++)
                for (int64_t t = 0; t < T; t += lathe_attention_tile_rows(&a))
                    sets[s]->tile(&a, h, t);
        }
        if (memcmp(a_out, b_out, n_out * sizeof *q) != 0 ||
            memcmp(a_lse, b_lse, (size_t) (T * H) * sizeof *q) != 0) {
            printf("case %d: the sets differ\n", c);
            return 1;
        }
        free(k);
        free(v);
        free(q);
        free(a_out);
        free(b_out);
        free(a_lse);
        free(b_lse);
        free(mask);
    }
    for (uint32_t bits = 0; bits < 0xffff0000u; bits += 65521) { /* floats of all sizes */
        float x;
        uint16_t half[2];
        memcpy(&x, &bits, sizeof x);
        lathe_attention_scalar.to_half(&x, 1, &half[0]);
        OTHER_SET.to_half(&x, 1, &half[1]);
        const bool nans = (half[0] & 0x7fff) > 0x7c00 && (half[1] & 0x7fff) > 0x7c00;
        if (half[0] != half[1] && !nans) {
            printf("half of %g: %04x and %04x\n", (double) x, half[0], half[1]);
            return 1;
        }
    }
    printf("%d cases: the same bits\n", CASES);
    return 0;
}
