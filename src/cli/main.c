/* main.c - picks the verb, parses its options, runs it, prints the result or the error: the only exit. */
#define _DEFAULT_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"
#include "base/machine.h"
#include "base/text.h"
#include "cli/abort.h"
#include "cli/help.h"

/* --- Signals ------------------------------------------------------------------------------------- */

static volatile sig_atomic_t interrupted_by = 0;
static volatile sig_atomic_t interrupted_at = 0;

/* The first Ctrl-C asks to stop; a second within two seconds ends the program at once. */
static void on_signal(int number) {
    const sig_atomic_t now = (sig_atomic_t) time(NULL);
    if (interrupted_by == SIGINT && number == SIGINT && now - interrupted_at <= 2)
        _exit(130);
    interrupted_by = number;
    interrupted_at = now;
}

bool lathe_cli_interrupted(void) {
    return interrupted_by != 0;
}

void lathe_cli_interrupt_clear(void) {
    interrupted_by = 0;
}

static void set_handlers(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    action.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &action, NULL);
}

/* --- Notes and progress -------------------------------------------------------------------------- */

typedef struct console {
    lathe_cli *cli;
    json_t *warnings;
    double started, last_drawn;
    bool bar_shown, bar_allowed;
} console;

static void clear_bar(console *c) {
    if (c->bar_shown)
        fputs("\r\033[K", stderr);
    c->bar_shown = false;
}

static void on_log(void *user, lathe_log_level level, const char *text) {
    console *c = user;
    if (level == LATHE_LOG_WARN || level == LATHE_LOG_ERROR)
        json_array_append_new(c->warnings, lathe_json_string(text));
    const int wanted = level <= LATHE_LOG_WARN ? 0 : (level == LATHE_LOG_INFO ? 1 : 2);
    if (c->cli->quiet > 0 || c->cli->verbose < wanted)
        return;
    clear_bar(c);
    fprintf(stderr, "lathe %s: note: %s\n", c->cli->verb, text);
}

/* A bar ten times a second on a terminal, a line every ten seconds elsewhere; nothing in the first half
 * second. */
static bool on_progress(void *user, const char *what, double done, double total) {
    console *c = user;
    const double now = lathe_now();
    if (c->started == 0 || done == 0)
        c->started = now;
    const double interval = c->bar_allowed ? 0.1 : 10.0;
    if (c->cli->quiet == 0 && now - c->started > (c->bar_allowed ? 0.5 : 2.0) &&
        now - c->last_drawn >= interval) {
        const double rate = done / (now - c->started);
        c->last_drawn = now;
        if (c->bar_allowed)
            fputs("\r\033[K", stderr);
        if (total > 0) {
            const int filled = (int) (20 * done / total);
            fprintf(stderr, "%s  %.0f/%.0f  [%.*s>%*s] %3.0f%%  %.4g/s  ETA %.0f s", what, done, total,
                    filled, "====================", 20 - filled, "", 100 * done / total, rate,
                    rate > 0 ? (total - done) / rate : 0.0);
        } else {
            fprintf(stderr, "%s  %.0f  %.4g/s", what, done, rate);
        }
        if (c->bar_allowed)
            fflush(stderr);
        else
            fputc('\n', stderr);
        c->bar_shown = c->bar_allowed;
    }
    return interrupted_by == 0;
}

/* --- Errors and results -------------------------------------------------------------------------- */

static int exit_status(lathe_status st) {
    if (st == LATHE_OK)
        return 0;
    if (st == LATHE_ERR_ARG)
        return 2;
    if (st == LATHE_ERR_CANCELLED)
        return interrupted_by == SIGTERM ? 143 : 130;
    return 1;
}

/* Prints a JSON object with a final newline to path (NULL: stdout). */
static lathe_status print_json(const json_t *object, const char *path, lathe_error *err) {
    char *text = json_dumps(object, JSON_COMPACT);
    if (!text)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for the JSON result");
    lathe_status st = LATHE_OK;
    if (path && strcmp(path, "-") != 0) {
        lathe_buf buf;
        lathe_buf_init(&buf, SIZE_MAX / 4);
        st = lathe_buf_printf(&buf, err, "%s\n", text);
        if (!st)
            st = lathe_file_write(path, buf.data, buf.n_bytes, err);
        lathe_buf_free(&buf);
    } else {
        printf("%s\n", text);
    }
    free(text);
    return st;
}

/* One line on stderr, and with --json the same as an object on stdout. The part of a message behind "; " is
 * the hint: what would be right. */
