/* fasta.c - distances between aligned nucleotide sequences.
 *
 * Each sequence becomes four packed columns, one a base, so the 4 x 4 table of a pair is one square of the
 * popcount kernels; every model follows from that table. Sites where either is not A, C, G or T are in no
 * column and so left out of the pair. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "tree/popcount.h"
#include "tree/tree.h"

enum { A, C, G, T, N_BASES, UNKNOWN = N_BASES, NO_LETTER };
static const double farthest = 5; /* where a model has no finite distance */

/* --- Reading ---------------------------------------------------------------------------------------------
 */

typedef struct alignment {
    char **names;
    int64_t n, capacity, n_sites; /* n_sites: of the first sequence; -1 before its end */
    uint8_t *sites;               /* [n][n_sites], bases or UNKNOWN */
    size_t n_all, room;
} alignment;

static void free_alignment(alignment *a) {
    lathe_names_free(a->names, a->n);
    free(a->sites);
}

static int base_of(char letter) {
    switch (letter) {
    case 'A':
    case 'a':
        return A;
    case 'C':
    case 'c':
        return C;
    case 'G':
    case 'g':
        return G;
    case 'T':
    case 't':
    case 'U':
    case 'u':
        return T;
    default: /* gaps and what the IUPAC code calls ambiguous */
        return letter != 0 && strchr("-.?*~NnRrYySsWwKkMmBbDdHhVvXx", letter) != NULL ? UNKNOWN : NO_LETTER;
    }
}

static lathe_status no_memory(lathe_error *err, const char *name) {
    return lathe_fail(err, LATHE_ERR_MEMORY, "%s: no memory for its sequences", name);
}

static lathe_status end_sequence(alignment *a, const char *name, int64_t line, lathe_error *err) {
    if (a->n == 0)
        return LATHE_OK;
    const int64_t before = a->n_sites < 0 ? 0 : (a->n - 1) * a->n_sites, length = (int64_t) a->n_all - before;
    if (length == 0)
        return lathe_fail(err, LATHE_ERR_INPUT, "%s, before line %lld: sequence %lld, '%.60s', has no sites",
                          name, (long long) line, (long long) a->n, a->names[a->n - 1]);
    if (a->n_sites < 0)
        a->n_sites = length;
    if (length != a->n_sites)
        return lathe_fail(err, LATHE_ERR_INPUT,
                          "%s, before line %lld: sequence %lld, '%.60s', has %lld sites where '%.60s' has "
                          "%lld; they must be aligned",
                          name, (long long) line, (long long) a->n, a->names[a->n - 1], (long long) length,
                          a->names[0], (long long) a->n_sites);
    return LATHE_OK;
}

static lathe_status begin_sequence(alignment *a, const char *from, const char *to, const char *name,
                                   int64_t line, lathe_error *err) {
    while (from < to && (*from == ' ' || *from == '\t'))
        from++;
    const char *end = from;
    while (end < to && *end != ' ' && *end != '\t')
        end++;
    if (end == from || memchr(from, 0, (size_t) (end - from)) != NULL)
        return lathe_fail(err, LATHE_ERR_INPUT, "%s, line %lld: no name behind '>'", name, (long long) line);
    if (a->n == a->capacity) {
        a->capacity = 2 * a->capacity + 16;
        char **more = realloc(a->names, (size_t) a->capacity * sizeof *more);
        if (more == NULL)
            return no_memory(err, name);
        a->names = more;
    }
    char *copy = malloc((size_t) (end - from) + 1);
    if (copy == NULL)
        return no_memory(err, name);
    memcpy(copy, from, (size_t) (end - from));
    copy[end - from] = 0;
    a->names[a->n++] = copy;
    return LATHE_OK;
}

static lathe_status add_sites(alignment *a, const char *from, const char *to, const char *name, int64_t line,
                              lathe_error *err) {
    for (const char *p = from; p < to; p++) {
        if (*p == ' ' || *p == '\t')
            continue;
        const int base = base_of(*p);
        if (base == NO_LETTER)
            return lathe_fail(err, LATHE_ERR_INPUT,
                              "%s, line %lld, column %lld: byte 0x%02x is no nucleotide and no gap", name,
                              (long long) line, (long long) (p - from) + 1, (unsigned) (unsigned char) *p);
        if (a->n == 0)
            return lathe_fail(err, LATHE_ERR_INPUT, "%s, line %lld: a sequence without a name: '>NAME' first",
                              name, (long long) line);
        if (a->n_all == a->room) {
            a->room = 2 * a->room + 4096;
            uint8_t *more = realloc(a->sites, a->room);
            if (more == NULL)
                return no_memory(err, name);
            a->sites = more;
        }
        a->sites[a->n_all++] = (uint8_t) base;
    }
    return LATHE_OK;
}

