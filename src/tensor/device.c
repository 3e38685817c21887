/* device.c - ggml backends by the names that their registries offer (engine.md 1.4), threads, remote devices.
 */
#include "tensor/device.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/machine.h"
#include "lathe/tensor.h"

enum { POOLS_MAX = 8, CONNECT_MILLISECONDS = 2000 };

typedef void (*set_threads_fn)(ggml_backend_t, int);
typedef struct ggml_threadpool *(*pool_new_fn)(struct ggml_threadpool_params *);
typedef void (*pool_free_fn)(struct ggml_threadpool *);
typedef void (*set_pool_fn)(ggml_backend_t, struct ggml_threadpool *);
typedef void (*set_abort_fn)(ggml_backend_t, ggml_abort_callback, void *);
typedef void (*set_ref_fn)(ggml_backend_t, bool);
typedef ggml_backend_reg_t (*rpc_add_fn)(const char *);
typedef void (*rpc_serve_fn)(const char *, const char *, size_t, size_t, ggml_backend_dev_t *);

struct lathe_device {
    ggml_backend_dev_t dev;
    ggml_backend_t backend;
    bool is_cpu, is_remote, ref;
    char endpoint[256];
    set_threads_fn set_threads;
    pool_new_fn pool_new;
    pool_free_fn pool_free;
    set_pool_fn set_pool;
    set_abort_fn set_abort;
    set_ref_fn set_ref;
    int n_threads;
    struct {
        int n_threads;
        struct ggml_threadpool *pool;
    } pools[POOLS_MAX];
    int n_pools;
};

/* ISO C has no conversion between object and function pointers; POSIX promises that their bits agree. */
static bool lookup(ggml_backend_dev_t dev, const char *name, void *fn, size_t n_fn) {
    ggml_backend_reg_t reg = ggml_backend_dev_backend_reg(dev);
    void *address = reg != NULL ? ggml_backend_reg_get_proc_address(reg, name) : NULL;
    memcpy(fn, &address, n_fn);
    return address != NULL;
}
#define LOOKUP(dev, name, fn) lookup((dev), (name), &(fn), sizeof(fn))

static void log_nothing(enum ggml_log_level level, const char *text, void *user) {
    (void) level, (void) text, (void) user;
}

/* Built-in backends are there at once; plug-ins (Debian's ggml) are looked for at the first call, of which
 * ggml tells everybody on stderr unless it is asked not to. */
void lathe_device_find_all(void) {
    ggml_log_callback callback;
    void *user;
    if (ggml_backend_dev_count() > 0)
        return;
    ggml_log_get(&callback, &user);
    ggml_log_set(log_nothing, NULL);
    ggml_backend_load_all();
    ggml_log_set(callback, user);
}

static lathe_status device_start(ggml_backend_dev_t dev, lathe_device **out, lathe_error *err) {
    lathe_device *d = calloc(1, sizeof *d);
    if (d == NULL)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a device");
    d->dev = dev;
    d->is_cpu = ggml_backend_dev_type(dev) == GGML_BACKEND_DEVICE_TYPE_CPU;
    d->backend = ggml_backend_dev_init(dev, NULL);
    if (d->backend == NULL) {
        free(d);
        return lathe_fail(err, LATHE_ERR_UNSUPPORTED, "device %s does not start", ggml_backend_dev_name(dev));
    }
    (void) LOOKUP(dev, "ggml_backend_set_n_threads", d->set_threads);
    (void) LOOKUP(dev, "ggml_threadpool_new", d->pool_new);
    (void) LOOKUP(dev, "ggml_threadpool_free", d->pool_free);
    (void) LOOKUP(dev, "ggml_backend_cpu_set_threadpool", d->set_pool);
    (void) LOOKUP(dev, "ggml_backend_set_abort_callback", d->set_abort);
    (void) LOOKUP(dev, "ggml_backend_cpu_set_use_ref", d->set_ref);
    *out = d;
    return LATHE_OK;
}

/* Names of all devices, for a message. */
static void list_names(char *out, size_t n_out) {
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < ggml_backend_dev_count() && used + 1 < n_out; i++) {
        int n = snprintf(out + used, n_out - used, "%s%s", used > 0 ? ", " : "",
                         ggml_backend_dev_name(ggml_backend_dev_get(i)));
        used += n > 0 ? (size_t) n : 0;
    }
}

lathe_status lathe_device_open(const char *name, lathe_device **device, lathe_error *err) {
    lathe_device_find_all();
    ggml_backend_dev_t dev = name == NULL || strcmp(name, "cpu") == 0
                                 ? ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU)
                                 : ggml_backend_dev_by_name(name);
    if (dev == NULL) {
        char names[256];
        list_names(names, sizeof names);
        return lathe_fail(err, LATHE_ERR_UNSUPPORTED, "no device '%s'; there are: %s",
                          name != NULL ? name : "CPU", names);
    }
    return device_start(dev, device, err);
}

/* --- Remote devices ------------------------------------------------------------------------------ */