static void print_error(const char *verb, const lathe_error *error, lathe_status st, bool json,
                        const char *json_path) {
    const char *text = error->text[0] ? error->text : "failed";
    if (verb)
        fprintf(stderr, "lathe %s: %s\n", verb, text);
    else
        fprintf(stderr, "lathe: %s\n", text);
    if (!json)
        return;
    const char *split = strstr(text, "; ");
    json_t *message = lathe_json_bytes(text, split ? (size_t) (split - text) : strlen(text));
    json_t *object = json_pack("{s:s, s:{s:s, s:o, s:o}}", "schema", "lathe.error/1", "error", "status",
                               lathe_status_name(st), "message", message ? message : json_null(), "hint",
                               lathe_json_string(split ? split + 2 : ""));
    if (object)
        (void) !print_json(object, json_path, NULL);
    json_decref(object);
}

/* A closed stdout, as by `head`, is no error; any other failure to write is. */
static lathe_status finish_stdout(lathe_error *err) {
    if (fflush(stdout) != 0 || ferror(stdout)) {
        if (errno == EPIPE)
            return LATHE_OK;
        return lathe_fail(err, LATHE_ERR_IO, "stdout: %s", strerror(errno));
    }
    return LATHE_OK;
}

/* --- A verb -------------------------------------------------------------------------------------- */

/* What is wanted before options are parsed: they may be wrong, and help and errors must still come out. */
typedef struct early {
    bool json, help_short, help_long;
    const char *json_path;
} early;

/* Finds --json, --json=FILE and help; takes --json=FILE out of argv, as flags have no values. */
static early look_ahead(int *argc, char **argv) {
    early e = {0};
    int kept = 0;
    bool ended = false;
    for (int i = 0; i < *argc; i++) {
        ended = ended || strcmp(argv[i], "--") == 0;
        if (!ended && strncmp(argv[i], "--json=", 7) == 0) {
            e.json = true;
            e.json_path = argv[i] + 7;
            continue;
        }
        e.json = e.json || (!ended && strcmp(argv[i], "--json") == 0);
        e.help_short = e.help_short || (!ended && strcmp(argv[i], "-h") == 0);
        e.help_long = e.help_long || (!ended && strcmp(argv[i], "--help") == 0);
        argv[kept++] = argv[i];
    }
    *argc = kept;
    return e;
}

static void set_up(lathe_cli *cli, console *c, const lathe_common_args *common, const early *ahead) {
    const char *level = getenv("LATHE_LOG");
    const bool colour_env = getenv("NO_COLOR") == NULL;
    cli->out = stdout;
    cli->err = stderr;
    cli->json = ahead->json;
    cli->quiet = common->quiet || (level && strcmp(level, "error") == 0);
    cli->verbose = common->verbose ? 2 : 0;
    if (level && (strcmp(level, "info") == 0 || strcmp(level, "debug") == 0))
        cli->verbose = strcmp(level, "info") == 0 ? 1 : 2;
    cli->is_tty = isatty(STDOUT_FILENO);
    cli->colour = common->colour == 1 || (common->colour == 0 && cli->is_tty && colour_env);
    c->cli = cli;
    const char *term = getenv("TERM");
    c->bar_allowed = isatty(STDERR_FILENO) && !common->no_progress && !(term && strcmp(term, "dumb") == 0);
    cli->logger = (lathe_logger){.write = on_log, .user = c};
    cli->progress = (lathe_progress){.step = on_progress, .user = c};
}

static lathe_status run_verb(const lathe_verb *verb, void *args, lathe_cli *cli, console *c,
                             const early *ahead, lathe_error *err) {
    cli->result = json_object();
    if (!cli->result || !c->warnings)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for the result");
    json_object_set_new(cli->result, "schema", json_string(verb->schema));
    json_object_set_new(cli->result, "version", json_string(lathe_version()));
    lathe_status st = verb->run(args, cli, err);
    clear_bar(c);
    if (!st && cli->json && !cli->json_printed) {
        json_object_set(cli->result, "warnings", c->warnings);
        st = print_json(cli->result, ahead->json_path, err);
    }
    json_decref(cli->result);
    return st;
}

