/* bench_attention.h - see bench_attention.c. */
#ifndef LATHE_TESTS_BENCH_ATTENTION_H
#define LATHE_TESTS_BENCH_ATTENTION_H

void bench_attention(void);

#endif
