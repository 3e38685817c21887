/* suffix_store.c - see suffix_store.h. */
#define _DEFAULT_SOURCE /* flock */
#include "decode/suffix_store.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "decode/suffix_index.h"

enum {
    SUFFIX_MAX = 64,
    DRAFT_MAX = 64,
    FOLLOWERS_MAX = 4096, /* different ones: beyond that no follower has a share worth a draft */
    LOCK_TRIES = 20,
    PATH_BYTES = 4200,
    EXTEND_FROM = 4096, /* tokens behind the index before it is made anew, or a part of it: */
    EXTEND_PART = 16,
};
#define MAGIC         "LATHESFX"
#define DEFAULT_LIMIT ((int64_t) 64 << 20)

struct lathe_suffix_store {
    char *folder;
    int64_t limit;
    lathe_log_key key;
    lathe_logger logger;
    lathe_suffix_index disk, recent; /* what the index covers; the newest of what it does not */
    int64_t skipped;
    bool bad_index; /* the one on disk cannot be used */
};

/* --- The folder ---------------------------------------------------------------------------------- */

static void path_of(const lathe_suffix_store *s, const char *name, char *out) {
    snprintf(out, PATH_BYTES, "%s/%s", s->folder, name);
}

/* A descriptor that holds the lock, or -1 after 0.1 s. */
static int lock(const lathe_suffix_store *s, int how) {
    char path[PATH_BYTES];
    path_of(s, "lock", path);
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

/* The newest records of a log from byte `at` on, at most `most` tokens of them, sorted. */
static lathe_status take_records(const lathe_suffix_store *s, const lathe_file *log, size_t at, int64_t most,
                                 lathe_suffix_index *index, int64_t *skipped, lathe_error *err) {
    size_t length, from = at;
    int64_t total = 0, ignored = 0;
    for (size_t p = at; lathe_log_next(&s->key, log->bytes, log->n_bytes, &p, &length, skipped); p += length)
        total += (int64_t) ((length - LATHE_LOG_RECORD) / 4) + 1;
    for (; total > most && lathe_log_next(&s->key, log->bytes, log->n_bytes, &from, &length, &ignored);
         from += length)
        total -= (int64_t) ((length - LATHE_LOG_RECORD) / 4) + 1;
    int32_t *own = total < INT32_MAX / 2 ? malloc((2 * (size_t) total + 1) * sizeof *own) : NULL;
    if (own == NULL)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %lld past tokens", (long long) total);
    int32_t n = 0;
    for (; lathe_log_next(&s->key, log->bytes, log->n_bytes, &from, &length, &ignored); from += length) {
        for (size_t i = LATHE_LOG_RECORD; i < length; i += 4)
            own[n++] = (int32_t) lathe_get32(log->bytes + from + i);
        own[n++] = -1;
    }
    lathe_suffix_index_sort(own, n, index);
    return LATHE_OK;
}

static lathe_status open_log(const lathe_suffix_store *s, lathe_file *log, uint64_t *generation) {
    char path[PATH_BYTES], bad[PATH_BYTES];
    path_of(s, "log", path);
    path_of(s, "log.bad", bad);
    const lathe_status status = lathe_file_open(path, true, 0, log, NULL);
    if (status != LATHE_OK)
        return status;
    if (log->n_bytes > 0 && lathe_log_header_fits(MAGIC, &s->key, log->bytes, log->n_bytes, generation))
        return LATHE_OK;
    if (log->n_bytes > 0) {
        (void) !rename(path, bad);
        lathe_log(&s->logger, LATHE_LOG_WARN, "%s is no store of this model's tokens; it is now log.bad",
                  path);
    }
    lathe_file_close(log);
    return LATHE_ERR_INPUT;
}

/* The index of a log; an empty one where there is none, or none that can be used: then false. */
static bool open_index(const lathe_suffix_store *s, const lathe_file *log, uint64_t generation,
                       lathe_suffix_index *index) {
    char path[PATH_BYTES];
    const char *why;
    path_of(s, "index", path);
    if (lathe_suffix_index_open(path, &s->key, generation, index, &why)) {
        if (index->covered >= LATHE_LOG_HEADER && index->covered <= log->n_bytes)
            return true;
        lathe_suffix_index_close(index);
        why = "of a longer log than there is";
    }
    if (strcmp(why, "missing") != 0)
        lathe_log(&s->logger, LATHE_LOG_WARN, "%s is %s; it is made anew behind the next answer", path, why);
    index->covered = LATHE_LOG_HEADER;
    return strcmp(why, "missing") == 0;
}

static void read_all(lathe_suffix_store *s) {
    lathe_file log = {0};
    uint64_t generation = 0;
    const int fd = lock(s, LOCK_SH);
    const lathe_status status = open_log(s, &log, &generation);
    if (status == LATHE_OK)
        s->bad_index = !open_index(s, &log, generation, &s->disk);
    unlock(fd);
    if (status != LATHE_OK)
        return;
    (void) take_records(s, &log, (size_t) s->disk.covered, LATHE_STORE_TOKENS, &s->recent, &s->skipped, NULL);
    if (s->skipped > 0)
        lathe_log(&s->logger, LATHE_LOG_WARN, "%s/log: %lld damaged bytes passed over", s->folder,
                  (long long) s->skipped);
    lathe_file_close(&log);
}

lathe_status lathe_suffix_store_open(const char *cache_dir, const char *key, int32_t n_vocab, int64_t limit,
                                     const lathe_logger *logger, lathe_suffix_store **store,
                                     lathe_error *err) {
    lathe_suffix_store *s = calloc(1, sizeof *s);
    const size_t n = strlen(cache_dir) + strlen(key) + 16;
    if (s)
        s->folder = n < PATH_BYTES - 32 ? malloc(n) : NULL;
    if (!s || !s->folder) {
        lathe_suffix_store_free(s);
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a store of answers, or too long a path");
    }
    s->limit = limit > 0 ? limit : DEFAULT_LIMIT;
    s->key = (lathe_log_key){.key = strtoull(key, NULL, 16), .n_vocab = n_vocab};
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
    read_all(s);
    *store = s;
    return LATHE_OK;
}

void lathe_suffix_store_free(lathe_suffix_store *s) {
    if (!s)
        return;
    lathe_suffix_index_close(&s->disk);
    lathe_suffix_index_close(&s->recent);
    free(s->folder);
    free(s);
}

void lathe_suffix_store_size(const lathe_suffix_store *s, int64_t *n_records, int64_t *n_tokens,
                             int64_t *skipped) {
    *n_records = (int64_t) s->disk.n_answers + s->recent.n_answers;
    *n_tokens = (int64_t) s->disk.n + s->recent.n - *n_records;
    *skipped = s->skipped;
}

/* --- Writing ------------------------------------------------------------------------------------- */

static bool write_all(int fd, const uint8_t *bytes, size_t n) {
    while (n > 0) {
        const ssize_t w = write(fd, bytes, n);
        if (w <= 0)
            return false;
        bytes += w;
        n -= (size_t) w;
    }
    return true;
}

/* Adds a record behind the log; the log's bytes then, or -1. */
static int64_t append(const lathe_suffix_store *s, const char *path, const uint8_t *record, size_t n) {
    struct stat info;
    uint64_t generation;
    const int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return -1;
    uint8_t header[LATHE_LOG_HEADER];
    off_t end = fstat(fd, &info) == 0 ? info.st_size : -1;
    bool ok = end >= 0;
    if (ok && end == 0) {
        lathe_log_header(MAGIC, &s->key, 0, NULL, header);
        ok = write_all(fd, header, sizeof header);
        end = LATHE_LOG_HEADER;
    } else if (ok) {
        ok = pread(fd, header, sizeof header, 0) == LATHE_LOG_HEADER &&
             lathe_log_header_fits(MAGIC, &s->key, header, sizeof header, &generation);
    }
    /* A torn tail ends off the grid of four bytes, or inside a record: the next reader finds the next magic.
     */
    if (ok && (end - LATHE_LOG_HEADER) % 4 != 0) {
        end -= (end - LATHE_LOG_HEADER) % 4;
        ok = ftruncate(fd, end) == 0;
    }
    ok = ok && lseek(fd, end, SEEK_SET) == end && write_all(fd, record, n);
    close(fd);
    return ok ? (int64_t) end + (int64_t) n : -1;
}

/* The text of an answer, and where it begins: for finding equal ones. */
typedef struct answer {
    const int32_t *ids;
    int32_t n, number;
} answer;

static int by_text_then_age(const void *a_, const void *b_) {
    const answer *a = a_, *b = b_;
    if (a->n != b->n)
        return a->n < b->n ? -1 : 1;
    const int order = memcmp(a->ids, b->ids, (size_t) a->n * sizeof *a->ids);
    return order != 0 ? order : (a->number > b->number) - (a->number < b->number);
}

/* Marks in keep [n_answers] the newest of equal answers, and of those the newest whose records fill at most
 * `room` bytes. */
static lathe_status choose(const lathe_suffix_index *index, int64_t room, uint8_t *keep, lathe_error *err) {
    answer *list = malloc(((size_t) index->n_answers + 1) * sizeof *list);
    int32_t n = 0;
    if (list == NULL)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %d answers", (int) index->n_answers);
    for (int32_t i = 0, begin = 0; i < index->n; i++)
        if (index->text[i] == -1) {
            list[n] = (answer){index->text + begin, i - begin, n};
            n++;
            begin = i + 1;
        }
    qsort(list, (size_t) n, sizeof *list, by_text_then_age);
    for (int32_t i = 0; i < n; i++) {
        const bool again = i + 1 < n && list[i].n == list[i + 1].n &&
                           memcmp(list[i].ids, list[i + 1].ids, (size_t) list[i].n * sizeof(int32_t)) == 0;
        keep[list[i].number] = !again;
    }
    free(list);
    int32_t end = index->n - 1; /* of the answer at hand: its -1 */
    for (int32_t k = n - 1; k >= 0; k--) {
        int32_t begin = end;
        while (begin > 0 && index->text[begin - 1] != -1)
            begin--;
        if (keep[k])
            room -= LATHE_LOG_RECORD + 4 * (int64_t) (end - begin);
        keep[k] = keep[k] && room >= 0;
        end = begin - 1;
    }
    return LATHE_OK;
}

/* The log of an index's answers, as new; their times are now. */
static lathe_status write_log(const lathe_suffix_store *s, const lathe_suffix_index *index, const char *path,
                              uint64_t generation, uint64_t *n_bytes, lathe_error *err) {
    uint8_t header[LATHE_LOG_HEADER];
    lathe_writer *writer = NULL;
    const uint64_t now = (uint64_t) time(NULL);
    lathe_log_header(MAGIC, &s->key, generation, NULL, header);
    lathe_status status = lathe_writer_open(path, &writer, err);
    if (!status)
        status = lathe_writer_add(writer, header, sizeof header, err);
    for (int32_t i = 0, begin = 0; !status && i < index->n; i++) {
        if (index->text[i] != -1)
            continue;
        size_t length;
        uint8_t *record = lathe_log_record_new(index->text + begin, i - begin, now, &length);
        status = record ? lathe_writer_add(writer, record, length, err)
                        : lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a past answer");
        free(record);
        begin = i + 1;
    }
    if (status) {
        lathe_writer_abandon(writer);
        return status;
    }
    *n_bytes = lathe_writer_offset(writer);
    status = lathe_writer_commit(writer, err);
    (void) !chmod(path, 0600);
    return status;
}

/* Makes the index cover the whole log, and the log fit its limit; the lock is held. What the old index has in
 * order stays in order, so only what is behind it is sorted. */
static lathe_status tidy(const lathe_suffix_store *s, const char *log_path, lathe_error *err) {
    lathe_file log = {0};
    lathe_suffix_index old = {0}, added = {0}, whole = {0};
    uint64_t generation = 0, n_bytes = 0;
    int64_t ignored = 0;
    char path[PATH_BYTES];
    path_of(s, "index", path);
    lathe_status status = open_log(s, &log, &generation);
    if (status)
        return status;
    n_bytes = log.n_bytes;
    (void) open_index(s, &log, generation, &old);
    status = take_records(s, &log, (size_t) old.covered, INT32_MAX / 2 - 1, &added, &ignored, err);
    if (!status)
        status = lathe_suffix_index_join(&old, NULL, &added, &whole, err);
    lathe_suffix_index_close(&added);
    lathe_suffix_index_close(&old);
    if (!status && (int64_t) n_bytes > s->limit) {
        const lathe_suffix_index nothing = {0};
        uint8_t *keep = calloc((size_t) whole.n_answers + 1, 1);
        status = keep ? choose(&whole, s->limit / 4 * 3, keep, err)
                      : lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %d answers", (int) whole.n_answers);
        if (!status)
            status = lathe_suffix_index_join(&whole, keep, &nothing, &old, err);
        free(keep);
        if (!status)
            status = write_log(s, &old, log_path, ++generation, &n_bytes, err);
        lathe_suffix_index_close(&whole);
        whole = old;
    }
    if (!status)
        status = lathe_suffix_index_write(&whole, path, &s->key, generation, n_bytes, err);
    (void) !chmod(path, 0600);
    lathe_suffix_index_close(&whole);
    lathe_file_close(&log);
    return status;
}

/* Whether so much is behind the index that is on disk that it should be made anew. */
static bool is_due(const lathe_suffix_store *s, int64_t n_bytes) {
    char path[PATH_BYTES];
    uint8_t header[LATHE_LOG_HEADER] = {0};
    path_of(s, "index", path);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    const bool there = fd >= 0 && read(fd, header, sizeof header) == LATHE_LOG_HEADER;
    if (fd >= 0)
        close(fd);
    const int64_t covered = there ? (int64_t) lathe_get64(header + 32) : LATHE_LOG_HEADER;
    const int64_t n = there ? (int64_t) lathe_get64(header + 40) : 0;
    int64_t wait = n / EXTEND_PART;
    wait = wait < EXTEND_FROM ? EXTEND_FROM : wait > LATHE_STORE_TOKENS ? LATHE_STORE_TOKENS : wait;
    return n_bytes > s->limit || covered > n_bytes || covered < LATHE_LOG_HEADER ||
           (n_bytes - covered) / 4 > wait;
}

void lathe_suffix_store_add(lathe_suffix_store *s, const int32_t *ids, int32_t n) {
    if (n < LATHE_STORE_ANSWER_MIN || n > LATHE_LOG_ANSWER_MAX)
        return;
    size_t length;
    uint8_t *record = lathe_log_record_new(ids, n, (uint64_t) time(NULL), &length);
    char path[PATH_BYTES];
    lathe_error err = {0};
    if (!record)
        return;
    path_of(s, "log", path);
    const int fd = lock(s, LOCK_EX);
    if (fd < 0)
        lathe_log(&s->logger, LATHE_LOG_DEBUG, "the store of answers is in use; this one is not kept");
    const int64_t end = fd >= 0 ? append(s, path, record, length) : -1;
    const bool due = end >= 0 && (s->bad_index || is_due(s, end));
    s->bad_index = false;
    if (due && tidy(s, path, &err) != LATHE_OK)
        lathe_log(&s->logger, LATHE_LOG_WARN, "%s: the index of past answers was not made: %s", s->folder,
                  err.text);
    unlock(fd);
    free(record);
}

/* --- Looking up ---------------------------------------------------------------------------------- */

enum { PARTS = 2 };

/* Where a string stands, in both parts. */
typedef struct places {
    int32_t low[PARTS], high[PARTS];
} places;

static const lathe_suffix_index *part(const lathe_suffix_store *s, int i) {
    return i == 0 ? &s->disk : &s->recent;
}

static int64_t find(const lathe_suffix_store *s, const int32_t *w, int32_t p, places *at) {
    int64_t n = 0;
    for (int i = 0; i < PARTS; i++) {
        lathe_suffix_index_find(part(s, i), w, p, &at->low[i], &at->high[i]);
        n += at->high[i] - at->low[i];
    }
    return n;
}

/* The most frequent token behind the places (ties: the lowest id), its share of those that something follows,
 * and its own places; false: nothing follows. */
static bool most_frequent(const lathe_suffix_store *s, const places *at, int32_t p, int32_t *token,
                          double *share, places *of) {
    places here = *at;
    int64_t total = 0, best = 0;
    for (int k = 0; k < FOLLOWERS_MAX; k++) {
        int32_t next = INT32_MAX;
        for (int i = 0; i < PARTS; i++)
            if (here.low[i] < here.high[i]) {
                const int32_t t = lathe_suffix_index_token(part(s, i), here.low[i], p);
                next = t < next ? t : next;
            }
        if (next == INT32_MAX) {
            *share = total > 0 ? (double) best / (double) total : 0.0;
            return best > 0;
        }
        places run = here;
        int64_t n = 0;
        for (int i = 0; i < PARTS; i++) {
            run.high[i] = here.low[i];
            if (here.low[i] < here.high[i] && lathe_suffix_index_token(part(s, i), here.low[i], p) == next)
                run.high[i] = lathe_suffix_index_run(part(s, i), here.low[i], here.high[i], p);
            n += run.high[i] - run.low[i];
            here.low[i] = run.high[i];
        }
        if (next < 0) /* the end of an answer is no follower */
            continue;
        total += n;
        if (n > best) {
            best = n;
            *token = next;
            *of = run;
        }
    }
    return false;
}

/* Follows the largest counts behind w [p]. */
static double follow(const lathe_suffix_store *s, const int32_t *w, int32_t p, double p_min, int32_t n_max,
                     int32_t *path, double *share, int32_t *n_path) {
    double product = 1.0, score = 0.0;
    places at, next;
    *n_path = 0;
    (void) find(s, w, p, &at);
    while (*n_path < n_max && p < LATHE_INDEX_COMPARE) {
        if (!most_frequent(s, &at, p, &path[*n_path], &share[*n_path], &next))
            break;
        product *= share[*n_path];
        if (product < p_min)
            break;
        score += product;
        (*n_path)++;
        at = next;
        p++;
    }
    return score;
}

double lathe_suffix_store_draft(const lathe_suffix_store *s, const int32_t *ids, int32_t n, int32_t match_min,
                                double factor, double p_min, int32_t n_max, int32_t *path, double *share,
                                int32_t *n_path, int32_t *matched) {
    int32_t longest = 0, most = n < SUFFIX_MAX ? n : SUFFIX_MAX;
    places at;
    *n_path = *matched = 0;
    if (s->disk.n + s->recent.n == 0 || n_max < 1)
        return 0.0;
    for (int32_t low = match_min, high = most;
         low <= high;) { /* a suffix of a suffix that occurs occurs too */
        const int32_t p = low + (high - low) / 2;
        if (find(s, ids + n - p, p, &at) > 0) {
            longest = p;
            low = p + 1;
        } else {
            high = p - 1;
        }
    }
    double best = 0.0;
    for (int32_t p = longest; p >= match_min && p > 0; p /= 2) {
        int32_t try_path[DRAFT_MAX], n_try;
        double try_share[DRAFT_MAX];
        double cap = floor(factor * p) + 1.0;
        const int32_t length = cap < n_max ? (int32_t) cap : n_max;
        const double score = follow(s, ids + n - p, p, p_min, length < DRAFT_MAX ? length : DRAFT_MAX,
                                    try_path, try_share, &n_try);
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
