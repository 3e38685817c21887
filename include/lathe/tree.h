/** @file tree.h
 * Tree-structured models: tables of samples in, trees, likelihoods and inferences out.
 *
 * Trees of observed variables (Chow-Liu), trees with hidden nodes from distances (neighbour joining, BIONJ,
 * spectral NJ, recursive grouping and its Chow-Liu form), robust distances, active learning. Logarithms are
 * natural: information and distances are in nats. Node numbers below n_observed are columns or taxa in their
 * order; hidden nodes follow. */
#ifndef LATHE_TREE_H
#define LATHE_TREE_H

#include "lathe/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* --- Data ---------------------------------------------------------------------------------------- */

/** A discrete cell without a value. */
#define LATHE_CODE_MISSING UINT16_MAX

/** One variable: either codes with states, or real values (NaN: missing). */
typedef struct lathe_column {
    char *name;
    bool discrete;
    int32_t n_states; /**< discrete: number of states seen, at least 1 */
    char **states;    /**< [n_states], sorted (numbers by value) */
    uint16_t *codes;  /**< [n_rows], NULL unless discrete */
    double *values;   /**< [n_rows], NULL where discrete */
    int64_t n_missing;
} lathe_column;

typedef struct lathe_table {
    lathe_column *columns; /**< [n_columns] */
    int32_t n_columns;
    int64_t n_rows;
} lathe_table;

/** How cells become columns. Zero it, then set what differs. */
typedef struct lathe_table_params {
    int32_t max_states; /**< most states of a discrete column; 0: 64 */
    int32_t bins;       /**< > 1: real columns become this many equally full bins */
    const char *ignore; /**< names of columns to leave out, commas between; NULL: none */
    int32_t
        kind; /**< 0: by content (whole numbers with few values are discrete), 1: all discrete, 2: all real */
} lathe_table_params;

/** Reads CSV, TSV ("-": stdin) or, by its name, NPY (columns x0, x1, ...; a third dimension gives x0.1, ...).
 * Errors name line and column: rows of different length, duplicate names, text among numbers, no rows. */
LATHE_API LATHE_NODISCARD lathe_status lathe_table_read(const char *path, const lathe_table_params *params,
                                                        lathe_table *table, lathe_error *err);
/** As above from CSV text in memory. */
LATHE_API LATHE_NODISCARD lathe_status lathe_table_parse(const char *text, size_t n_bytes, const char *name,
                                                         const lathe_table_params *params, lathe_table *table,
                                                         lathe_error *err);
LATHE_API void lathe_table_free(lathe_table *table);
/** CSV with header; free() *text. */
LATHE_API LATHE_NODISCARD lathe_status lathe_table_text(const lathe_table *table, char **text,
                                                        size_t *n_bytes, lathe_error *err);

/* --- Trees --------------------------------------------------------------------------------------- */

/** An edge. What is not known is NaN. */
typedef struct lathe_tree_edge {
    int32_t u, v;      /**< u < v */
    double weight;     /**< information in nats, or what the learner maximised */
    double length;     /**< >= 0 for most learners; NJ may give negative ones */
    double support;    /**< share of bootstrap trees that have the edge */
    double margin;     /**< active: smallest lead over a replacement, in agreements */
    double confidence; /**< active: posterior probability against its replacements */
} lathe_tree_edge;

/** A tree, or a forest where n_edges < n_nodes - 1. */
typedef struct lathe_tree {
    char **names; /**< [n_nodes] */
    lathe_tree_edge *edges;
    int32_t n_nodes, n_observed, n_edges;
} lathe_tree;

LATHE_API void lathe_tree_free(lathe_tree *tree);
/** A tree on nodes without edges, room for n_nodes - 1; names[n_observed] copied, hidden ones _h1, _h2, ...
 */
LATHE_API LATHE_NODISCARD lathe_status lathe_tree_new(int32_t n_nodes, int32_t n_observed, char *const *names,
                                                      lathe_tree *tree, lathe_error *err);
/** Reads Newick: quoted names, comments in [], lengths, labels that are numbers as support of the edge above,
 * named inner nodes as observed ones. Depth is bounded by memory alone. */
LATHE_API LATHE_NODISCARD lathe_status lathe_tree_parse_newick(const char *text, size_t n_bytes,
                                                               lathe_tree *tree, lathe_error *err);

/** Output formats of lathe_tree_text. */
typedef enum lathe_tree_format {
    LATHE_TREE_NEWICK,
    LATHE_TREE_DOT,
    LATHE_TREE_GRAPHML,
    LATHE_TREE_EDGES, /**< CSV: u,v,weight,length,support,margin,kind */
    LATHE_TREE_SVG,
    LATHE_TREE_HTML,
    LATHE_TREE_ASCII,
} lathe_tree_format;

