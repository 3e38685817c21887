/* device.h - where graphs run: ggml backends behind their registry. device.c is the only file that touches
 * backend specifics, and it does so by the names a backend's registry offers, so that built-in backends and
 * plug-ins work alike. */
#ifndef LATHE_TENSOR_DEVICE_H
#define LATHE_TENSOR_DEVICE_H

#include <ggml-alloc.h>
#include <ggml-backend.h>
#include <ggml.h>

#include "lathe/base.h"

typedef struct lathe_device lathe_device;

/* Makes plug-ins known to ggml; before its registry is asked anything. Does nothing where backends are linked
 * in. */
void lathe_device_find_all(void);
/* Opens a device by ggml's name for it ("CUDA0"); NULL: the processor. UNSUPPORTED lists the names there are.
 */
LATHE_NODISCARD lathe_status lathe_device_open(const char *name, lathe_device **device, lathe_error *err);
/* Opens the first device of a worker at "host:port" (lathe worker). IO where nobody answers within two
 * seconds or the versions do not fit. */
LATHE_NODISCARD lathe_status lathe_device_open_remote(const char *endpoint, lathe_device **device,
                                                      lathe_error *err);
/* Whether somebody accepts connections at "host:port", within two seconds. */
bool lathe_worker_answers(const char *endpoint);
/* fn(text) is called where ggml would abort the process, of which there is one: for programs, not for the
 * library. fn must not return. */
void lathe_device_on_abort(void (*fn)(const char *text));
/* Holds back the lines that ggml itself writes about errors, for the process: ours say what failed. */
void lathe_device_hush_errors(void);
void lathe_device_free(lathe_device *device);

ggml_backend_t lathe_device_backend(const lathe_device *device);
const char *lathe_device_name(const lathe_device *device);
bool lathe_device_is_cpu(const lathe_device *device);
bool lathe_device_is_remote(const lathe_device *device);
int64_t lathe_device_memory_free(const lathe_device *device); /* bytes; for the processor MemAvailable */

/* Threads of the processor's graphs, with a pool of that size kept between graphs (sizes that were used
 * before keep theirs); does nothing elsewhere. */
LATHE_NODISCARD lathe_status lathe_device_set_threads(lathe_device *device, int n_threads, lathe_error *err);
/* The kernels whose result depends neither on threads nor on the batch (engine.md 2.6); false where the
 * device has no such switch. */
bool lathe_device_set_ref(lathe_device *device, bool on);
/* abort_fn(user) is polled between nodes; true ends the computation with GGML_STATUS_ABORTED. */
void lathe_device_set_abort(lathe_device *device, bool (*abort_fn)(void *user), void *user);

/* A buffer over memory of ours (the processor only): weights in a mapped file. ptr: a multiple of 32. */
ggml_backend_buffer_t lathe_device_wrap(void *ptr, size_t n_bytes);
/* Bytes of n_bytes rounded up to the alignment that tensors of this device need. */
size_t lathe_device_alignment(const lathe_device *device);

/* Backends by themselves, for graphs of f32 (training, curvature): the processor, and BLAS, which stands
 * before it in a scheduler. NULL where there is none; LATHE_BLAS=off means none. For ggml_backend_free. */
ggml_backend_t lathe_backend_cpu(int n_threads);
ggml_backend_t lathe_backend_blas(int n_threads);

#endif
