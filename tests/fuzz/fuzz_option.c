/* fuzz_option.c - any lines as a command line over a table with every kind of option: values stay in range.
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/option.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes);

typedef struct fuzz_args {
    bool unused, flag, flag_seen;
    int64_t count, size;
    double real;
    const char *text, *list;
    int32_t choice;
} fuzz_args;

#define AT(field) offsetof(fuzz_args, field)
static const char *const colours[] = {"red", "green", "blue", NULL};
static const lathe_option options[] = {
    {.name = "flag",
     .group = "g",
     .kind = LATHE_OPTION_FLAG,
     .offset = AT(flag),
     .seen_offset = AT(flag_seen),
     .help = "h"},
    {.name = "count",
     .short_name = "c",
     .group = "g",
     .arg = "N",
     .kind = LATHE_OPTION_INT,
     .offset = AT(count),
     .min = -5,
     .max = 4e6,
     .help = "h"},
    {.name = "size",
     .group = "g",
     .arg = "N",
     .kind = LATHE_OPTION_BYTES,
     .offset = AT(size),
     .min = 0,
     .max = 1e15,
     .help = "h"},
    {.name = "real",
     .group = "g",
     .arg = "X",
     .kind = LATHE_OPTION_REAL,
     .offset = AT(real),
     .min = 0,
     .max = 1,
     .percent = true,
     .help = "h"},
    {.name = "text",
     .short_name = "tx",
     .group = "g",
     .arg = "T",
     .kind = LATHE_OPTION_TEXT,
     .offset = AT(text),
     .help = "h"},
    {.name = "list",
     .group = "g",
     .arg = "A,B",
     .kind = LATHE_OPTION_LIST,
     .offset = AT(list),
     .repeat = true,
     .help = "h"},
    {.name = "choice",
     .group = "g",
     .arg = "C",
     .kind = LATHE_OPTION_CHOICE,
     .choices = colours,
     .offset = AT(choice),
     .help = "h"},
};
static const lathe_option *const tables[] = {options};
static const size_t n_options[] = {LATHE_LEN(options)};
static const lathe_option_set set = {tables, n_options, 1};

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes) {
    enum { ARGS_MAX = 64 };
    char *copy = malloc(n_bytes + 1), *argv[ARGS_MAX + 1];
    int argc = 0;
    if (!copy)
        return 0;
    memcpy(copy, bytes, n_bytes);
    copy[n_bytes] = 0;
    for (char *line = copy; line && argc < ARGS_MAX;) {
        char *end = strchr(line, '\n');
        if (end)
            *end = 0;
        argv[argc++] = line;
        line = end ? end + 1 : NULL;
    }
    argv[argc] = NULL;
    fuzz_args args = {0};
    const lathe_option_target target = {&set, &args};
    lathe_options_parsed parsed = {0};
    lathe_error err = {0};
    (void) lathe_options_peek(argc, argv, "text");
    if (lathe_options_parse(&target, 1, NULL, argc, argv, &parsed, &err) == LATHE_OK) {
        if (args.count < -5 || args.count > 4000000 || args.size < 0 || !(args.real >= 0 && args.real <= 1) ||
            args.choice < 0 || args.choice > 2 || parsed.n_positional > (size_t) argc)
            abort();
        for (size_t i = 0; i < parsed.n_positional; i++)
            if (strlen(parsed.positional[i]) > n_bytes)
                abort();
    } else if (err.status == LATHE_OK || !err.text[0] || strchr(err.text, '\n') || strchr(err.text, 27)) {
        abort();
    }
    lathe_options_free(&parsed);
    free(copy);
    return 0;
}
