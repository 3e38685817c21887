/* sampler_process.c - an oracle that is another program: one JSON line a request, one a reply.
 *   to it:   {"nodes":["a","b"],"n":40}
 *   from it: {"rows":[[0,1],...]}    n rows, a value 0 or 1 (or -1, 1) for each node */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/json.h"
#include "tree/tree.h"

enum { REPLY_LIMIT = 1 << 28, ROWS_A_REQUEST = 1024 };

struct lathe_sampler_process {
    pid_t pid;
    int to, from;
    int timeout_ms;
    char **names;
    int32_t p;
    lathe_buf reply;
};

lathe_status lathe_sampler_process_new(const char *command, int32_t p, char *const *names, double timeout_s,
                                       lathe_sampler_process **out, lathe_error *err) {
    lathe_sampler_process *s = calloc(1, sizeof *s);
    char **copies = calloc((size_t) (p > 0 ? p : 1), sizeof *copies);
    bool ok = s != NULL && copies != NULL;
    for (int32_t i = 0; ok && i < p; i++) {
        copies[i] = lathe_tree_strdup(names[i]);
        ok = copies[i] != NULL;
    }
    int down[2] = {-1, -1}, up[2] = {-1, -1};
    if (!ok || pipe(down) != 0 || pipe(up) != 0) {
        lathe_names_free(copies, copies != NULL ? p : 0);
        free(s);
        for (int k = 0; k < 2; k++) {
            if (down[k] >= 0)
                close(down[k]);
            if (up[k] >= 0)
                close(up[k]);
        }
        return lathe_fail(err, ok ? LATHE_ERR_IO : LATHE_ERR_MEMORY, "sampler: no pipes or memory");
    }
    const pid_t pid = fork();
    if (pid == 0) { /* the child */
        dup2(down[0], 0);
        dup2(up[1], 1);
        close(down[0]);
        close(down[1]);
        close(up[0]);
        close(up[1]);
        execl("/bin/sh", "sh", "-c", command, (char *) NULL);
        _exit(127);
    }
    close(down[0]);
    close(up[1]);
    *s = (struct lathe_sampler_process){.pid = pid,
                                        .to = down[1],
                                        .from = up[0],
                                        .timeout_ms = (int) (timeout_s * 1000),
                                        .names = copies,
                                        .p = p};
    lathe_buf_init(&s->reply, REPLY_LIMIT);
    if (pid < 0) {
        lathe_sampler_process_free(s);
        return lathe_fail(err, LATHE_ERR_IO, "sampler: cannot start '%.200s'", command);
    }
    *out = s;
    return LATHE_OK;
}

void lathe_sampler_process_free(lathe_sampler_process *s) {
    if (s == NULL)
        return;
    close(s->to);
    close(s->from);
    if (s->pid > 0) {
        int status;
        for (int k = 0; k < 20 && waitpid(s->pid, &status, WNOHANG) == 0; k++) {
            if (k == 10)
                kill(s->pid, SIGTERM);
            poll(NULL, 0, 20);
            if (k == 19) {
                kill(s->pid, SIGKILL);
                waitpid(s->pid, &status, 0);
            }
        }
    }
    lathe_names_free(s->names, s->p);
    lathe_buf_free(&s->reply);
    free(s);
}

static lathe_status send_line(lathe_sampler_process *s, const char *line, lathe_error *err) {
    size_t n = strlen(line), at = 0;
    while (at < n) {
        const ssize_t k = write(s->to, line + at, n - at);
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            return lathe_fail(err, LATHE_ERR_IO, "sampler: the program no longer reads (has it ended?)");
        at += (size_t) k;
    }
    return LATHE_OK;
}

