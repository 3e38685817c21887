/* suffix_index.c - see suffix_index.h. */
#include "decode/suffix_index.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/crc32.h"

#define MAGIC "LATHESAI"

/* --- Order --------------------------------------------------------------------------------------- */

/* Order of what stands at x and y; 0 where the first 128 tokens, or all up to a -1, are the same. */
static int order_of(const int32_t *x, const int32_t *y) {
    for (int k = 0; k < LATHE_INDEX_COMPARE; k++) {
        if (x[k] != y[k])
            return x[k] < y[k] ? -1 : 1;
        if (x[k] < 0)
            break;
    }
    return 0;
}

/* Bottom-up merging of neighbouring runs: stable, so that ties stay by place. */
static void sort_places(const int32_t *text, int32_t n, int32_t *sa, int32_t *scratch) {
    int32_t *from = sa, *to = scratch;
    for (int32_t i = 0; i < n; i++)
        sa[i] = i;
    for (int64_t width = 1; width < n; width *= 2) {
        for (int64_t begin = 0; begin < n; begin += 2 * width) {
            const int64_t middle = begin + width < n ? begin + width : n,
                          end = begin + 2 * width < n ? begin + 2 * width : n;
            int64_t a = begin, b = middle;
            for (int64_t k = begin; k < end; k++)
                to[k] = b >= end || (a < middle && order_of(text + from[a], text + from[b]) <= 0) ? from[a++]
                                                                                                  : from[b++];
        }
        int32_t *const swap = from;
        from = to;
        to = swap;
    }
    if (from != sa)
        memcpy(sa, from, (size_t) n * sizeof *sa);
}

/* --- Reading ------------------------------------------------------------------------------------- */

static bool little_endian(void) {
    const uint32_t one = 1;
    uint8_t first;
    memcpy(&first, &one, 1);
    return first == 1;
}

/* What a checksum cannot say of a file that somebody made up: every place and token is one. */
static bool is_sound(const lathe_suffix_index *index, int32_t n_vocab, int32_t *n_answers) {
    bool sound = index->n == 0 || index->text[index->n - 1] == -1;
    *n_answers = 0;
    for (int32_t i = 0; i < index->n; i++) {
        sound = sound && index->text[i] >= -1 && index->text[i] < n_vocab && index->sa[i] >= 0 &&
                index->sa[i] < index->n;
        *n_answers += index->text[i] == -1;
    }
    return sound;
}

bool lathe_suffix_index_open(const char *path, const lathe_log_key *key, uint64_t generation,
                             lathe_suffix_index *index, const char **why) {
    struct stat info;
    uint64_t own = 0;
    memset(index, 0, sizeof *index);
    *why = "missing";
    if (stat(path, &info) != 0 && errno == ENOENT)
        return false;
    *why = "not readable";
    if (!little_endian() || lathe_file_open(path, true, 0, &index->file, NULL) != LATHE_OK)
        return false;
    const uint8_t *bytes = index->file.bytes;
    const size_t n_bytes = index->file.n_bytes;
    *why = "of another kind or another tokenizer, or damaged in its header";
    bool ok = lathe_log_header_fits(MAGIC, key, bytes, n_bytes, &own);
    if (ok) {
        *why = "of another generation of the log";
        ok = own == generation;
    }
    const uint64_t n = ok ? lathe_get64(bytes + 40) : 0;
    if (ok) {
        *why = "cut off, or longer than it says";
        ok = n <= INT32_MAX && n_bytes == LATHE_LOG_HEADER + 8 * (size_t) n + 4;
    }
    if (ok) {
        *why = "damaged: its checksum is another one";
        ok = lathe_get32(bytes + n_bytes - 4) == lathe_crc32(0, bytes, n_bytes - 4);
    }
    if (ok) {
        *why = "damaged: a place or a token in it is none";
        index->n = (int32_t) n;
        index->covered = lathe_get64(bytes + 32);
        index->text = (const int32_t *) (const void *) (bytes + LATHE_LOG_HEADER);
        index->sa = index->text + n;
        ok = is_sound(index, key->n_vocab, &index->n_answers);
    }
    if (!ok)
        lathe_suffix_index_close(index);
    return ok;
}

void lathe_suffix_index_close(lathe_suffix_index *index) {
    if (index->file.bytes != NULL)
        lathe_file_close(&index->file);
    free(index->own);
    memset(index, 0, sizeof *index);
}

/* --- Making -------------------------------------------------------------------------------------- */

void lathe_suffix_index_sort(int32_t *own, int32_t n, lathe_suffix_index *index) {
    *index = (lathe_suffix_index){.text = own, .sa = own + n, .n = n, .own = own};
    for (int32_t i = 0; i < n; i++)
        index->n_answers += own[i] == -1;
    int32_t *scratch = n > 0 ? malloc((size_t) n * sizeof *scratch) : NULL;
    if (scratch != NULL)
        sort_places(own, n, own + n, scratch);
    else
        index->n = 0; /* nothing is found then */
    free(scratch);
}

/* New place of each kept place of old, -1 of the others; their number. */
static int32_t renumber(const lathe_suffix_index *old, const uint8_t *keep, int32_t *to) {
    int32_t n = 0, answer = 0;
    for (int32_t i = 0; i < old->n; i++) {
        to[i] = keep == NULL || keep[answer] ? n++ : -1;
        answer += old->text[i] == -1;
    }
    return n;
}