/** Writes the tree as text, rooted at node `root` (-1: the middle of the tree); free() *text. */
LATHE_API LATHE_NODISCARD lathe_status lathe_tree_text(const lathe_tree *tree, lathe_tree_format format,
                                                       int32_t root, char **text, size_t *n_bytes,
                                                       lathe_error *err);

/** The tree with a root on an edge, its last node (n_nodes of tree): halfway along the longest path between
 * observed nodes (outgroup -1), or halfway between a leaf and the rest. LATHE_ERR_INPUT: a forest, edges
 * without length or with a negative one, an outgroup that is no leaf. */
LATHE_API LATHE_NODISCARD lathe_status lathe_tree_root_on_edge(const lathe_tree *tree, int32_t outgroup,
                                                               lathe_tree *out, lathe_error *err);
/** The tree with every observed inner node as a leaf at distance 0 from a hidden node that takes its place.
 */
LATHE_API LATHE_NODISCARD lathe_status lathe_tree_names_at_leaves(const lathe_tree *tree, lathe_tree *out,
                                                                  lathe_error *err);

/** Robinson-Foulds on the names that both trees share as observed nodes. */
typedef struct lathe_tree_difference {
    int32_t n_a, n_b;                       /**< splits of either tree that have two names on each side */
    int32_t missing, extra;                 /**< splits of a alone, of b alone */
    double normalised;                      /**< (missing + extra) / (n_a + n_b); 0 where both are 0 */
    int32_t edges_a, edges_b, edges_common; /**< edges between observed nodes, by name */
    double length_correlation;              /**< of the common splits' lengths; NaN below 3 */
} lathe_tree_difference;
LATHE_API LATHE_NODISCARD lathe_status lathe_tree_compare(const lathe_tree *a, const lathe_tree *b,
                                                          lathe_tree_difference *out, lathe_error *err);

/* --- Chow-Liu ------------------------------------------------------------------------------------ */

typedef enum lathe_weight {
    LATHE_WEIGHT_AUTO,    /**< information of each pair's own kind */
    LATHE_WEIGHT_MI,      /**< mutual information; all columns discrete */
    LATHE_WEIGHT_AGREE,   /**< number of equal cells; two states each */
    LATHE_WEIGHT_ABSCORR, /**< |2 N/n - 1|; two states each */
    LATHE_WEIGHT_GAUSS,   /**< -0.5 log(1 - r^2); all columns real */
} lathe_weight;
typedef enum lathe_prune {
    LATHE_PRUNE_NONE,
    LATHE_PRUNE_BIC,
    LATHE_PRUNE_GTEST,
    LATHE_PRUNE_THR
} lathe_prune;

/** Zero it for the defaults. */
typedef struct lathe_chow_liu_params {
    lathe_weight weight;
    lathe_prune prune;
    double p_value;      /**< gtest: level; 0: 0.05 / number of pairs */
    double beta;         /**< thr: keep information >= n^-beta; 0: 0.5 */
    double smoothing;    /**< added to every cell count */
    bool bias;           /**< subtract d/(2n); on by itself with mixed or missing cells */
    bool ties_by_index;  /**< else by a hash of the seed: index order flatters */
    int32_t n_bootstrap; /**< resamples for the support; 0: none */
    int64_t min_pairs;   /**< with missing cells: pairs seen in fewer rows are not used; 0: 30, at most n/2 */
    uint64_t seed;
    double max_seconds; /**< fail at once where all pairs would take longer, by estimate; 0: no limit */
    int n_threads;      /**< 0: 1 */
    const int32_t *whitelist, *blacklist; /**< pairs of columns, [2 n_...] */
    int32_t n_whitelist, n_blacklist;
    const lathe_progress *progress;
} lathe_chow_liu_params;

typedef struct lathe_chow_liu_info {
    double log_likelihood; /**< of the data under the tree with maximum-likelihood parameters */
    double bic;            /**< log-likelihood - parameters * log(n) / 2 */
    double sum_weight;
    int32_t n_components, n_constant;
    int64_t min_n; /**< smallest number of rows that a pair shares */
    double seconds;
    const char *kernel; /**< of the counting */
} lathe_chow_liu_info;

/** Leaves out the rows that have a missing cell, and states that no other row has. LATHE_ERR_INPUT: no row is
 * complete. On failure the table can only be freed. */
