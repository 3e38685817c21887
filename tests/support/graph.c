/* graph.c - see graph.h. */
#include "support/graph.h"

#include "support/check.h"
#include "tensor/device.h"

void run_graph(struct ggml_cgraph *graph, int n_threads) {
    ggml_backend_t cpu = lathe_backend_cpu(n_threads);
    assert_non_null(cpu);
    assert_int_equal(ggml_backend_graph_compute(cpu, graph), GGML_STATUS_SUCCESS);
    ggml_backend_free(cpu);
}
