/* fuzz_fasta.c - any bytes as aligned sequences: symmetric distances of at most 5 by every model, or a
 * message. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lathe/tree.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes) {
    for (int model = LATHE_DNA_JC; model <= LATHE_DNA_HAMMING; model++) {
        lathe_error err = {0};
        lathe_distances dist;
        if (lathe_distances_fasta_parse((const char *) bytes, n_bytes, "fuzz.fa", (lathe_dna_model) model,
                                        n_bytes % 2 == 0, &dist, &err) != LATHE_OK) {
            if (!err.text[0] || strchr(err.text, '\n'))
                abort();
            continue;
        }
        for (int64_t i = 0; i < dist.n; i++)
            for (int64_t j = 0; j < dist.n; j++)
                if (dist.d[i * dist.n + j] != dist.d[j * dist.n + i] || !(dist.d[i * dist.n + j] >= 0) ||
                    dist.d[i * dist.n + j] > 5)
                    abort();
        lathe_distances_free(&dist);
    }
    return 0;
}