LATHE_API LATHE_NODISCARD lathe_status lathe_table_drop_incomplete(lathe_table *table, int64_t *n_dropped,
                                                                   lathe_error *err);
/** The strongest dependence of a column's gaps on another column's values. */
typedef struct lathe_missing_dependence {
    int32_t masked, other; /**< columns; -1: no pair could be tested */
    double phi;            /**< size, >= 0: sqrt(chi-squared / n) */
    double p_value;        /**< smallest of all tests, times their number (Bonferroni), at most 1 */
    int64_t n_tests;
} lathe_missing_dependence;
/** Tests gaps against values: pairs with expected counts (real columns: groups) of at least 5. Cost: rows
 * times columns times columns with gaps. */
LATHE_API LATHE_NODISCARD lathe_status lathe_table_missing_dependence(const lathe_table *table,
                                                                      lathe_missing_dependence *out,
                                                                      lathe_error *err);
/** Pairs of columns from a file for whitelist or blacklist: two names a line (CSV, TSV; further columns and a
 * header u,v or from,to are passed over). free() *pairs, [2 * *n_pairs]. Unknown names are errors with their
 * line. */
LATHE_API LATHE_NODISCARD lathe_status lathe_column_pairs_read(const char *path, const lathe_table *table,
                                                               int32_t **pairs, int32_t *n_pairs,
                                                               lathe_error *err);
/** The maximum-weight spanning tree (or forest) of the pairs' information. The same bits at any number of
 * threads. Cost O(p^2 n / 64) words for two-state columns. LATHE_ERR_INPUT: more than max_seconds. */
LATHE_API LATHE_NODISCARD lathe_status lathe_chow_liu(const lathe_table *table,
                                                      const lathe_chow_liu_params *params, lathe_tree *tree,
                                                      lathe_chow_liu_info *info, lathe_error *err);

/** The same tree by all MPI ranks together, which call this with the same arguments. Two-state columns
 * without gaps, with plain mutual information, no pruning, bootstrap or lists: each rank holds three shares
 * of the packed columns, so that more columns fit than one machine holds; NPY files of whole numbers are read
 * share by share. All else: every rank reads the whole table (how: as for lathe_table_read, NULL: its
 * defaults) and does its part of the pairs. Only on rank 0 (*root) the tree has nodes. Starts MPI if need be;
 * lathe_ranks_end ends it. A rank that fails fails all, with one message. LATHE_ERR_UNSUPPORTED where the
 * library was built without MPI. */
LATHE_API LATHE_NODISCARD lathe_status lathe_chow_liu_ranks(const char *path, const lathe_table_params *how,
                                                            const lathe_chow_liu_params *params, bool *root,
                                                            lathe_tree *tree, lathe_chow_liu_info *info,
                                                            lathe_error *err);
LATHE_API void lathe_ranks_end(void);

/** Zero it for the defaults. */
typedef struct lathe_tan_params {
    int32_t class_column;
    int32_t n_folds; /**< of the cross-validation; 0: none */
    double alpha;    /**< pseudo-count of each row of probabilities; 0: 1 */
    uint64_t seed;   /**< of ties and folds */
    int n_threads;   /**< 0: 1 */
    const lathe_progress *progress;
} lathe_tan_params;
typedef struct lathe_tan_info {
    int64_t n_rows;        /**< with a class */
    double log_likelihood; /**< of all columns with maximum-likelihood parameters; NaN with missing cells */
    double bic;
    double accuracy;    /**< on the rows learned from */
    double cv_accuracy; /**< on rows left out, over the folds; NaN without */
    double majority;    /**< share of the commonest class: what guessing gets */
    double seconds;
} lathe_tan_info;
/** Tree-augmented naive Bayes: the class is a parent of every feature, and `tree` joins the features (the
 * columns but the class) by information given the class. All columns discrete. Rows without a class are left
 * out; a pair uses the rows that have both. Source: Friedman, Geiger, Goldszmidt 1997. */
LATHE_API LATHE_NODISCARD lathe_status lathe_tan(const lathe_table *table, const lathe_tan_params *params,
                                                 lathe_tree *tree, lathe_tan_info *info, lathe_error *err);

/* --- Models on trees and inference ----------------------------------------------------------------- */