static bool split_endpoint(const char *endpoint, char *host, size_t n_host, const char **port) {
    const char *colon = strrchr(endpoint, ':');
    if (colon == NULL || colon == endpoint || colon[1] == '\0' || (size_t) (colon - endpoint) >= n_host)
        return false;
    memcpy(host, endpoint, (size_t) (colon - endpoint));
    host[colon - endpoint] = '\0';
    *port = colon + 1;
    for (const char *c = *port; *c != '\0'; c++)
        if (*c < '0' || *c > '9')
            return false;
    return strlen(*port) <= 5;
}

/* One connection with a limit, since ggml's own would wait for the system's on a filtered port. */
static bool somebody_listens(const struct addrinfo *a) {
    int fd = socket(a->ai_family, a->ai_socktype, a->ai_protocol);
    if (fd < 0)
        return false;
    int flags = fcntl(fd, F_GETFL, 0);
    bool ok = flags >= 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0;
    if (ok && connect(fd, a->ai_addr, a->ai_addrlen) != 0) {
        struct pollfd p = {.fd = fd, .events = POLLOUT};
        int code = 0;
        socklen_t n = sizeof code;
        ok = errno == EINPROGRESS && poll(&p, 1, CONNECT_MILLISECONDS) == 1 &&
             getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &n) == 0 && code == 0;
    }
    close(fd);
    return ok;
}

/* false where the host's name is not known. */
static bool find_host(const char *endpoint, struct addrinfo **found) {
    char host[200];
    const char *port;
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    return split_endpoint(endpoint, host, sizeof host, &port) && getaddrinfo(host, port, &hints, found) == 0;
}

bool lathe_worker_answers(const char *endpoint) {
    struct addrinfo *found = NULL;
    bool listens = false;
    if (!find_host(endpoint, &found))
        return false;
    for (const struct addrinfo *a = found; a != NULL && !listens; a = a->ai_next)
        listens = somebody_listens(a);
    freeaddrinfo(found);
    return listens;
}

lathe_status lathe_device_open_remote(const char *endpoint, lathe_device **device, lathe_error *err) {
    char host[200];
    const char *port;
    struct addrinfo *found = NULL;
    if (!split_endpoint(endpoint, host, sizeof host, &port))
        return lathe_fail(err, LATHE_ERR_ARG, "'%s' is no worker's address; host:port is right", endpoint);
    if (!find_host(endpoint, &found))
        return lathe_fail(err, LATHE_ERR_IO, "worker %s: the host's name is not known", endpoint);
    freeaddrinfo(found);
    if (!lathe_worker_answers(endpoint))
        return lathe_fail(err, LATHE_ERR_IO,
                          "worker %s: nobody answers; start it with: lathe worker --listen %s", endpoint,
                          endpoint);
    lathe_device_find_all();
    ggml_backend_reg_t rpc = ggml_backend_reg_by_name("RPC");
    void *address =
        rpc != NULL ? ggml_backend_reg_get_proc_address(rpc, "ggml_backend_rpc_add_server") : NULL;
    if (address == NULL)
        return lathe_fail(err, LATHE_ERR_UNSUPPORTED,
                          "this build has no RPC backend; build ggml with GGML_RPC=ON");
    rpc_add_fn add_server;
    memcpy(&add_server, &address, sizeof add_server);
    ggml_backend_reg_t server = add_server(endpoint);
    if (server == NULL || ggml_backend_reg_dev_count(server) == 0)
        return lathe_fail(err, LATHE_ERR_IO,
                          "worker %s: its protocol does not fit; run the same lathe on all hosts", endpoint);
    lathe_status status = device_start(ggml_backend_reg_dev_get(server, 0), device, err);
    if (status != LATHE_OK)
        return status;
    (*device)->is_remote = true;
    snprintf((*device)->endpoint, sizeof(*device)->endpoint, "%s", endpoint);
    return LATHE_OK;
}

lathe_status lathe_worker_serve(const char *endpoint, const char *cache_dir, int n_threads,
                                lathe_error *err) {
    char host[200];
    const char *port;
    if (endpoint == NULL || !split_endpoint(endpoint, host, sizeof host, &port))
        return lathe_fail(err, LATHE_ERR_ARG, "'%s' is no address to listen at; host:port is right",
                          endpoint != NULL ? endpoint : "");
    if (n_threads < 1)
        return lathe_fail(err, LATHE_ERR_ARG, "%d threads; at least 1 is right", n_threads);
    lathe_device_find_all();
    ggml_backend_reg_t rpc = ggml_backend_reg_by_name("RPC");
    void *address =
        rpc != NULL ? ggml_backend_reg_get_proc_address(rpc, "ggml_backend_rpc_start_server") : NULL;
    if (address == NULL)
        return lathe_fail(err, LATHE_ERR_UNSUPPORTED,
                          "this build has no RPC backend; build ggml with GGML_RPC=ON");
    rpc_serve_fn serve;
    memcpy(&serve, &address, sizeof serve);
    /* One device: an accelerator where there is one, else the processor. */
    ggml_backend_dev_t dev = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_GPU);
    if (dev == NULL)
        dev = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
    if (dev == NULL)
        return lathe_fail(err, LATHE_ERR_UNSUPPORTED, "there is no device to serve");
    serve(endpoint, cache_dir, (size_t) n_threads, 1, &dev);
    return lathe_fail(err, LATHE_ERR_IO, "%s: cannot listen there", endpoint);
}

