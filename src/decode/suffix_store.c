/* suffix_store.c - see suffix_store.h. Little endian throughout. */
#define _DEFAULT_SOURCE /* flock */
#include "decode/suffix_store.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"

enum {
    HEADER = 64,
    RECORD = 24,
    ANSWER_MAX = 1 << 20,
    SUFFIX_MAX = 64,
    COMPARE = 64, /* tokens by which positions are ordered */
    FOLLOWERS_MAX = 1 << 14,
    LOCK_TRIES = 20,
};
#define RECORD_MAGIC  0x52585346u
#define DEFAULT_LIMIT ((int64_t) 64 << 20)

struct lathe_suffix_store {
    char *folder;
    int32_t n_vocab;
    int64_t limit;
    lathe_logger logger;
    int32_t *text; /* [n] answers, each followed by -1 */
    int32_t *sa;   /* [n_sa] positions of text, ordered by what follows */
    int32_t n, n_sa;
    int64_t n_records, skipped;
    uint64_t key;
};

/* --- Bytes --------------------------------------------------------------------------------------- */

static uint32_t crc32_of(const uint8_t *bytes, size_t n, uint32_t crc) {
    crc = ~crc;
    for (size_t i = 0; i < n; i++) {
        crc ^= bytes[i];
        for (int k = 0; k < 8; k++)
            crc = crc >> 1 ^ (crc & 1u ? 0xEDB88320u : 0u);
    }
    return ~crc;
}

static uint32_t get32(const uint8_t *p) {
    return (uint32_t) p[0] | (uint32_t) p[1] << 8 | (uint32_t) p[2] << 16 | (uint32_t) p[3] << 24;
}

static void put32(uint8_t *p, uint32_t x) {
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t) (x >> 8 * i);
}

static void put64(uint8_t *p, uint64_t x) {
    put32(p, (uint32_t) x);
    put32(p + 4, (uint32_t) (x >> 32));
}

static void make_header(const lathe_suffix_store *s, uint8_t header[HEADER]) {
    memset(header, 0, HEADER);
    memcpy(header, "LATHESFX", 8);
    put32(header + 8, 1);
    put32(header + 12, (uint32_t) s->n_vocab);
    put64(header + 16, s->key);
    put32(header + 60, crc32_of(header, 60, 0));
}

/* Over n, time and tokens. */
static uint32_t record_crc(const uint8_t *record, uint32_t n) {
    return crc32_of(record + RECORD, (size_t) n * 4, crc32_of(record + 4, 12, 0));
}

/* Length in bytes of the sound record at p [n_left], or 0. */
static size_t record_at(const lathe_suffix_store *s, const uint8_t *p, size_t n_left) {
    if (n_left < RECORD || get32(p) != RECORD_MAGIC)
        return 0;
    const uint32_t n = get32(p + 4);
    if (n < 1 || n > ANSWER_MAX || n_left < RECORD + (size_t) n * 4 || get32(p + 16) != record_crc(p, n))
        return 0;
    for (uint32_t i = 0; i < n; i++)
        if (get32(p + RECORD + 4 * i) >= (uint32_t) s->n_vocab)
            return 0;
    return RECORD + (size_t) n * 4;
}

/* --- The folder ---------------------------------------------------------------------------------- */

static void path_of(const lathe_suffix_store *s, const char *name, char *out, size_t size) {
    snprintf(out, size, "%s/%s", s->folder, name);
}

/* A descriptor that holds the lock, or -1 after 0.1 s. */
static int lock(const lathe_suffix_store *s, int how) {
    char path[4200];
    path_of(s, "lock", path, sizeof path);
    const int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    for (int i = 0; fd >= 0 && i < LOCK_TRIES; i++) {
        if (flock(fd, how | LOCK_NB) == 0)
            return fd;
        const struct timespec wait = {0, 5000000};
        nanosleep(&wait, NULL);
    }
    if (fd >= 0)
        close(fd);
    return -1;
}

static void unlock(int fd) {
    if (fd >= 0)
        close(fd);
}

/* --- Reading ------------------------------------------------------------------------------------- */