/** A distribution that factors along a forest. Discrete variables have discrete parents or none. */
typedef struct lathe_tree_model {
    lathe_table variables; /**< names, kinds and states, no rows */
    bool real;             /**< no variable is discrete */
    bool *hidden;          /**< [n_columns] never observed: hidden nodes of a latent tree */
    int32_t *parent;       /**< [n_columns], -1 at roots */
    int32_t *order;        /**< [n_columns], parents first */
    /** [n_columns]. Discrete: probabilities [states of the parent, or 1][states]. Real: x given its real
     * parent y is normal with mean p[0] + p[1] y and variance p[2] > 0 (y = 0 without a parent); given state
     * r of a discrete parent of k states, with mean p[r] and variance p[k]. */
    double **p;
} lathe_tree_model;
LATHE_API void lathe_tree_model_free(lathe_tree_model *model);
/** Maximum likelihood on the tree's edges, from the rows that an edge's two columns share; `smoothing` is
 * added to every cell count. A state never seen with its edge's other column has uniform children, or normal
 * ones around the overall mean. LATHE_ERR_INPUT: hidden nodes (lathe_latent_model_fit), a real column without
 * two different values, a discrete node that only a real one joins to other discrete ones. */
LATHE_API LATHE_NODISCARD lathe_status lathe_tree_model_fit(const lathe_table *table, const lathe_tree *tree,
                                                            double smoothing, lathe_tree_model *model,
                                                            lathe_error *err);
/** A Gaussian model of a latent tree over the real columns table has, one a node: correlations exp(-length)
 * along edges (a negative length counts as 0), signs, means and variances from the columns; hidden nodes have
 * mean 0 and variance 1. robust: medians, median absolute deviations and signs of quadrants instead.
 * LATHE_ERR_INPUT: discrete columns, edges without length, other numbers of columns and observed nodes. */
LATHE_API LATHE_NODISCARD lathe_status lathe_latent_model_fit(const lathe_table *table,
                                                              const lathe_tree *tree, bool robust,
                                                              lathe_tree_model *model, lathe_error *err);
/** The model as JSON (schema lathe.tree-model/1), and back; free() *text. Bad input names the variable. */
LATHE_API LATHE_NODISCARD lathe_status lathe_tree_model_text(const lathe_tree_model *model, char **text,
                                                             size_t *n_bytes, lathe_error *err);
LATHE_API LATHE_NODISCARD lathe_status lathe_tree_model_parse(const char *text, size_t n_bytes,
                                                              const char *name, lathe_tree_model *model,
                                                              lathe_error *err);

/** What inference gives for each variable. */
typedef struct lathe_tree_belief {
    double *p;             /**< discrete: [states] probabilities */
    double mean, variance; /**< real; variance 0 where observed */
    int32_t map;           /**< discrete: its state in the most probable joint assignment */
} lathe_tree_belief;
/** Marginals given evidence[n_columns] (a code or a value; NaN: not observed) by belief propagation, in
 * O(sum of products of states). *log_evidence: log probability (density) of the evidence. beliefs: NULL, or
 * [n_columns]; their p come in one block, which beliefs[0].p begins
 * (NULL where no variable is discrete): free(beliefs[0].p). LATHE_ERR_INPUT: evidence of probability 0
 * where beliefs are wanted, a code out of range. */
LATHE_API LATHE_NODISCARD lathe_status lathe_tree_infer(const lathe_tree_model *model, const double *evidence,
                                                        double *log_evidence, lathe_tree_belief *beliefs,
                                                        lathe_error *err);
/** Evidence of every row of a table whose columns and states are matched by name: [n_rows * n_columns of the
 * model]. Columns that the table lacks are not observed. free() *evidence. */
LATHE_API LATHE_NODISCARD lathe_status lathe_tree_evidence(const lathe_tree_model *model,
                                                           const lathe_table *table, double **evidence,
                                                           lathe_error *err);
/** n rows from the model into values[n * n_columns], codes or values. */
LATHE_API LATHE_NODISCARD lathe_status lathe_tree_sample(const lathe_tree_model *model, int64_t n,
                                                         uint64_t seed, double *values, lathe_error *err);

/* --- Data from known structures --------------------------------------------------------------------- */

/** A Bayesian network of discrete variables. */
typedef struct lathe_bayes_net {
    lathe_table variables; /**< names and states, no rows */
    int32_t *n_parents;    /**< [n_columns] */
    int32_t **parents;     /**< [n_columns][n_parents] */
    double **p;            /**< [n_columns][states of the parents, the last fastest][states] */
    int32_t *order;        /**< [n_columns], parents first */
} lathe_bayes_net;
/** Reads the Bayesian Interchange Format (BIF 0.15: network, variable, probability with rows, table or
 * default; comments and properties are passed over). Errors name the line: unknown names, missing or repeated
 * rows, sums that are not 1, cycles. */
