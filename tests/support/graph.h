/* graph.h - runs a graph whose tensors lie in their context's memory, on whatever processor backend there is:
 * linked in or a plug-in. */
#ifndef LATHE_TESTS_SUPPORT_GRAPH_H
#define LATHE_TESTS_SUPPORT_GRAPH_H

#include <ggml.h>

/* Fails the test unless the graph runs. */
void run_graph(struct ggml_cgraph *graph, int n_threads);

#endif