/* Takes the records of a log into text, the newest LATHE_STORE_TOKENS of them. */
static void take_log(lathe_suffix_store *s, const uint8_t *bytes, size_t n_bytes) {
    size_t at = HEADER;
    int64_t total = 0;
    for (int pass = 0; pass < 2; pass++) {
        int64_t seen = 0;
        for (at = HEADER; at < n_bytes;) {
            const size_t length = record_at(s, bytes + at, n_bytes - at);
            if (length == 0) {
                const size_t begin = at;
                for (at += 4; at < n_bytes && record_at(s, bytes + at, n_bytes - at) == 0;)
                    at += 4;
                at = at < n_bytes ? at : n_bytes;
                s->skipped += pass ? 0 : (int64_t) (at - begin);
                continue;
            }
            const int32_t n = (int32_t) ((length - RECORD) / 4);
            seen += n + 1;
            if (pass == 0) {
                s->n_records++;
            } else if (total - seen < LATHE_STORE_TOKENS - n - 1 && s->n + n + 1 <= LATHE_STORE_TOKENS) {
                for (int32_t i = 0; i < n; i++)
                    s->text[s->n++] = (int32_t) get32(bytes + at + RECORD + 4 * (size_t) i);
                s->text[s->n++] = -1;
            }
            at += length;
        }
        total = seen;
    }
}

static void swap32(int32_t *a, int32_t *b) {
    const int32_t t = *a;
    *a = *b;
    *b = t;
}

/* Order of positions: by the text behind them, then by place. */
static int compare_at(const lathe_suffix_store *s, int32_t a, int32_t b) {
    const int32_t *x = s->text + a, *y = s->text + b;
    for (int k = 0; k < COMPARE; k++) {
        if (x[k] != y[k])
            return x[k] < y[k] ? -1 : 1;
        if (x[k] < 0)
            break;
    }
    return (a > b) - (a < b);
}

static void sift(const lathe_suffix_store *s, int32_t *v, int32_t n, int32_t root) {
    for (;;) {
        int32_t child = 2 * root + 1;
        if (child >= n)
            return;
        if (child + 1 < n && compare_at(s, v[child], v[child + 1]) < 0)
            child++;
        if (compare_at(s, v[root], v[child]) >= 0)
            return;
        swap32(&v[root], &v[child]);
        root = child;
    }
}

static void sort_positions(lathe_suffix_store *s) {
    for (int32_t i = 0; i < s->n; i++)
        if (s->text[i] >= 0)
            s->sa[s->n_sa++] = i;
    for (int32_t i = s->n_sa / 2 - 1; i >= 0; i--)
        sift(s, s->sa, s->n_sa, i);
    for (int32_t last = s->n_sa - 1; last > 0; last--) {
        swap32(&s->sa[0], &s->sa[last]);
        sift(s, s->sa, last, 0);
    }
}

static bool header_fits(const lathe_suffix_store *s, const uint8_t *bytes, size_t n_bytes) {
    uint8_t want[HEADER];
    make_header(s, want);
    return n_bytes >= HEADER && memcmp(bytes, want, HEADER) == 0;
}

static void read_log(lathe_suffix_store *s) {
    char path[4200], bad[4200];
    char *bytes = NULL;
    size_t n_bytes = 0;
    path_of(s, "log", path, sizeof path);
    path_of(s, "log.bad", bad, sizeof bad);
    const int fd = lock(s, LOCK_SH);
    const lathe_status status = lathe_file_read(path, (size_t) s->limit + (1u << 24), &bytes, &n_bytes, NULL);
    unlock(fd);
    if (status != LATHE_OK)
        return;
    if (n_bytes > 0 && !header_fits(s, (const uint8_t *) bytes, n_bytes)) {
        (void) !rename(path, bad);
        lathe_log(&s->logger, LATHE_LOG_WARN, "%s is no store of this model's tokens; it is now log.bad",
                  path);
    } else if (n_bytes > 0) {
        take_log(s, (const uint8_t *) bytes, n_bytes);
        if (s->skipped > 0)
            lathe_log(&s->logger, LATHE_LOG_WARN, "%s: %lld damaged bytes passed over", path,
                      (long long) s->skipped);
    }
    free(bytes);
    sort_positions(s);
}