LATHE_API LATHE_NODISCARD lathe_status lathe_bayes_net_parse(const char *text, size_t n_bytes,
                                                             const char *name, lathe_bayes_net *net,
                                                             lathe_error *err);
LATHE_API void lathe_bayes_net_free(lathe_bayes_net *net);
/** n independent rows; the same seed gives the same rows. */
LATHE_API LATHE_NODISCARD lathe_status lathe_bayes_net_sample(const lathe_bayes_net *net, int64_t n,
                                                              uint64_t seed, lathe_table *table,
                                                              lathe_error *err);

/** Shapes of trees; what `size` means. */
typedef enum lathe_tree_shape {
    LATHE_SHAPE_CHAIN,         /**< observed nodes */
    LATHE_SHAPE_STAR,          /**< observed nodes, the first being the hub */
    LATHE_SHAPE_BINARY,        /**< observed nodes; node i hangs on (i - 1) / 2 */
    LATHE_SHAPE_RANDOM,        /**< observed nodes; each hangs on a uniformly chosen earlier one */
    LATHE_SHAPE_HMM,           /**< hidden chain of `size` nodes, a leaf each, a second one at both ends */
    LATHE_SHAPE_DOUBLE_BINARY, /**< two complete binary trees of this depth, joined at the roots; leaves
                                  observed */
    LATHE_SHAPE_MARY,          /**< complete 3-ary tree of this depth, leaves observed */
    LATHE_SHAPE_DOUBLE_STAR,   /**< two joined hidden hubs with `size` leaves each */
} lathe_tree_shape;
/** Their names in this order, NULL-terminated: "chain", "star", ... */
LATHE_API const char *const *lathe_tree_shape_names(void);
/** Nodes x1, x2, ... without edge lengths. */
LATHE_API LATHE_NODISCARD lathe_status lathe_tree_shape_new(lathe_tree_shape shape, int32_t size,
                                                            uint64_t seed, lathe_tree *tree,
                                                            lathe_error *err);
/** Edge lengths drawn uniformly from a range. */
LATHE_API LATHE_NODISCARD lathe_status lathe_tree_draw_lengths(lathe_tree *tree, double shortest,
                                                               double longest, uint64_t seed,
                                                               lathe_error *err);
/** Rows of a homogeneous two-state tree: fair coins, every edge of correlation rho; observed nodes alone. */
LATHE_API LATHE_NODISCARD lathe_status lathe_tree_draw_ising(const lathe_tree *tree, double rho, int64_t n,
                                                             uint64_t seed, uint32_t trial,
                                                             lathe_table *table, lathe_error *err);
/** Rows of a Gaussian tree of vectors: root standard normal, child = a O parent + sqrt(1 - a^2) noise with O
 * a random rotation and a = exp(-length/dim), so that the information distance of an edge is its length.
 * Columns NAME, or NAME.1, NAME.2, ... for dim > 1. */
LATHE_API LATHE_NODISCARD lathe_status lathe_tree_draw_gaussian(const lathe_tree *tree, int32_t dim,
                                                                int64_t n, uint64_t seed, uint32_t trial,
                                                                lathe_table *table, lathe_error *err);

typedef enum lathe_corruption {
    LATHE_CORRUPT_NONE,
    LATHE_CORRUPT_UNIFORM,  /**< uniform in [-2A, 2A] */
    LATHE_CORRUPT_CONSTANT, /**< A or -A at random */
    LATHE_CORRUPT_HMM,      /**< A times rows of another Markov chain over the nodes */
    LATHE_CORRUPT_ROWS,     /**< the same rows in all nodes, A or -A for the whole row */
} lathe_corruption;
/** Replaces k rows of every node (dim columns each); the rows are drawn anew for each node, but for ROWS. */
LATHE_API LATHE_NODISCARD lathe_status lathe_table_corrupt(lathe_table *table, int32_t dim,
                                                           lathe_corruption kind, int64_t k, double amplitude,
                                                           uint64_t seed, uint32_t trial, lathe_error *err);

/* --- Distances and latent trees ------------------------------------------------------------------- */

/** Symmetric distances between named things. */
typedef struct lathe_distances {
    char **names; /**< [n] */
    double *d;    /**< [n * n], zero diagonal */
    int32_t n;
    int32_t n_saturated; /**< pairs too far for the data to tell */
} lathe_distances;
LATHE_API void lathe_distances_free(lathe_distances *dist);
/** PHYLIP (square or lower triangle) or CSV with names in the first row and column. Errors name line and
 * column: not symmetric (unless symmetrise: the mean), negative, a diagonal that is not 0, no number. */
