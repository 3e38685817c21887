/* bench_kernels.c - see bench_kernels.h. */
#include "cli/bench_kernels.h"

#include <stdlib.h>

#include "base/json.h"
#include "base/machine.h"
#include "tensor/cpu/measure.h"

/* The feed-forward matrices of a model of a billion parameters. */
enum { N_ROWS = 5632, N_COLS = 2048 };

static void report(const lathe_cpu *cpu, lathe_packed_type type, int32_t n_x, const lathe_product_speed *s,
                   double bandwidth, double peak, lathe_cli *cli) {
    /* What no kernel can beat: the weights must be read, and the operations done. */
    const double reading = bandwidth > 0 ? s->bytes / bandwidth : 0, working = peak > 0 ? s->ops / peak : 0;
    const double fraction = (reading > working ? reading : working) / s->seconds;
    const char *name = lathe_packed_type_name(type), *by = reading > working ? "memory" : "arithmetic";
    char shape[64];
    snprintf(shape, sizeof shape, "%dx%dx%d", N_ROWS, N_COLS, n_x);
    if (!cli->json) {
        fprintf(cli->out, "%-8s %-8s %-14s %9.3f %8.1f %9.1f  %5.1f%% (%s)\n", name, cpu->name, shape,
                1e3 * s->seconds, s->bytes / s->seconds * 1e-9, s->ops / s->seconds * 1e-9, 100 * fraction,
                by);
        return;
    }
    json_array_append_new(json_object_get(cli->result, "kernels"),
                          json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:s}", "name", name, "isa",
                                    cpu->name, "shape", shape, "ms", lathe_json_real(1e3 * s->seconds),
                                    "gb_per_s", lathe_json_real(s->bytes / s->seconds * 1e-9), "gop_per_s",
                                    lathe_json_real(s->ops / s->seconds * 1e-9), "fraction",
                                    lathe_json_real(fraction), "bound_by", by));
}

lathe_status lathe_bench_kernels(const int32_t *n_columns, int n, int n_threads, lathe_cli *cli,
                                 lathe_error *err) {
    const char *forced = getenv("LATHE_CPU");
    const lathe_cpu *cpu = lathe_cpu_best(forced != NULL && *forced != '\0' ? forced : NULL);
    if (cpu == NULL)
        return lathe_fail(err, LATHE_ERR_ARG,
                          "LATHE_CPU=%s: no kernels of ours to measure; scalar always is there", forced);
    const double bandwidth = lathe_measure_bandwidth(n_threads, 256u << 20);
    const double peak[2] = {lathe_measure_peak(cpu, false, n_threads),
                            lathe_measure_peak(cpu, true, n_threads)};
    if (cli->json) {
        json_object_set_new(cli->result, "kernels", json_array());
        json_object_set_new(cli->result, "memory_bandwidth", lathe_json_real(bandwidth));
        json_object_set_new(cli->result, "peak_gop_per_s",
                            json_pack("{s:o, s:o}", "bytes", lathe_json_real(peak[0] * 1e-9), "floats",
                                      lathe_json_real(peak[1] * 1e-9)));
        json_object_set_new(cli->result, "n_threads", json_integer(n_threads));
    } else {
        fprintf(
            cli->out,
            "%d thread%s; memory is read at %.1f GB/s; %s multiplies and adds %.0f GOP/s in bytes, %.0f in "
            "floats\n%-8s %-8s %-14s %9s %8s %9s  of what is possible\n",
            n_threads, n_threads == 1 ? "" : "s", bandwidth * 1e-9, cpu->name, peak[0] * 1e-9, peak[1] * 1e-9,
            "weights", "set", "shape", "ms", "GB/s", "GOP/s");
    }
    lathe_status st = LATHE_OK;
    for (int type = 0; type < LATHE_PACKED_TYPES && !st; type++)
        for (int i = 0; i < n && !st; i++) {
            lathe_product_speed s;
            const lathe_packed_type t = (lathe_packed_type) type;
            st = lathe_measure_product(cpu, t, N_ROWS, N_COLS, n_columns[i], n_threads, &s, err);
            if (!st) {
                report(cpu, t, n_columns[i], &s, bandwidth, peak[lathe_packed_takes_floats(t)], cli);
                st = lathe_progress_step(&cli->progress, "bench", type * n + i + 1, LATHE_PACKED_TYPES * n,
                                         err);
            }
        }
    return st;
}