static lathe_status read_line(lathe_sampler_process *s, lathe_error *err) {
    lathe_buf_clear(&s->reply);
    for (;;) {
        struct pollfd wait = {.fd = s->from, .events = POLLIN};
        const int ready = poll(&wait, 1, s->timeout_ms);
        if (ready < 0 && errno == EINTR)
            continue;
        if (ready == 0)
            return lathe_fail(err, LATHE_ERR_IO, "sampler: no reply within %d s", s->timeout_ms / 1000);
        char piece[65536];
        const ssize_t k = read(s->from, piece, sizeof piece);
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            return lathe_fail(err, LATHE_ERR_IO, "sampler: the program ended without a reply");
        const char *end = memchr(piece, '\n', (size_t) k);
        lathe_status st =
            lathe_buf_add(&s->reply, piece, end != NULL ? (size_t) (end - piece) : (size_t) k, err);
        if (st)
            return st;
        if (end != NULL && end + 1 != piece + k)
            return lathe_fail(err, LATHE_ERR_INPUT, "sampler: more than one line in reply to one request");
        if (end != NULL)
            return LATHE_OK;
    }
}

static lathe_status take_rows(const json_t *reply, int32_t n_nodes, int64_t m, uint8_t *out,
                              lathe_error *err) {
    const json_t *rows = json_object_get(reply, "rows");
    if (!json_is_array(rows) || (int64_t) json_array_size(rows) != m)
        return lathe_fail(err, LATHE_ERR_INPUT, "sampler: the reply holds %lld rows, %lld were asked for",
                          json_is_array(rows) ? (long long) json_array_size(rows) : -1LL, (long long) m);
    for (int64_t t = 0; t < m; t++) {
        const json_t *row = json_array_get(rows, (size_t) t);
        if (!json_is_array(row) || (int64_t) json_array_size(row) != n_nodes)
            return lathe_fail(err, LATHE_ERR_INPUT, "sampler: row %lld of the reply has not %d values",
                              (long long) t + 1, (int) n_nodes);
        for (int32_t k = 0; k < n_nodes; k++) {
            const json_t *x = json_array_get(row, (size_t) k);
            const json_int_t value = json_is_integer(x)   ? json_integer_value(x)
                                     : json_is_boolean(x) ? json_is_true(x)
                                                          : 99;
            if (value < -1 || value > 1)
                return lathe_fail(err, LATHE_ERR_INPUT,
                                  "sampler: row %lld, value %d of the reply is not 0 or 1", (long long) t + 1,
                                  (int) k + 1);
            out[t * n_nodes + k] = value == 1;
        }
    }
    return LATHE_OK;
}

lathe_status lathe_sampler_process_sample(void *process, const int32_t *nodes, int32_t n_nodes, int64_t m,
                                          uint8_t *out, lathe_error *err) {
    lathe_sampler_process *s = process;
    lathe_status st = LATHE_OK;
    for (int64_t begin = 0; begin < m && !st; begin += ROWS_A_REQUEST) {
        const int64_t k = m - begin < ROWS_A_REQUEST ? m - begin : ROWS_A_REQUEST;
        json_t *names = json_array(), *reply = NULL;
        for (int32_t i = 0; i < n_nodes; i++)
            json_array_append_new(names, lathe_json_string(s->names[nodes[i]]));
        json_t *request = json_pack("{s:o, s:I}", "nodes", names, "n", (json_int_t) k);
        char *line = request != NULL ? lathe_json_text(request) : NULL;
        json_decref(request);
        if (line == NULL)
            return lathe_fail(err, LATHE_ERR_MEMORY, "sampler: no memory for a request");
        st = send_line(s, line, err);
        if (!st)
            st = send_line(s, "\n", err);
        free(line);
        if (!st)
            st = read_line(s, err);
        if (!st)
            st = lathe_json_parse(s->reply.data != NULL ? s->reply.data : "", s->reply.n_bytes,
                                  "sampler's reply", &reply, err);
        if (!st)
            st = take_rows(reply, n_nodes, k, out + begin * n_nodes, err);
        json_decref(reply);
    }
    return st;
}