LATHE_API LATHE_NODISCARD lathe_status lathe_distances_read(const char *path, bool symmetrise,
                                                            lathe_distances *dist, lathe_error *err);
/** How differences of aligned nucleotide sequences become distances (substitutions a site). */
typedef enum lathe_dna_model {
    LATHE_DNA_JC,     /**< Jukes-Cantor: -3/4 log(1 - 4/3 h), h the share of differing sites */
    LATHE_DNA_K2P,    /**< Kimura: transitions (A-G, C-T) and transversions apart */
    LATHE_DNA_LOGDET, /**< paralinear (Lake): the bases' shares may differ between sequences */
    LATHE_DNA_HAMMING /**< h itself */
} lathe_dna_model;
/** Distances of the sequences of a FASTA file ("-": stdin), which must be aligned: of one length. U is T; of
 * a pair the sites where either is not A, C, G or T are left out. A pair that the model gives no distance up
 * to 5 gets 5 and counts as saturated, or fails where strict. Cost O(n^2 sites / 64) words. LATHE_ERR_INPUT
 * names line and column, or the pair. */
LATHE_API LATHE_NODISCARD lathe_status lathe_distances_fasta_read(const char *path, lathe_dna_model model,
                                                                  bool strict, lathe_distances *dist,
                                                                  lathe_error *err);
/** The same from memory; name stands in messages. */
LATHE_API LATHE_NODISCARD lathe_status lathe_distances_fasta_parse(const char *text, size_t n_bytes,
                                                                   const char *name, lathe_dna_model model,
                                                                   bool strict, lathe_distances *dist,
                                                                   lathe_error *err);

LATHE_API LATHE_NODISCARD lathe_status lathe_distances_parse(const char *text, size_t n_bytes,
                                                             const char *name, bool symmetrise,
                                                             lathe_distances *dist, lathe_error *err);
/** PHYLIP text with 17 digits; free() it. */
LATHE_API LATHE_NODISCARD lathe_status lathe_distances_text(const lathe_distances *dist, char **text,
                                                            size_t *n_bytes, lathe_error *err);

typedef struct lathe_distance_params {
    int32_t dim;      /**< columns a node; 0: 1 */
    int64_t truncate; /**< products dropped per covariance, largest first; -1: 2 round(sqrt(n) / 2) */
    bool robust;      /**< centre by the median (else by the mean) */
    int n_threads;
} lathe_distance_params;
/** Information distances of the table's columns: vectors of `dim` real columns, or discrete columns
 * (log-determinants). LATHE_ERR_INPUT: a constant column, a missing cell in vectors, columns no multiple. */
LATHE_API LATHE_NODISCARD lathe_status lathe_distances_from_table(const lathe_table *table,
                                                                  const lathe_distance_params *params,
                                                                  lathe_distances *dist, lathe_error *err);
/** (1/(n - n1)) * sum of a_t b_t without the n1 products of largest size (ties: the later index stays).
 * scratch: [2 n] doubles. */
LATHE_API double lathe_truncated_product(const double *a, const double *b, int64_t n, int64_t n1,
                                         double *scratch);

typedef enum lathe_latent_method {
    LATHE_LATENT_NJ,
    LATHE_LATENT_BIONJ,
    LATHE_LATENT_SNJ,
    LATHE_LATENT_RG,
    LATHE_LATENT_CLRG,
} lathe_latent_method;

/** What neighbour joining's negative lengths become. */
typedef enum lathe_negative {
    LATHE_NEGATIVE_KEEP,
    LATHE_NEGATIVE_ZERO,    /**< 0 */
    LATHE_NEGATIVE_TRANSFER /**< 0, and the sibling's length is less by as much: their distance stays; 0 at
                               the last three nodes */
} lathe_negative;
/** Zero it for the defaults. */
typedef struct lathe_latent_params {
    lathe_latent_method method;
    double eps;      /**< RG: grouping threshold; 0: 0.8 of the lower quartile of NJ's inner edges */
    double tau;      /**< RG: distances beyond are not looked at; 0: three times the median tree edge; inf */
    double contract; /**< shorter edges at hidden nodes are merged; 0: eps / 2 */
    lathe_negative negative; /**< NJ and BIONJ */
    bool no_refine;          /**< CLRG without the sweep over high-degree nodes */
    const lathe_progress *progress;
} lathe_latent_params;
typedef struct lathe_latent_info {
    double eps, tau;
    int32_t n_forced, n_hidden;
    double seconds;
} lathe_latent_info;

/** The tree behind the distances. One or two taxa give a node or an edge. NJ: O(n^3) at worst with rows
 * passed over by a bound, ties to the smallest indices. */
