/* lab.h - what a lab is and what it calls while it runs. One lab = one paper = one entry in labs.c. */
#ifndef LATHE_LAB_LAB_H
#define LATHE_LAB_LAB_H

#include <jansson.h>

#include "base/buf.h"
#include "base/plot.h"
#include "base/stats.h"
#include "lathe/lab.h"

typedef struct lathe_lab lathe_lab;

typedef struct lathe_lab_entry {
    lathe_lab_info info;
    lathe_status (*run)(lathe_lab *lab, lathe_error *err);
    int32_t n_seeds_quick;
} lathe_lab_entry;

/* A run of a lab. */
struct lathe_lab {
    const lathe_lab_entry *entry;
    bool quick, exact_only;
    int32_t n_seeds;
    uint64_t seed;
    lathe_lab_data data; /* and the two below: muon-curvature's */
    double val_s;
    bool full_a6;
    int32_t n_threads;
    const lathe_logger *logger;
    const lathe_progress *progress;
    /* below: lab.c's own */
    lathe_claim_result *results; /* [n_claims] */
    lathe_buf runs;              /* runs.csv */
    json_t *figures;             /* what was plotted */
    struct lathe_lab_page *page; /* tables and drawings in the order of the calls */
};

/* The table, labs.c, in the order of `lathe lab`; NULL-terminated. */
extern const lathe_lab_entry *const lathe_labs[];

/* lathe_lab_run for an entry that need not be in the table. */
LATHE_NODISCARD lathe_status lathe_lab_run_entry(const lathe_lab_entry *entry, const lathe_lab_params *params,
                                                 lathe_lab_result *result, lathe_error *err);

/* Sets what was measured for the claim `id`: mean and 95% interval of the sample over seeds. INTERNAL for an
 * id that the lab has not. */
LATHE_NODISCARD lathe_status lathe_lab_measure(lathe_lab *lab, const char *id, const lathe_sample *sample,
                                               lathe_error *err);
/* As above for a quantity without chance: a closed form, an exhaustive check over n cases. */
LATHE_NODISCARD lathe_status lathe_lab_measure_exact(lathe_lab *lab, const char *id, double value, int64_t n,
                                                     lathe_error *err);
/* A line of runs.csv: seed (-1: none), setting, quantity, where along the run (step; NaN: none), value. */
LATHE_NODISCARD lathe_status lathe_lab_record(lathe_lab *lab, int64_t seed, const char *setting,
                                              const char *quantity, double at, double value,
                                              lathe_error *err);

/* A drawing of the report; its data go into the page's data block too. Everything is copied. */
LATHE_NODISCARD lathe_status lathe_lab_figure(lathe_lab *lab, const lathe_plot *plot, const char *caption,
                                              lathe_error *err);
/* A drawing's finding, from the numbers themselves: "where: name value, name value." */
void lathe_lab_finding(char *out, size_t size, const char *where, const char *const *names,
                       const double *values, size_t n);
/* A table of key numbers: header[n_cols], then cells[n_rows * n_cols]; copied. The first column is text. */
LATHE_NODISCARD lathe_status lathe_lab_table(lathe_lab *lab, const char *caption, const char *const *header,
                                             const char *const *cells, int32_t n_rows, int32_t n_cols,
                                             lathe_error *err);
/* A remark of the report: what was chosen, what a reader should know of the figures. */
LATHE_NODISCARD lathe_status lathe_lab_note(lathe_lab *lab, const char *text, lathe_error *err);

#endif