static int by_text(const void *a, const void *b) {
    return strcmp(*(char *const *) a, *(char *const *) b);
}

static lathe_status refuse_twins(const alignment *a, const char *name, lathe_error *err) {
    char **sorted = malloc((size_t) a->n * sizeof *sorted);
    if (sorted == NULL)
        return no_memory(err, name);
    memcpy(sorted, a->names, (size_t) a->n * sizeof *sorted);
    qsort(sorted, (size_t) a->n, sizeof *sorted, by_text);
    lathe_status st = LATHE_OK;
    for (int64_t i = 1; i < a->n && !st; i++)
        if (strcmp(sorted[i - 1], sorted[i]) == 0)
            st = lathe_fail(err, LATHE_ERR_INPUT, "%s: two sequences are called '%.60s'", name, sorted[i]);
    free(sorted);
    return st;
}

static lathe_status read_alignment(const char *text, size_t n_bytes, const char *name, alignment *a,
                                   lathe_error *err) {
    const char *p = text, *end = text + n_bytes;
    int64_t line = 1;
    lathe_status st = LATHE_OK;
    if (n_bytes >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0)
        p += 3;
    for (; p < end && !st; line++) {
        const char *stop = p;
        while (stop < end && *stop != '\n')
            stop++;
        const char *last = stop > p && stop[-1] == '\r' ? stop - 1 : stop;
        if (p < last && *p == '>') {
            st = end_sequence(a, name, line, err);
            st = st ? st : begin_sequence(a, p + 1, last, name, line, err);
        } else {
            st = add_sites(a, p, last, name, line, err);
        }
        p = stop < end ? stop + 1 : end;
    }
    st = st ? st : end_sequence(a, name, line, err);
    if (!st && a->n == 0)
        st = lathe_fail(err, LATHE_ERR_INPUT, "%s: no sequences; FASTA has lines '>NAME' with sites below",
                        name);
    return st ? st : refuse_twins(a, name, err);
}

/* --- Distances -------------------------------------------------------------------------------------------
 */

static double determinant(double m[N_BASES][N_BASES]) {
    double det = 1;
    for (int k = 0; k < N_BASES; k++) { /* Gauss, largest pivot */
        int best = k;
        for (int i = k + 1; i < N_BASES; i++)
            if (fabs(m[i][k]) > fabs(m[best][k]))
                best = i;
        if (m[best][k] == 0)
            return 0;
        if (best != k) {
            double row[N_BASES];
            memcpy(row, m[k], sizeof row);
            memcpy(m[k], m[best], sizeof row);
            memcpy(m[best], row, sizeof row);
            det = -det;
        }
        det *= m[k][k];
        for (int i = k + 1; i < N_BASES; i++) {
            const double f = m[i][k] / m[k][k];
            for (int j = k; j < N_BASES; j++)
                m[i][j] -= f * m[k][j];
        }
    }
    return det;
}

/* -log(|det J| / sqrt(product of both margins)) / 4: substitutions a site, whatever the bases' shares. */
static double paralinear(const uint32_t table[N_BASES * N_BASES], double n) {
    double m[N_BASES][N_BASES], margins = 1;
    for (int i = 0; i < N_BASES; i++) {
        double row = 0, column = 0;
        for (int j = 0; j < N_BASES; j++) {
            m[i][j] = table[i * N_BASES + j] / n;
            row += table[i * N_BASES + j] / n;
            column += table[j * N_BASES + i] / n;
        }
        margins *= row * column;
    }
    const double det = fabs(determinant(m));
    return det > 0 && margins > 0 ? -0.25 * log(det / sqrt(margins)) : INFINITY;
}

