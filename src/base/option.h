/* option.h - option tables: one table a verb yields the parser, --help, the man page, completion,
 * environment variables and configuration keys.
 *
 * An option writes one field of the verb's argument struct, at `offset`. Types of fields by kind:
 * FLAG bool; INT int64_t; REAL double; TEXT, FILE_IN, FILE_OUT const char * (borrowed from argv or the
 * arena of the parse); CHOICE int32_t, the index into `choices`; LIST const char * (comma-separated, as
 * given). A verb sets the defaults in the struct before parsing (lathe_verb.defaults). */
#ifndef LATHE_BASE_OPTION_H
#define LATHE_BASE_OPTION_H

#include "lathe/base.h"

struct lathe_buf;
struct lathe_config;

typedef enum lathe_option_kind {
    LATHE_OPTION_FLAG,   /* bool; --name sets true, --no-name false */
    LATHE_OPTION_INT,    /* int64_t within [min, max]; takes 4k, 1e6, 2.5M */
    LATHE_OPTION_BYTES,  /* int64_t; K M G and KiB MiB GiB are powers of 1024 */
    LATHE_OPTION_REAL,   /* double within [min, max]; takes 50% where percent is set */
    LATHE_OPTION_TEXT,   /* const char * */
    LATHE_OPTION_FILE,   /* const char *; completion offers files */
    LATHE_OPTION_CHOICE, /* int32_t index into choices */
    LATHE_OPTION_LIST,   /* const char *, comma-separated */
} lathe_option_kind;

typedef struct lathe_option {
    const char *name;           /* long name without dashes: "top-k" */
    const char *short_name;     /* one-dash name without the dash: "m", "ctk"; NULL: none */
    const char *const *aliases; /* other long names, NULL-terminated; NULL: none */
    const char *group;          /* heading in --help: "model", "sampling", "output" */
    const char *arg;            /* "N", "FILE"; NULL for flags */
    lathe_option_kind kind;
    size_t offset;              /* of the field in the argument struct */
    size_t seen_offset;         /* of a bool that becomes true when the option was given; 0: none
                                   (so the first field of a struct cannot be a `seen`) */
    double min, max;            /* for INT, BYTES, REAL; both 0: any value */
    bool percent;               /* REAL: "50%" is 0.5 */
    bool repeat;                /* LIST: given several times, values join with commas */
    bool hidden;                /* not in the short -h screen */
    const char *const *choices; /* CHOICE: names, NULL-terminated */
    const char *env;            /* environment variable; NULL: none */
    const char *default_text;   /* what help shows in brackets */
    const char *help;           /* one line */
} lathe_option;

/* Several tables in a row, as verbs share groups of options. */
typedef struct lathe_option_set {
    const lathe_option *const *tables; /* [n_tables] */
    const size_t *n_options;           /* [n_tables] */
    size_t n_tables;
} lathe_option_set;

/* A set and the struct that its options write. */
typedef struct lathe_option_target {
    const lathe_option_set *set;
    void *args;
} lathe_option_target;

typedef struct lathe_options_parsed {
    const char **positional; /* [n_positional], borrowed from argv */
    size_t n_positional;
    struct lathe_config *config; /* of --config; NULL: none. Mappings in it are left to the verb */
    void *memory;                /* owns strings made by the parse */
} lathe_options_parsed;

/* Fills the targets' structs (whose defaults are set already) from the file of `config_path` (NULL: none),
 * then the environment, then argv, so that the later wins. argv excludes the program and the verb; "--" ends
 * options. LATHE_ERR_ARG names the option, the value and what would be right; an unknown option names the
 * nearest one. *parsed must be freed in any case. */
LATHE_NODISCARD lathe_status lathe_options_parse(const lathe_option_target *targets, size_t n_targets,
                                                 const char *config_path, int argc, char **argv,
                                                 lathe_options_parsed *parsed, lathe_error *err);
void lathe_options_free(lathe_options_parsed *parsed);

/* The value that argv gives the long option `name` (the last one), or NULL: to find --config before the
 * parse. */
const char *lathe_options_peek(int argc, char **argv, const char *name);

/* Writes the effective values of all options as YAML, one line each. */
LATHE_NODISCARD lathe_status lathe_options_print(const lathe_option_target *targets, size_t n_targets,
                                                 struct lathe_buf *out, lathe_error *err);

/* Option i of a set counted over all its tables, or NULL behind the last. */
const lathe_option *lathe_option_at(const lathe_option_set *set, size_t i);

#endif