lathe_status lathe_suffix_store_open(const char *cache_dir, const char *key, int32_t n_vocab, int64_t limit,
                                     const lathe_logger *logger, lathe_suffix_store **store,
                                     lathe_error *err) {
    lathe_suffix_store *s = calloc(1, sizeof *s);
    const size_t n = strlen(cache_dir) + strlen(key) + 16;
    if (s) {
        s->folder = n < 4000 ? malloc(n) : NULL;
        s->text = calloc(LATHE_STORE_TOKENS + COMPARE, sizeof *s->text);
        s->sa = malloc(LATHE_STORE_TOKENS * sizeof *s->sa);
    }
    if (!s || !s->folder || !s->text || !s->sa) {
        lathe_suffix_store_free(s);
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a store of answers");
    }
    s->n_vocab = n_vocab;
    s->limit = limit > 0 ? limit : DEFAULT_LIMIT;
    s->key = strtoull(key, NULL, 16);
    if (logger)
        s->logger = *logger;
    snprintf(s->folder, n, "%s/suffix", cache_dir);
    lathe_status status = lathe_folder_make(s->folder, err);
    (void) !chmod(s->folder, 0700);
    snprintf(s->folder, n, "%s/suffix/%s", cache_dir, key);
    if (!status)
        status = lathe_folder_make(s->folder, err);
    if (status) {
        lathe_suffix_store_free(s);
        return status;
    }
    (void) !chmod(s->folder, 0700); /* answers are private */
    read_log(s);
    *store = s;
    return LATHE_OK;
}

void lathe_suffix_store_free(lathe_suffix_store *s) {
    if (!s)
        return;
    free(s->folder);
    free(s->text);
    free(s->sa);
    free(s);
}

void lathe_suffix_store_size(const lathe_suffix_store *s, int64_t *n_records, int64_t *n_tokens,
                             int64_t *skipped) {
    *n_records = s->n_records;
    *n_tokens = s->n_sa;
    *skipped = s->skipped;
}

/* --- Writing ------------------------------------------------------------------------------------- */

static bool write_all(int fd, const uint8_t *bytes, size_t n) {
    while (n > 0) {
        const ssize_t w = write(fd, bytes, n);
        if (w < 0 && errno == EINTR)
            continue;
        if (w <= 0)
            return false;
        bytes += w;
        n -= (size_t) w;
    }
    return true;
}

/* Over the limit: the newest records that fill three quarters of it stay. */
static void rewrite(const lathe_suffix_store *s, const char *path) {
    char *text = NULL;
    size_t n_bytes = 0, at = HEADER;
    if (lathe_file_read(path, (size_t) s->limit + (1u << 24), &text, &n_bytes, NULL) != LATHE_OK)
        return;
    const uint8_t *bytes = (const uint8_t *) text;
    const size_t keep = (size_t) (s->limit / 4 * 3);
    while (at < n_bytes && n_bytes - at > keep) {
        const size_t length = record_at(s, bytes + at, n_bytes - at);
        at += length > 0 ? length : 4;
    }
    lathe_buf out;
    uint8_t header[HEADER];
    lathe_buf_init(&out, (size_t) s->limit + HEADER);
    make_header(s, header);
    if (lathe_buf_add(&out, header, HEADER, NULL) == LATHE_OK &&
        (at >= n_bytes || lathe_buf_add(&out, bytes + at, n_bytes - at, NULL) == LATHE_OK))
        (void) !lathe_file_write(path, out.data, out.n_bytes, NULL);
    lathe_buf_free(&out);
    free(text);
}

static void append(lathe_suffix_store *s, const char *path, const uint8_t *record, size_t n) {
    struct stat info;
    const int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return;
    uint8_t header[HEADER], have[HEADER];
    make_header(s, header);
    off_t end = fstat(fd, &info) == 0 ? info.st_size : -1;
    bool ok = end >= 0;
    if (ok && end == 0) {
        ok = write_all(fd, header, HEADER);
        end = HEADER;
    } else if (ok) {
        ok = pread(fd, have, HEADER, 0) == HEADER && memcmp(have, header, HEADER) == 0;
    }
    /* A torn tail ends off the grid of four bytes, or inside a record: the next reader finds the next magic.
     */
    if (ok && (end - HEADER) % 4 != 0) {
        end -= (end - HEADER) % 4;
        ok = ftruncate(fd, end) == 0;
    }
    if (ok && lseek(fd, end, SEEK_SET) == end)
        (void) write_all(fd, record, n);
    close(fd);
    if (ok && end + (off_t) n > s->limit)
        rewrite(s, path);
}