lathe_status lathe_suffix_index_join(const lathe_suffix_index *old, const uint8_t *keep,
                                     const lathe_suffix_index *added, lathe_suffix_index *joined,
                                     lathe_error *err) {
    const int64_t most = (int64_t) old->n + added->n;
    int32_t *to = malloc(((size_t) old->n + 1) * sizeof *to);
    int32_t *own = most < INT32_MAX ? malloc((2 * (size_t) most + 1) * sizeof *own) : NULL;
    if (to == NULL || own == NULL) {
        free(to);
        free(own);
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for an index of %lld tokens", (long long) most);
    }
    const int32_t kept = renumber(old, keep, to), n = kept + added->n;
    int32_t *text = own, *sa = own + n;
    for (int32_t i = 0; i < old->n; i++)
        if (to[i] >= 0)
            text[to[i]] = old->text[i];
    if (added->n > 0)
        memcpy(text + kept, added->text, (size_t) added->n * sizeof *text);
    /* What is dropped leaves the order of the rest as it is, and added places come after equal old ones. */
    int32_t a = 0, b = 0, k = 0;
    while (k < n) {
        while (a < old->n && to[old->sa[a]] < 0)
            a++;
        const bool left =
            b >= added->n || (a < old->n && order_of(text + to[old->sa[a]], added->text + added->sa[b]) <= 0);
        sa[k++] = left ? to[old->sa[a++]] : kept + added->sa[b++];
    }
    free(to);
    *joined = (lathe_suffix_index){.text = text, .sa = sa, .n = n, .own = own};
    for (int32_t i = 0; i < n; i++)
        joined->n_answers += text[i] == -1;
    return LATHE_OK;
}

lathe_status lathe_suffix_index_write(const lathe_suffix_index *index, const char *path,
                                      const lathe_log_key *key, uint64_t generation, uint64_t covered,
                                      lathe_error *err) {
    uint8_t rest[28] = {0}, header[LATHE_LOG_HEADER], crc[4];
    const size_t n_bytes = (size_t) index->n * sizeof *index->text;
    lathe_writer *writer = NULL;
    if (!little_endian())
        return LATHE_OK;
    lathe_put64(rest, covered);
    lathe_put64(rest + 8, (uint64_t) index->n);
    lathe_log_header(MAGIC, key, generation, rest, header);
    const uint8_t *text = (const uint8_t *) index->text, *sa = (const uint8_t *) index->sa;
    uint32_t sum = lathe_crc32(0, header, sizeof header);
    sum = lathe_crc32(lathe_crc32(sum, text, n_bytes), sa, n_bytes);
    lathe_put32(crc, sum);
    lathe_status status = lathe_writer_open(path, &writer, err);
    const struct {
        const uint8_t *bytes;
        size_t n;
    } parts[] = {{header, sizeof header}, {text, n_bytes}, {sa, n_bytes}, {crc, sizeof crc}};
    for (size_t i = 0; status == LATHE_OK && i < LATHE_LEN(parts); i++)
        if (parts[i].n > 0)
            status = lathe_writer_add(writer, parts[i].bytes, parts[i].n, err);
    if (status != LATHE_OK) {
        lathe_writer_abandon(writer);
        return status;
    }
    return lathe_writer_commit(writer, err);
}

/* --- Looking up ---------------------------------------------------------------------------------- */

/* First entry of sa whose text is not before w [p]; with `after`, the first behind all that begin with w. */
static int32_t bound(const lathe_suffix_index *index, const int32_t *w, int32_t p, bool after) {
    int32_t low = 0, high = index->n;
    while (low < high) {
        const int32_t mid = low + (high - low) / 2;
        const int32_t *x = index->text + index->sa[mid];
        int order = 0;
        for (int32_t k = 0; k < p && order == 0; k++) /* w has no -1: a text that ends is before it */
            order = x[k] < w[k] ? -1 : x[k] > w[k] ? 1 : 0;
        if (order < 0 || (after && order == 0))
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

void lathe_suffix_index_find(const lathe_suffix_index *index, const int32_t *w, int32_t p, int32_t *low,
                             int32_t *high) {
    *low = bound(index, w, p, false);
    *high = bound(index, w, p, true);
}

int32_t lathe_suffix_index_token(const lathe_suffix_index *index, int32_t entry, int32_t p) {
    const int64_t at = (int64_t) index->sa[entry] + p;
    return at < index->n ? index->text[at] : -1;
}

/* Steps that double, then halves: short runs are the rule. */
int32_t lathe_suffix_index_run(const lathe_suffix_index *index, int32_t low, int32_t high, int32_t p) {
    const int32_t token = lathe_suffix_index_token(index, low, p);
    int32_t step = 1, known = low;
    while (known + step < high && lathe_suffix_index_token(index, known + step, p) == token) {
        known += step;
        step = step < INT32_MAX / 4 ? 2 * step : step;
    }
    int32_t end = known + step < high ? known + step : high;
    while (end - known > 1) {
        const int32_t mid = known + (end - known) / 2;
        if (lathe_suffix_index_token(index, mid, p) == token)
            known = mid;
        else
            end = mid;
    }
    return end;
}
