/* learner.h - what the files of the Chow-Liu learner share: its data, a worker's scratch, weights of pairs.
 */
#ifndef LATHE_TREE_LEARNER_H
#define LATHE_TREE_LEARNER_H

#include "base/thread.h"
#include "tree/popcount.h"
#include "tree/span.h"
#include "tree/tree.h"

/* How weights come about: popcounts of packed columns, a matrix product, or a loop over rows. */
typedef enum lathe_pair_source { LATHE_PAIR_BITS, LATHE_PAIR_GEMM, LATHE_PAIR_PLAIN } lathe_pair_source;

typedef struct lathe_chow_liu_worker {
    lathe_pair *list; /* [capacity] */
    int64_t n_list, capacity;
    int64_t try_at;
    lathe_pair *found; /* [2 tile * 16] */
    double floor;      /* the list holds a spanning tree without lighter pairs: they are not needed */
    int32_t *up;
    double *w, *wt;   /* [tile * tile], and turned round */
    uint32_t *counts; /* [tile * tile], or the table of a pair */
    double *best;     /* [2 tile] */
    int32_t *from;    /* [2 tile] */
} lathe_chow_liu_worker;

typedef struct lathe_chow_liu_learner {
    const lathe_table *table;
    const lathe_chow_liu_params *params;
    lathe_tie_order order;
    lathe_pair_source source;
    int32_t p, tile, n_blocks;
    int64_t first_tile;    /* that lathe_chow_liu_tiles begins with */
    int64_t tile_step;     /* to its next */
    const int32_t *global; /* names of the columns among p_all; NULL: their own numbers */
    int32_t p_all;
    int64_t n, min_pairs;
    bool bias, any_missing;
    bool *discrete; /* NULL unless kinds are mixed */
    int32_t max_states;
    /* bits */
    uint64_t *bits; /* [p][n_words], rows of 64 bytes */
    int64_t n_words;
    uint32_t *ones;
    double *xlogx;  /* [n + 1] */
    double *margin; /* [p]: sum of x log x over the column's two counts */
    double *spread; /* [p]: product of the two counts */
    const lathe_popcount_kernel *kernel;
    /* matrix product: centred columns of length 1, one after another, padded to whole tiles */
    double *unit;
    double *variance; /* [p] with 1/n */
    /* pairs that may not be used: u * p + v, sorted */
    int64_t *banned;
    lathe_chow_liu_worker *workers;
    int n_workers;
    int n_processes; /* that share the pairs; 0: 1 */
} lathe_chow_liu_learner;

/* How several processes that hold the same table share its tiles. */
typedef struct lathe_chow_liu_share {
    int rank, n_ranks;
    void *user;
    /* The first failure of any process becomes that of all. */
    lathe_status (*agree)(void *user, lathe_status st, lathe_error *err);
    /* The lists of all processes' first workers into rank 0's, thinned. */
    lathe_status (*merge)(void *user, lathe_chow_liu_learner *l, lathe_error *err);
} lathe_chow_liu_share;
/* lathe_chow_liu by all processes of a share (NULL: alone), called with the same table and parameters; only
 * rank 0 gets a tree. */
LATHE_NODISCARD lathe_status lathe_chow_liu_shared(const lathe_table *table,
                                                   const lathe_chow_liu_params *params,
                                                   const lathe_chow_liu_share *share, lathe_tree *tree,
                                                   lathe_chow_liu_info *info, lathe_error *err);

/* LATHE_ERR_INPUT where all pairs would take longer than the parameters allow. source, p_all, n and the
 * numbers of workers and processes must be set. */
LATHE_NODISCARD lathe_status lathe_chow_liu_affordable(const lathe_chow_liu_learner *l, lathe_error *err);

typedef struct lathe_pair_value {
    double weight, information; /* what is ordered; plain information */
    double dof;
    int64_t n;
} lathe_pair_value;

double lathe_xlogx(double x);
/* One pair on its own, the same bits as in its tile. counts: a worker's scratch. */
void lathe_pair_weigh(const lathe_chow_liu_learner *l, int32_t i, int32_t j, uint32_t *counts,
                      lathe_pair_value *out);
/* As above by a loop over rows, whatever the source. */
void lathe_pair_weigh_plain(const lathe_chow_liu_learner *l, int32_t i, int32_t j, uint32_t *counts,
                            lathe_pair_value *out);
/* Information of a 2 x 2 table from its count of (1, 1). */
double lathe_pair_information_2x2(const lathe_chow_liu_learner *l, int32_t i, int32_t j, uint32_t c11);
/* Differential entropy of a normal law. */
double lathe_normal_entropy(double variance);
/* Entropy of a column without missing cells; differential for real ones. */
double lathe_column_entropy(const lathe_column *c, int64_t n);

/* Columns of tile q of the upper triangle, row by row. */
void lathe_chow_liu_place(const lathe_chow_liu_learner *l, int64_t q, int32_t *i0, int32_t *ni, int32_t *j0,
                          int32_t *nj);
/* w->counts of a tile of packed columns; of a square one the upper triangle. */
void lathe_chow_liu_count(const lathe_chow_liu_learner *l, lathe_chow_liu_worker *w, int32_t i0, int32_t ni,
                          int32_t j0, int32_t nj);
/* Fills the lists with the pairs that can matter (floor.c), where that is possible: *done. */
LATHE_NODISCARD lathe_status lathe_chow_liu_by_floor(lathe_chow_liu_learner *l, lathe_pool *pool, bool *done,
                                                     lathe_error *err);
/* A column's number in the whole. */
static inline int32_t lathe_chow_liu_id(const lathe_chow_liu_learner *l, int32_t column) {
    return l->global != NULL ? l->global[column] : column;
}
/* Allocates n_workers workers for tiles of l->tile columns and tables of l->max_states. */
LATHE_NODISCARD lathe_status lathe_chow_liu_workers(lathe_chow_liu_learner *l, lathe_error *err);
void lathe_chow_liu_workers_free(lathe_chow_liu_learner *l);
/* One tile: its forest goes to the worker's list. */
void lathe_chow_liu_tile(const lathe_chow_liu_learner *l, lathe_chow_liu_worker *w, int32_t i0, int32_t ni,
                         int32_t j0, int32_t nj);
/* For lathe_parallel_for over tiles of the upper triangle: appends each tile's forest to its worker's list.
 */
void lathe_chow_liu_tiles(void *learner, int worker, int64_t piece, int64_t begin, int64_t end);
/* Leaves the maximum spanning forest of a worker's list. */
void lathe_chow_liu_thin(const lathe_chow_liu_learner *l, lathe_chow_liu_worker *w);
/* Adds a pair to a list. */
void lathe_chow_liu_push(const lathe_chow_liu_learner *l, lathe_chow_liu_worker *w, int32_t u, int32_t v,
                         double weight);

#endif
