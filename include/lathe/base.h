/** @file base.h
 * What every room uses: status codes and error messages, checked sizes, random numbers, progress.
 *
 * Conventions of the whole library: a function that can fail returns lathe_status and explains itself in
 * the caller's lathe_error (last argument, may be NULL); outputs are written only on success; x_new/x_load
 * gives, x_free takes (NULL is fine); shapes are written row-major, slowest first. */
#ifndef LATHE_BASE_H
#define LATHE_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lathe/version.h"

#ifdef __cplusplus
extern "C" {
#endif

/** @cond (attributes) */
#if defined(__GNUC__)
#define LATHE_API          __attribute__((visibility("default")))
#define LATHE_PRINTF(f, a) __attribute__((format(printf, f, a)))
#define LATHE_NODISCARD    __attribute__((warn_unused_result))
#else
#define LATHE_API
#define LATHE_PRINTF(f, a)
#define LATHE_NODISCARD
#endif
/** @endcond */

/** Number of elements of an array (never of a pointer). */
#define LATHE_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* --- Errors -------------------------------------------------------------------------------------- */

/** What kind of thing went wrong. The values are part of the ABI: append, never renumber. */
typedef enum lathe_status {
    LATHE_OK = 0,
    LATHE_ERR_ARG = 1,         /**< an argument or option is out of range, or contradicts another */
    LATHE_ERR_INPUT = 2,       /**< a file or data set is malformed */
    LATHE_ERR_IO = 3,          /**< the operating system refused: missing, permission, disk full */
    LATHE_ERR_MEMORY = 4,      /**< an allocation failed, or would pass the memory limit */
    LATHE_ERR_UNSUPPORTED = 5, /**< well-formed, but this build or device cannot do it */
    LATHE_ERR_NUMERIC = 6,     /**< NaN, divergence, a matrix that is not positive definite */
    LATHE_ERR_CANCELLED = 7,   /**< the caller's progress function asked to stop */
    LATHE_ERR_INTERNAL = 8,    /**< an invariant of ours is broken: please report */
} lathe_status;

/** Message for people: one sentence, no newline. Lives where the caller puts it; zero it once. */
typedef struct lathe_error {
    lathe_status status; /**< LATHE_OK until something failed */
    char text[508];      /**< NUL-terminated UTF-8, cut if too long */
} lathe_error;

/** Writes the message (if err is not NULL) and returns status, so that a failure is one line. */
LATHE_API lathe_status lathe_fail(lathe_error *err, lathe_status status, const char *fmt, ...)
    LATHE_PRINTF(3, 4);

/** Puts "prefix: " in front of a message that a callee left; returns err's status (LATHE_ERR_INTERNAL
 * where err is NULL). */
LATHE_API lathe_status lathe_fail_within(lathe_error *err, const char *fmt, ...) LATHE_PRINTF(2, 3);

/** The short name of a status as the JSON error object has it: "usage", "input", "io", ... */
LATHE_API const char *lathe_status_name(lathe_status status);

/** "0.1.0": of the library that is linked, not of the header. */
LATHE_API const char *lathe_version(void);

/* --- Sizes --------------------------------------------------------------------------------------- */

/** *out = a * b, or false on overflow. For every size that a file or an option can influence. */
static inline bool lathe_size_mul(size_t a, size_t b, size_t *out) {
    if (b != 0 && a > SIZE_MAX / b)
        return false;
    *out = a * b;
    return true;
}

/** *out = a + b, or false on overflow. */
static inline bool lathe_size_add(size_t a, size_t b, size_t *out) {
    if (a > SIZE_MAX - b)
        return false;
    *out = a + b;
    return true;
}

/* --- Random numbers ------------------------------------------------------------------------------ */

/** One block of Philox4x32-10: key = seed, counter = (purpose, w1, w2, w3); out[4] are 32-bit words.
 *
 * The same arguments give the same bits on every machine and at any thread count. Purposes are listed in
 * one table, src/base/rng_purpose.h.
 * Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3". */
LATHE_API void lathe_philox(uint64_t seed, uint32_t purpose, uint32_t w1, uint32_t w2, uint32_t w3,
                            uint32_t out[4]);

/** The uniform double in [0, 1) of one block: its first 64 bits, of which 53 count. */
LATHE_API double lathe_uniform_at(uint64_t seed, uint32_t purpose, uint32_t w1, uint32_t w2, uint32_t w3);

/** A stream of numbers on top of lathe_philox, for uses without an index of their own: word 1 is the
 * sub-stream (a trial, say), words 2 and 3 count blocks. A plain value: copying it forks the stream. */
typedef struct lathe_rng {
    uint64_t seed;     /**< what the user gave */
    uint32_t purpose;  /**< which use (rng_purpose.h) */
    uint32_t sub;      /**< which sub-stream */
    uint64_t position; /**< index of the next 64-bit draw; two a block */
} lathe_rng;

/** The stream's beginning. */
LATHE_API lathe_rng lathe_rng_new(uint64_t seed, uint32_t purpose, uint32_t sub);
/** Next 64 uniform bits. */
LATHE_API uint64_t lathe_rng_u64(lathe_rng *rng);
/** Uniform in [0, 1), 53 bits. */
LATHE_API double lathe_rng_uniform(lathe_rng *rng);
/** Uniform in {0, ..., n - 1} without bias; n >= 1. */
LATHE_API uint64_t lathe_rng_below(lathe_rng *rng, uint64_t n);
/** Standard normal (Box-Muller; two draws each, so that positions stay predictable). */
LATHE_API double lathe_rng_normal(lathe_rng *rng);
/** Standard exponential. */
LATHE_API double lathe_rng_exponential(lathe_rng *rng);
/** Gamma(shape, 1), shape > 0 (Marsaglia-Tsang 2000). */
LATHE_API double lathe_rng_gamma(lathe_rng *rng, double shape);
/** Index drawn with probability w[i] / sum(w); w >= 0 with a positive finite sum; [n]. */
LATHE_API size_t lathe_rng_categorical(lathe_rng *rng, const double *w, size_t n);
/** Fills out[n] with a uniform permutation of 0 .. n - 1. */
LATHE_API void lathe_rng_permutation(lathe_rng *rng, int32_t *out, int32_t n);

/* --- Progress, cancellation, messages ------------------------------------------------------------ */

/** How long work reports itself and is stopped. Zero it for "silent, never stops". */
typedef struct lathe_progress {
    /** Called now and then with work done and total (total 0: unknown); false asks to stop, and the
     * function that works then returns LATHE_ERR_CANCELLED. May be NULL. */
    bool (*step)(void *user, const char *what, double done, double total);
    void *user;
} lathe_progress;

/** Reports and asks in one line: LATHE_OK, or LATHE_ERR_CANCELLED with a message. progress may be NULL. */
LATHE_API LATHE_NODISCARD lathe_status lathe_progress_step(const lathe_progress *progress, const char *what,
                                                           double done, double total, lathe_error *err);

/** Where notes and warnings of the library go. Zero it for "nowhere". */
typedef enum lathe_log_level {
    LATHE_LOG_ERROR,
    LATHE_LOG_WARN,
    LATHE_LOG_INFO,
    LATHE_LOG_DEBUG
} lathe_log_level;
typedef struct lathe_logger {
    void (*write)(void *user, lathe_log_level level,
                  const char *text); /**< one line without newline; may be NULL */
    void *user;
} lathe_logger;

/** Formats and hands one line to the logger; does nothing where it is NULL. */
LATHE_API void lathe_log(const lathe_logger *logger, lathe_log_level level, const char *fmt, ...)
    LATHE_PRINTF(3, 4);

#ifdef __cplusplus
}
#endif
#endif
