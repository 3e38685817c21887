/* fuzz_trace.c - any bytes as a recorded trace: one that controllers can be replayed on, or a message. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz/input_file.h"
#include "lathe/decode.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes) {
    lathe_error err = {0};
    lathe_trace *trace = NULL;
    if (lathe_trace_read(input_file(bytes, n_bytes), &trace, &err) != LATHE_OK) {
        if (!err.text[0] || strchr(err.text, '\n'))
            abort();
        return 0;
    }
    static const char *const names[] = {"ucb", "exp3", "hazard", "hedge", "marginal", "fixed"};
    for (size_t i = 0; i < LATHE_LEN(names); i++) {
        lathe_replay r;
        memset(&err, 0, sizeof err);
        if (lathe_trace_replay(trace, names[i], 1, &r, &err) != LATHE_OK) {
            if (!err.text[0] || strchr(err.text, '\n'))
                abort();
            continue;
        }
        /* A round emits a token at least and costs something; the best arm is one of them. */
        if (!(r.rounds >= 1.0) || r.rounds > (double) r.tokens || !(r.cost > 0.0) || !isfinite(r.cost) ||
            r.best_arm < 0 || r.best_arm >= r.n_arms || !lathe_trace_arm_name(trace, r.best_arm))
            abort();
    }
    lathe_trace_free(trace);
    return 0;
}