/* --- What a device does -------------------------------------------------------------------------- */

void lathe_device_free(lathe_device *d) {
    if (d == NULL)
        return;
    if (d->set_pool != NULL)
        d->set_pool(d->backend, NULL);
    for (int i = 0; i < d->n_pools; i++)
        d->pool_free(d->pools[i].pool);
    ggml_backend_free(d->backend);
    free(d);
}

ggml_backend_t lathe_device_backend(const lathe_device *device) {
    return device->backend;
}
const char *lathe_device_name(const lathe_device *device) {
    return device->is_remote ? device->endpoint : ggml_backend_dev_name(device->dev);
}
bool lathe_device_is_cpu(const lathe_device *device) {
    return device->is_cpu;
}
bool lathe_device_is_remote(const lathe_device *device) {
    return device->is_remote;
}

int64_t lathe_device_memory_free(const lathe_device *device) {
    if (device->is_cpu)
        return lathe_memory_available();
    size_t free_bytes = 0, total = 0;
    ggml_backend_dev_memory(device->dev, &free_bytes, &total);
    return free_bytes > INT64_MAX ? INT64_MAX : (int64_t) free_bytes;
}

lathe_status lathe_device_set_threads(lathe_device *d, int n_threads, lathe_error *err) {
    if (!d->is_cpu || d->n_threads == n_threads || d->set_threads == NULL)
        return LATHE_OK;
    if (n_threads < 1 || n_threads > GGML_MAX_N_THREADS)
        return lathe_fail(err, LATHE_ERR_ARG, "%d threads; 1 to %d are right", n_threads, GGML_MAX_N_THREADS);
    if (d->pool_new != NULL && d->pool_free != NULL && d->set_pool != NULL) {
        struct ggml_threadpool *pool = NULL;
        for (int i = 0; i < d->n_pools; i++)
            if (d->pools[i].n_threads == n_threads)
                pool = d->pools[i].pool;
        if (pool == NULL && d->n_pools < POOLS_MAX) {
            struct ggml_threadpool_params params = ggml_threadpool_params_default(n_threads);
            params.poll = 50; /* look for work a while, then sleep: by measurement (bench/README.md) */
            pool = d->pool_new(&params);
            if (pool == NULL)
                return lathe_fail(err, LATHE_ERR_MEMORY, "a pool of %d threads does not start", n_threads);
            d->pools[d->n_pools].pool = pool;
            d->pools[d->n_pools++].n_threads = n_threads;
        }
        d->set_pool(d->backend,
                    pool); /* NULL where POOLS_MAX sizes are in use: threads start with each graph */
    }
    d->set_threads(d->backend, n_threads);
    d->n_threads = n_threads;
    return LATHE_OK;
}

bool lathe_device_set_ref(lathe_device *d, bool on) {
    if (d->set_ref == NULL)
        return false;
    if (d->ref != on)
        d->set_ref(d->backend, on);
    d->ref = on;
    return true;
}

void lathe_device_on_abort(void (*fn)(const char *text)) {
    (void) ggml_set_abort_callback(fn);
}

static void log_but_errors(enum ggml_log_level level, const char *text, void *user) {
    (void) user;
    if (level != GGML_LOG_LEVEL_ERROR)
        fputs(text, stderr);
}
void lathe_device_hush_errors(void) {
    ggml_log_set(log_but_errors, NULL);
}

void lathe_device_set_abort(lathe_device *d, bool (*abort_fn)(void *user), void *user) {
    if (d->set_abort != NULL)
        d->set_abort(d->backend, abort_fn, user);
}

ggml_backend_buffer_t lathe_device_wrap(void *ptr, size_t n_bytes) {
    return ggml_backend_cpu_buffer_from_ptr(ptr, n_bytes);
}

size_t lathe_device_alignment(const lathe_device *device) {
    return ggml_backend_get_alignment(device->backend);
}

/* --- Backends by themselves ---------------------------------------------------------------------- */

static ggml_backend_t start_backend(ggml_backend_dev_t dev, int n_threads) {
    ggml_backend_t backend = dev != NULL ? ggml_backend_dev_init(dev, NULL) : NULL;
    set_threads_fn set_threads;
    if (backend != NULL && LOOKUP(dev, "ggml_backend_set_n_threads", set_threads))
        set_threads(backend, n_threads);
    return backend;
}

ggml_backend_t lathe_backend_cpu(int n_threads) {
    lathe_device_find_all();
    return start_backend(ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU), n_threads);
}

ggml_backend_t lathe_backend_blas(int n_threads) {
    const char *wanted = getenv("LATHE_BLAS");
    lathe_device_find_all();
    return wanted != NULL && strcmp(wanted, "off") == 0
               ? NULL
               : start_backend(ggml_backend_dev_by_name("BLAS"), n_threads);
}