LATHE_API LATHE_NODISCARD lathe_status lathe_latent_tree(const lathe_distances *dist,
                                                         const lathe_latent_params *params, lathe_tree *tree,
                                                         lathe_latent_info *info, lathe_error *err);

typedef struct lathe_tree_bound {
    double kl_min,
        kl_max;   /**< divergence of a row's law from that of the nearest and farthest neighbour, nats */
    int32_t edge; /**< inner edge of the nearest neighbour */
    int32_t n_neighbours;
    double n_two_point; /**< fewer rows: average error above delta over the tree and its nearest neighbour */
    double n_fano;      /**< the same by Fano's inequality over all neighbours; 0: says nothing */
} lathe_tree_bound;
/** Rows that any method needs for an error of at most delta in (0, 0.25) on this Gaussian latent tree (edges
 * with lengths, vectors of dim coordinates with the law of lathe_tree_draw_gaussian), against its
 * nearest-neighbour interchanges. At most 400 observed nodes. */
LATHE_API LATHE_NODISCARD lathe_status lathe_tree_lower_bound(const lathe_tree *tree, int32_t dim,
                                                              double delta, lathe_tree_bound *out,
                                                              lathe_error *err);

/** Sets the support of every edge that splits at least two observed nodes from two: the share of n_replicates
 * trees, learned from resampled rows, that have the split. The same at any number of threads. */
LATHE_API LATHE_NODISCARD lathe_status lathe_latent_bootstrap(
    const lathe_table *table, const lathe_distance_params *distances, const lathe_latent_params *latent,
    int32_t n_replicates, uint64_t seed, int n_threads, lathe_tree *tree, lathe_error *err);
/** Log-likelihood of real columns (a column a node) under the Gaussian tree whose correlations are exp(-path
 * length), with signs from the data, and BIC with two parameters a column and one an edge. */
LATHE_API LATHE_NODISCARD lathe_status lathe_latent_likelihood(const lathe_table *table,
                                                               const lathe_tree *tree, double *log_likelihood,
                                                               double *bic, lathe_error *err);

/* --- Active learning of homogeneous two-state trees --------------------------------------------------- */

/** Where readings come from: fills out[m * n_nodes] (row-major, 0 or 1) with m joint samples of these nodes.
 */
typedef struct lathe_tree_oracle {
    lathe_status (*sample)(void *user, const int32_t *nodes, int32_t n_nodes, int64_t m, uint8_t *out,
                           lathe_error *err);
    void *user;
} lathe_tree_oracle;
typedef struct lathe_active_params {
    int64_t budget; /**< node readings */
    double gamma;   /**< share kept for the second phase; 0: 0.2 */
    double c;       /**< confidence level; 0: 0.3; negative: 0 */
    double rho;     /**< edge correlation; 0: estimated */
    uint64_t seed;
    uint32_t trial; /**< for the tie keys */
    bool ties_by_index;
    bool edges_only; /**< leaves margins and confidences out */
    bool c_auto;     /**< c from the exponents at the estimated rho; for a first tree with a node of more than
                        sqrt(p) neighbours that of large hubs */
    bool spend_all;  /**< where nothing is in doubt, read all nodes again with what is left */
} lathe_active_params;
typedef struct lathe_active_info {
    int64_t n1, n2, phase1, phase2, left;
    int32_t n_ambiguous; /**< nodes of the second phase */
    double rho_hat, threshold, c;
    bool edges_differ; /**< a tree edge lies 4 standard errors off: confidences do not hold */
} lathe_active_info;
/** Two-phase learning: all nodes first, then only those whose place is in doubt. names[p]. */
LATHE_API LATHE_NODISCARD lathe_status lathe_tree_active(const lathe_tree_oracle *oracle, int32_t p,
                                                         char *const *names,
                                                         const lathe_active_params *params, lathe_tree *tree,
                                                         lathe_active_info *info, lathe_error *err);
/** A program as oracle: it runs under /bin/sh and answers lines {"nodes":["a","b"],"n":40} on its input with
 * lines
 * {"rows":[[0,1],...]} on its output. The caller ignores SIGPIPE. Errors: the program ends, is silent for
 * timeout_s, or answers something else. */
typedef struct lathe_sampler_process lathe_sampler_process;
LATHE_API LATHE_NODISCARD lathe_status lathe_sampler_process_new(const char *command, int32_t p,
                                                                 char *const *names, double timeout_s,
                                                                 lathe_sampler_process **process,
                                                                 lathe_error *err);
