/* verb_tree_exponent.c - `lathe tree exponent`: what two-phase learning gains, exactly. */
#include "base/json.h"
#include "cli/cli.h"
#include "lathe/tree.h"

typedef struct exponent_args {
    bool unused;
    double rho;
    int64_t p;
} exponent_args;

#define AT(field) offsetof(exponent_args, field)
// clang-format off
static const lathe_option options[] = {
    { .name = "rho", .group = "model", .arg = "R", .kind = LATHE_OPTION_REAL, .offset = AT(rho), .min = 1e-6, .max = 0.999999, .default_text = "0.8", .help = "correlation of every edge" },
    { .name = "p", .group = "model", .arg = "P", .kind = LATHE_OPTION_INT, .offset = AT(p), .min = 3, .max = 100000, .default_text = "20", .help = "number of nodes" },
};
// clang-format on
static const lathe_option *const tables[] = {options};
static const size_t sizes[] = {LATHE_LEN(options)};

static void defaults(void *args) {
    exponent_args *a = args;
    a->rho = 0.8;
    a->p = 20;
}

static lathe_status run(const void *args, lathe_cli *cli, lathe_error *err) {
    const exponent_args *a = args;
    lathe_exponent_design d;
    lathe_status st = lathe_exponent_active(a->rho, (int32_t) a->p, &d, err);
    if (st)
        return st;
    const double passive = lathe_exponent_chow_liu(a->rho);
    if (cli->json) {
        json_object_set_new(cli->result, "rho", lathe_json_real(a->rho));
        json_object_set_new(cli->result, "p", json_integer(a->p));
        json_object_set_new(cli->result, "exponent_chow_liu", lathe_json_real(passive));
        json_object_set_new(cli->result, "exponent_active", lathe_json_real(d.exponent));
        json_object_set_new(cli->result, "gain", lathe_json_real(d.gain));
        json_object_set_new(cli->result, "gamma", lathe_json_real(d.gamma));
        json_object_set_new(cli->result, "c", lathe_json_real(d.c));
        json_object_set_new(cli->result, "hub_gain", lathe_json_real(d.hub_gain));
        json_object_set_new(cli->result, "hub_c", lathe_json_real(d.hub_c));
        return LATHE_OK;
    }
    fprintf(cli->out,
            "error exponents per full vector, homogeneous tree, rho %g, %lld nodes (closed forms)\n"
            "  Chow-Liu          %.6f\n"
            "  two-phase design  %.6f   %.2f times (gamma %.2f, c %.2f)\n"
            "  large hub, worst  %.6f   %.2f times (c %.2f)\n",
            a->rho, (long long) a->p, passive, d.exponent, d.gain, d.gamma, d.c, d.hub_gain * passive,
            d.hub_gain, d.hub_c);
    return LATHE_OK;
}

extern const lathe_verb lathe_verb_tree_exponent;
const lathe_verb lathe_verb_tree_exponent = {
    .name = "tree exponent",
    .summary = "exact error exponents of passive and two-phase tree learning",
    .usage = "lathe tree exponent [--rho R] [--p P]",
    .examples = "lathe tree exponent --rho 0.9 --p 50",
    .schema = "lathe.tree-exponent/1",
    .options = {tables, sizes, 1},
    .args_size = sizeof(exponent_args),
    .defaults = defaults,
    .run = run,
};