static int with_verb(const lathe_verb *verb, int argc, char **argv) {
    const early ahead = look_ahead(&argc, argv);
    if (ahead.help_short || ahead.help_long) {
        lathe_help_verb(verb, ahead.help_long, stdout);
        return exit_status(finish_stdout(NULL));
    }
    lathe_cli_abort_install(verb->name);
    lathe_error err = {0};
    lathe_cli cli = {.verb = verb->name};
    console c = {.warnings = json_array()};
    lathe_common_args common = {0};
    lathe_options_parsed parsed = {0};
    void *args = calloc(1, verb->args_size ? verb->args_size : 1);
    lathe_status st = args ? LATHE_OK : lathe_fail(&err, LATHE_ERR_MEMORY, "no memory");
    if (!st) {
        if (verb->defaults)
            verb->defaults(args);
        const lathe_option_target targets[] = {{&verb->options, args}, {&lathe_common_options, &common}};
        st = lathe_options_parse(targets, LATHE_LEN(targets), lathe_options_peek(argc, argv, "config"), argc,
                                 argv, &parsed, &err);
        set_up(&cli, &c, &common, &ahead);
        cli.positional = parsed.positional;
        cli.n_positional = parsed.n_positional;
        cli.config = parsed.config;
        cli.config_path = lathe_options_peek(argc, argv, "config");
        if (!st && common.print_config) {
            lathe_buf text;
            lathe_buf_init(&text, 1 << 20);
            st = lathe_options_print(targets, 1, &text, &err);
            if (!st && text.data)
                fputs(text.data, stdout);
            lathe_buf_free(&text);
        } else if (!st) {
            st = run_verb(verb, args, &cli, &c, &ahead, &err);
        }
    }
    if (st)
        print_error(verb->name, &err, st, ahead.json, ahead.json_path);
    const lathe_status out = finish_stdout(&err);
    if (!st && out) {
        st = out;
        print_error(verb->name, &err, st, false, NULL);
    }
    json_decref(c.warnings);
    lathe_options_free(&parsed);
    free(args);
    return exit_status(st);
}

/* "tree" alone, or with an unknown second word: the verbs that begin with it. false where there are none. */
static bool list_seconds(const char *first, const char *second, lathe_error *err) {
    const size_t n = strlen(first);
    char list[400];
    size_t used = 0;
    list[0] = '\0';
    for (size_t i = 0; i < lathe_n_verbs; i++) {
        const char *name = lathe_verbs[i]->name;
        if (strncmp(name, first, n) != 0 || name[n] != ' ' || used >= sizeof list)
            continue;
        used += (size_t) snprintf(list + used, sizeof list - used, "%s%s", used ? ", " : "", name + n + 1);
    }
    if (used == 0)
        return false;
    if (second && second[0] != '-')
        (void) !lathe_fail(err, LATHE_ERR_ARG, "no verb '%.40s %.40s'; there are %s %s", first, second, first,
                           list);
    else
        (void) !lathe_fail(err, LATHE_ERR_ARG, "'%.40s' needs a second word; one of %s", first, list);
    return true;
}

static int unknown_verb(const char *name, const char *second, bool json) {
    const char *names[256];
    size_t n = 0;
    for (size_t i = 0; i < lathe_n_verbs && n < LATHE_LEN(names) - 1; i++)
        names[n++] = lathe_verbs[i]->name;
    names[n] = NULL;
    lathe_error err = {0};
    const char *near = lathe_nearest_name(name, names);
    lathe_status st;
    if (list_seconds(name, second, &err))
        st = err.status;
    else if (strlen(name) > 5 && strcmp(name + strlen(name) - 5, ".gguf") == 0)
        st = lathe_fail(&err, LATHE_ERR_ARG, "'%.200s' is a file; to get text from it: lathe run %.200s",
                        name, name);
    else if (near)
        st = lathe_fail(&err, LATHE_ERR_ARG, "no verb '%.60s'; did you mean '%s'?", name, near);
    else
        st = lathe_fail(&err, LATHE_ERR_ARG, "no verb '%.60s'; 'lathe help' lists them", name);
    print_error(NULL, &err, st, json, NULL);
    return 2;
}

int main(int argc, char **argv) {
    setenv("GGML_NO_BACKTRACE", "1", 0); /* ggml's abort would start a debugger */
    set_handlers();
    if (argc < 2) {
        lathe_help_all(stderr);
        return 2;
    }
    const char *first = argv[1];
    if (strcmp(first, "--help") == 0 || strcmp(first, "-h") == 0)
        first = "help";
    if (strcmp(first, "--version") == 0)
        first = "version";
    int n_words = 1;
    const lathe_verb *verb = lathe_verb_find(first, argc > 2 ? argv[2] : NULL, &n_words);
    if (!verb) {
        bool json = false;
        for (int i = 2; i < argc; i++)
            json = json || strcmp(argv[i], "--json") == 0;
        return unknown_verb(first, argc > 2 ? argv[2] : NULL, json);
    }
    return with_verb(verb, argc - 1 - n_words, argv + 1 + n_words);
}