void lathe_suffix_store_add(lathe_suffix_store *s, const int32_t *ids, int32_t n) {
    if (n < LATHE_STORE_ANSWER_MIN || n > ANSWER_MAX)
        return;
    const size_t length = RECORD + (size_t) n * 4;
    uint8_t *record = calloc(1, length);
    char path[4200];
    if (!record)
        return;
    put32(record, RECORD_MAGIC);
    put32(record + 4, (uint32_t) n);
    put64(record + 8, (uint64_t) time(NULL));
    for (int32_t i = 0; i < n; i++)
        put32(record + RECORD + 4 * (size_t) i, (uint32_t) ids[i]);
    put32(record + 16, record_crc(record, (uint32_t) n));
    path_of(s, "log", path, sizeof path);
    const int fd = lock(s, LOCK_EX);
    if (fd >= 0)
        append(s, path, record, length);
    else
        lathe_log(&s->logger, LATHE_LOG_DEBUG, "the store of answers is in use; this one is not kept");
    unlock(fd);
    free(record);
}

/* --- Looking up ---------------------------------------------------------------------------------- */

/* First entry of sa whose text is not before w [p]; with `after`, the first that is behind all that begin
 * with w. */
static int32_t bound(const lathe_suffix_store *s, const int32_t *w, int32_t p, bool after) {
    int32_t low = 0, high = s->n_sa;
    while (low < high) {
        const int32_t mid = low + (high - low) / 2;
        const int32_t *x = s->text + s->sa[mid];
        int order = 0;
        for (int32_t k = 0; k < p && order == 0; k++)
            order = x[k] < w[k] ? -1 : x[k] > w[k] ? 1 : 0;
        if (order < 0 || (after && order == 0))
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* Follows the largest counts behind w [p]. */
static double follow(const lathe_suffix_store *s, const int32_t *w, int32_t p, double p_min, int32_t n_max,
                     int32_t *path, double *share, int32_t *n_path) {
    int32_t low = bound(s, w, p, false), high = bound(s, w, p, true);
    double product = 1.0, score = 0.0;
    *n_path = 0;
    while (*n_path < n_max && high > low && high - low <= FOLLOWERS_MAX && p < COMPARE) {
        int32_t best = -1, best_low = 0, best_high = 0, total = 0;
        for (int32_t i = low; i < high;) {
            const int32_t token = s->text[s->sa[i] + p];
            int32_t j = i;
            while (j < high && s->text[s->sa[j] + p] == token)
                j++;
            if (token >= 0) {
                total += j - i;
                if (best < 0 || j - i > best_high - best_low) { /* ties: the lowest id comes first */
                    best = token;
                    best_low = i;
                    best_high = j;
                }
            }
            i = j;
        }
        if (best < 0)
            break;
        const double one = (double) (best_high - best_low) / total;
        product *= one;
        if (product < p_min)
            break;
        score += product;
        share[*n_path] = one;
        path[(*n_path)++] = best;
        low = best_low;
        high = best_high;
        p++;
    }
    return score;
}

double lathe_suffix_store_draft(const lathe_suffix_store *s, const int32_t *ids, int32_t n, int32_t match_min,
                                double factor, double p_min, int32_t n_max, int32_t *path, double *share,
                                int32_t *n_path, int32_t *matched) {
    int32_t longest = 0, most = n < SUFFIX_MAX / 2 ? n : SUFFIX_MAX / 2;
    *n_path = *matched = 0;
    if (s->n_sa == 0 || n_max < 1)
        return 0.0;
    for (int32_t low = match_min, high = most;
         low <= high;) { /* a suffix of a suffix that occurs occurs too */
        const int32_t p = low + (high - low) / 2;
        if (bound(s, ids + n - p, p, true) > bound(s, ids + n - p, p, false)) {
            longest = p;
            low = p + 1;
        } else {
            high = p - 1;
        }
    }
    double best = 0.0;
    for (int32_t p = longest; p >= match_min && p > 0; p /= 2) {
        int32_t try_path[64], n_try;
        double try_share[64];
        double cap = floor(factor * p) + 1.0;
        const int32_t length = cap < n_max ? (int32_t) cap : n_max;
        const double score =
            follow(s, ids + n - p, p, p_min, length < 64 ? length : 64, try_path, try_share, &n_try);
        if (score > best) {
            best = score;
            *n_path = n_try;
            *matched = p;
            memcpy(path, try_path, (size_t) n_try * sizeof *path);
            memcpy(share, try_share, (size_t) n_try * sizeof *share);
        }
    }
    return best;
}