LATHE_API void lathe_sampler_process_free(lathe_sampler_process *process);
/** For lathe_tree_oracle.sample. */
LATHE_API lathe_status lathe_sampler_process_sample(void *process, const int32_t *nodes, int32_t n_nodes,
                                                    int64_t m, uint8_t *out, lathe_error *err);

/** A table replayed: joint samples of some columns are its next rows that none of them has used. Two-state
 * columns without gaps; the table is borrowed. */
typedef struct lathe_table_replay {
    const lathe_table *table;
    int64_t *cursor; /**< [n_columns] next unused row */
} lathe_table_replay;
LATHE_API LATHE_NODISCARD lathe_status lathe_table_replay_new(const lathe_table *table,
                                                              lathe_table_replay *replay, lathe_error *err);
LATHE_API void lathe_table_replay_free(lathe_table_replay *replay);
LATHE_API lathe_status lathe_table_replay_sample(void *replay, const int32_t *nodes, int32_t n_nodes,
                                                 int64_t m, uint8_t *out, lathe_error *err);
/** A model of two-state variables as oracle; borrowed. */
typedef struct lathe_model_oracle {
    const lathe_tree_model *model;
    uint64_t seed, n_requests;
} lathe_model_oracle;
LATHE_API LATHE_NODISCARD lathe_status lathe_model_oracle_new(const lathe_tree_model *model, uint64_t seed,
                                                              lathe_model_oracle *oracle, lathe_error *err);
LATHE_API lathe_status lathe_model_oracle_sample(void *oracle, const int32_t *nodes, int32_t n_nodes,
                                                 int64_t m, uint8_t *out, lathe_error *err);

/** A homogeneous Ising tree's samples: node i > 0 copies parent[i] < i and flips with probability
 * (1 - rho)/2. State of the oracle that lathe_homogeneous_sample serves. */
typedef struct lathe_homogeneous {
    const int32_t *parent; /**< [p], parent[0] = -1 */
    int32_t p;
    double rho;
    lathe_rng rng;
    uint64_t *scratch; /**< [p]: 64 rows in a word */
} lathe_homogeneous;
LATHE_API lathe_status lathe_homogeneous_sample(void *homogeneous, const int32_t *nodes, int32_t n_nodes,
                                                int64_t m, uint8_t *out, lathe_error *err);

/** Exponents of error per full vector, exact (closed forms). rho in (0, 1). */
LATHE_API double lathe_exponent_chow_liu(double rho);
/** Rate function I(x) of the nearest swap, |x| <= 1. */
LATHE_API double lathe_exponent_rate(double rho, double x);
typedef struct lathe_exponent_design {
    double exponent, gain, gamma, c; /**< best over a grid; gain over lathe_exponent_chow_liu */
    double hub_gain, hub_c;          /**< star with many leaves, worst case, best c */
} lathe_exponent_design;
LATHE_API LATHE_NODISCARD lathe_status lathe_exponent_active(double rho, int32_t p,
                                                             lathe_exponent_design *out, lathe_error *err);

/** Simulated error rates of passive learning (Chow-Liu on n full vectors) and of two phases with as many
 * readings. */
typedef struct lathe_simulation_params {
    const int32_t *parent; /**< [p], parent[i] < i, parent[0] = -1 */
    int32_t p;             /**< 3 to 2000 */
    double rho;
    int64_t n;      /**< budget in full vectors */
    int64_t trials; /**< trial k draws from a stream of its own: any split of trials gives the same sums */
    int64_t first_trial; /**< number of the first */
    uint64_t seed;
    double gamma, c; /**< as in lathe_active_params; the correlation is not told */
    int n_threads;
    const lathe_progress *progress;
} lathe_simulation_params;
typedef struct lathe_simulation {
    int64_t trials, passive_errors, active_errors;
    double passive_ci[2], active_ci[2]; /**< of the error rates, 95% (Wilson) */
    double mean_ambiguous;              /**< nodes of the second phase */
    double budget_used;                 /**< share */
} lathe_simulation;
LATHE_API LATHE_NODISCARD lathe_status lathe_exponent_simulate(const lathe_simulation_params *params,
                                                               lathe_simulation *out, lathe_error *err);
/** -d log(error rate) / dn between two budgets n_a < n_b, and its 95% interval; NaN where one has no errors.
 */
LATHE_API double lathe_exponent_slope(int64_t errors_a, int64_t trials_a, int64_t n_a, int64_t errors_b,
                                      int64_t trials_b, int64_t n_b, double ci95[2]);

#ifdef __cplusplus
}
#endif
#endif
