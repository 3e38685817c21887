/* abort.c - see abort.h. State of the process, since ggml's callback carries none. */
#include "cli/abort.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tensor/device.h"

static const char *verb_name = "";
static char workers[1024];

/* The file's name without its folders: "/a/b/c.cpp:7: text" is "c.cpp:7: text". */
static const char *without_folders(const char *text) {
    const char *colon = strchr(text, ':'), *base = text;
    for (const char *c = text; colon != NULL && c < colon; c++)
        if (*c == '/')
            base = c + 1;
    return base;
}

/* The first worker that nobody answers at; a dying process may hold its port for a moment, so that each is
 * asked up to ten times. All of them where each answers. */
static void find_gone(char *out, size_t n_out) {
    snprintf(out, n_out, "%s", workers);
    for (int attempt = 0; attempt < 10; attempt++) {
        for (const char *at = workers; *at != '\0';) {
            char endpoint[256];
            const size_t n = strcspn(at, ",");
            if (n > 0 && n < sizeof endpoint) {
                memcpy(endpoint, at, n);
                endpoint[n] = '\0';
                if (!lathe_worker_answers(endpoint)) {
                    snprintf(out, n_out, "%s", endpoint);
                    return;
                }
            }
            at += n + (at[n] == ',');
        }
        (void) poll(NULL, 0, 50);
    }
}

static void on_abort(const char *text) {
    char line[4096], gone[sizeof workers];
    int n;
    if (workers[0] != '\0' && strstr(text, "RPC") != NULL) {
        find_gone(gone, sizeof gone);
        n = snprintf(line, sizeof line, "lathe %s: worker %s is gone or answers wrongly (%s)\n", verb_name,
                     gone, without_folders(text));
    } else {
        n = snprintf(line, sizeof line, "lathe %s: ggml cannot go on (%s)\n", verb_name,
                     without_folders(text));
    }
    if (n > 0 && (size_t) n >= sizeof line)
        n = (int) sizeof line - 1;
    for (int i = 0; i + 1 < n; i++)
        if (line[i] == '\n')
            line[i] = ' ';
    for (int i = 0; i < n;) {
        const ssize_t k = write(STDERR_FILENO, line + i, (size_t) (n - i));
        if (k <= 0)
            break;
        i += (int) k;
    }
    _exit(1);
}

void lathe_cli_abort_install(const char *verb) {
    verb_name = verb;
    lathe_device_on_abort(on_abort);
}

void lathe_cli_abort_workers(const char *endpoints) {
    snprintf(workers, sizeof workers, "%s", endpoints != NULL ? endpoints : "");
    if (workers[0] != '\0')
        lathe_device_hush_errors();
}
