/* verb_worker.c - `lathe worker`: this machine's device for others, by ggml's RPC protocol. */
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/machine.h"
#include "cli/cli.h"
#include "lathe/tensor.h"

typedef struct worker_args {
    bool unused; /* offset 0 stands for "no such field" */
    const char *listen, *rpc_cache;
    int64_t n_threads;
    bool trusted;
} worker_args;

#define AT(field) offsetof(worker_args, field)
static const lathe_option options[] = {
    {.name = "listen",
     .group = "worker",
     .arg = "HOST:PORT",
     .kind = LATHE_OPTION_TEXT,
     .offset = AT(listen),
     .default_text = "127.0.0.1:50052",
     .help = "address to listen at"},
    {.name = "i-trust-this-network",
     .group = "worker",
     .kind = LATHE_OPTION_FLAG,
     .offset = AT(trusted),
     .help = "allow other addresses than this machine's own: the protocol knows no password"},
    {.name = "threads",
     .short_name = "t",
     .group = "worker",
     .arg = "N",
     .kind = LATHE_OPTION_INT,
     .offset = AT(n_threads),
     .min = 0,
     .max = 1024,
     .env = "LATHE_THREADS",
     .default_text = "the cores there are",
     .help = "threads"},
    {.name = "rpc-cache",
     .group = "worker",
     .arg = "FOLDER",
     .kind = LATHE_OPTION_FILE,
     .offset = AT(rpc_cache),
     .help = "keep large weights here, so that they are sent once"},
};
static const lathe_option *const tables[] = {options};
static const size_t n_options[] = {LATHE_LEN(options)};

static void defaults(void *arguments) {
    ((worker_args *) arguments)->listen = "127.0.0.1:50052";
}

/* The server never returns, so that a signal ends the program itself. */
static void leave(int number) {
    _exit(number == SIGTERM ? 143 : 130);
}

static bool is_own_address(const char *endpoint) {
    return strncmp(endpoint, "127.", 4) == 0 || strncmp(endpoint, "localhost:", 10) == 0 ||
           strncmp(endpoint, "[::1]:", 6) == 0;
}

static lathe_status run(const void *arguments, lathe_cli *cli, lathe_error *err) {
    const worker_args *args = arguments;
    if (cli->n_positional > 0)
        return lathe_fail(err, LATHE_ERR_ARG, "'%.60s' is not expected; want --listen HOST:PORT",
                          cli->positional[0]);
    if (!strchr(args->listen, ':'))
        return lathe_fail(err, LATHE_ERR_ARG,
                          "--listen %.200s: no address; HOST:PORT is right, as 127.0.0.1:50052",
                          args->listen);
    if (!is_own_address(args->listen)) {
        if (!args->trusted)
            return lathe_fail(
                err, LATHE_ERR_ARG,
                "--listen %.200s: who can reach this address can run code here; use 127.0.0.1 and "
                "an ssh tunnel, or say --i-trust-this-network",
                args->listen);
        const bool red = isatty(STDERR_FILENO) && cli->colour;
        fprintf(
            cli->err,
            "%slathe worker: warning: %s has no password and no encryption; anybody who reaches it can run "
            "code here%s\n",
            red ? "\033[31m" : "", args->listen, red ? "\033[0m" : "");
    }
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = leave;
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    if (cli->quiet == 0)
        fprintf(cli->err, "lathe worker: serving this machine's device at %s; Ctrl-C ends\n", args->listen);
    return lathe_worker_serve(args->listen, args->rpc_cache,
                              args->n_threads > 0 ? (int) args->n_threads : lathe_n_cores(), err);
}

extern const lathe_verb lathe_verb_worker;
const lathe_verb lathe_verb_worker = {
    .name = "worker",
    .summary = "serve this machine's device to others",
    .usage = "lathe worker [--listen HOST:PORT] [-t N]",
    .examples = "lathe worker --listen 127.0.0.1:50052\n"
                "lathe run model.gguf --rpc 127.0.0.1:50052 \"Once upon a time\"",
    .schema = "lathe.worker/1",
    .options = {tables, n_options, 1},
    .args_size = sizeof(worker_args),
    .defaults = defaults,
    .run = run,
};