/* Not finite: the model has no distance for such a table. NaN: no site where both are known. */
static double distance(const uint32_t table[N_BASES * N_BASES], lathe_dna_model model) {
    double n = 0, same = 0;
    for (int k = 0; k < N_BASES * N_BASES; k++) {
        n += table[k];
        same += k % (N_BASES + 1) == 0 ? table[k] : 0;
    }
    if (n == 0)
        return NAN;
    const double h = 1 - same / n;
    const double p = ((double) table[A * N_BASES + G] + table[G * N_BASES + A] + table[C * N_BASES + T] +
                      table[T * N_BASES + C]) /
                     n,
                 q = h - p;
    switch (model) {
    case LATHE_DNA_JC:
        return h < 0.75 ? -0.75 * log(1 - h / 0.75) : INFINITY;
    case LATHE_DNA_K2P:
        return 1 - 2 * p - q > 0 && 1 - 2 * q > 0 ? -0.5 * log(1 - 2 * p - q) - 0.25 * log(1 - 2 * q)
                                                  : INFINITY;
    case LATHE_DNA_LOGDET:
        return paralinear(table, n);
    default:
        return h;
    }
}

static void pack_bases(const alignment *a, int64_t n_words, uint64_t *bits) {
    memset(bits, 0, (size_t) (a->n * N_BASES * n_words) * sizeof *bits);
    for (int64_t i = 0; i < a->n; i++)
        for (int64_t t = 0; t < a->n_sites; t++) {
            const int base = a->sites[i * a->n_sites + t];
            if (base < N_BASES)
                bits[(i * N_BASES + base) * n_words + t / 64] |= UINT64_C(1) << (t % 64);
        }
}

static lathe_status measure(const alignment *a, const uint64_t *bits, int64_t n_words, const char *name,
                            lathe_dna_model model, bool strict, lathe_distances *dist, lathe_error *err) {
    const lathe_popcount_kernel *kernel = lathe_popcount_best();
    for (int64_t i = 0; i < a->n; i++)
        for (int64_t j = 0; j < i; j++) {
            uint32_t table[N_BASES * N_BASES];
            kernel->tile(bits + i * N_BASES * n_words, N_BASES, bits + j * N_BASES * n_words, N_BASES,
                         n_words, table, N_BASES);
            double d = distance(table, model);
            if (isnan(d))
                return lathe_fail(
                    err, LATHE_ERR_INPUT,
                    "%s: sequences %lld and %lld ('%.60s', '%.60s') have no site where both are "
                    "known",
                    name, (long long) j + 1, (long long) i + 1, a->names[j], a->names[i]);
            if (d > farthest && strict)
                return lathe_fail(err, LATHE_ERR_INPUT,
                                  "%s: sequences %lld and %lld ('%.60s', '%.60s') differ too much for a "
                                  "distance; without --strict it would be %g",
                                  name, (long long) j + 1, (long long) i + 1, a->names[j], a->names[i],
                                  farthest);
            dist->n_saturated += d > farthest;
            d = d > farthest ? farthest : d > 0 ? d : 0;
            dist->d[i * a->n + j] = dist->d[j * a->n + i] = d;
        }
    return LATHE_OK;
}

lathe_status lathe_distances_fasta_parse(const char *text, size_t n_bytes, const char *name,
                                         lathe_dna_model model, bool strict, lathe_distances *dist,
                                         lathe_error *err) {
    alignment a = {.n_sites = -1};
    memset(dist, 0, sizeof *dist);
    lathe_status st = read_alignment(text, n_bytes, name, &a, err);
    const int64_t n_words = (a.n_sites + 511) / 512 * 8;
    size_t n_all = 0;
    uint64_t *bits = NULL;
    st = st ? st : lathe_distances_new(a.n, name, dist, err);
    if (!st && (!lathe_size_mul((size_t) (a.n * N_BASES), (size_t) n_words, &n_all) ||
                n_all > SIZE_MAX / sizeof *bits || (bits = aligned_alloc(64, n_all * sizeof *bits)) == NULL))
        st = no_memory(err, name);
    if (!st) {
        pack_bases(&a, n_words, bits);
        st = measure(&a, bits, n_words, name, model, strict, dist, err);
        for (int64_t i = 0; i < a.n; i++) { /* the names go over */
            dist->names[i] = a.names[i];
            a.names[i] = NULL;
        }
    }
    free(bits);
    free_alignment(&a);
    if (st)
        lathe_distances_free(dist);
    return st;
}

lathe_status lathe_distances_fasta_read(const char *path, lathe_dna_model model, bool strict,
                                        lathe_distances *dist, lathe_error *err) {
    char *text = NULL;
    size_t n_bytes = 0;
    lathe_status st = lathe_file_read(path, (size_t) 8 << 30, &text, &n_bytes, err);
    st = st ? st : lathe_distances_fasta_parse(text, n_bytes, path, model, strict, dist, err);
    free(text);
    return st;
}
