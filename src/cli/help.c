/* help.c - help screens, man pages and completion scripts, all from the option tables. */
#include "cli/help.h"

#include <string.h>

static const char *const colour_choices[] = {"auto", "always", "never", NULL};
#define AT(field) offsetof(lathe_common_args, field)
static const char *const colour_aliases[] = {"colour", NULL};

// clang-format off
static const lathe_option common[] = {
    { .name = "json", .group = "output", .kind = LATHE_OPTION_FLAG, .offset = AT(json), .help = "one JSON object on stdout (--json=FILE: to a file)" },
    { .name = "quiet", .short_name = "q", .group = "output", .kind = LATHE_OPTION_FLAG, .offset = AT(quiet), .help = "no notices", .hidden = true },
    { .name = "verbose", .short_name = "v", .group = "output", .kind = LATHE_OPTION_FLAG, .offset = AT(verbose), .env = NULL, .help = "more detail on stderr", .hidden = true },
    { .name = "no-progress", .group = "output", .kind = LATHE_OPTION_FLAG, .offset = AT(no_progress), .help = "no progress bar", .hidden = true },
    { .name = "color", .aliases = colour_aliases, .group = "output", .arg = "WHEN", .kind = LATHE_OPTION_CHOICE, .choices = colour_choices,
      .offset = AT(colour), .default_text = "auto", .help = "auto, always or never", .hidden = true },
    { .name = "config", .group = "output", .arg = "FILE.yaml", .kind = LATHE_OPTION_FILE, .offset = AT(config),
      .help = "options from a file; any long name is a key", .hidden = true },
    { .name = "print-config", .group = "output", .kind = LATHE_OPTION_FLAG, .offset = AT(print_config), .help = "print the effective options as YAML and stop", .hidden = true },
    { .name = "help", .short_name = "h", .group = "output", .kind = LATHE_OPTION_FLAG, .offset = AT(help), .help = "this text (-h: the common options only)", .hidden = true },
};
// clang-format on
static const lathe_option *const common_tables[] = {common};
static const size_t common_counts[] = {LATHE_LEN(common)};
const lathe_option_set lathe_common_options = {common_tables, common_counts, 1};

/* true if the verb's name is exactly the words first and second (second may be NULL or ""). */
static bool is_named(const char *name, const char *first, const char *second) {
    const size_t n = strlen(first);
    if (strncmp(name, first, n) != 0)
        return false;
    if (!second || !*second)
        return name[n] == '\0';
    return name[n] == ' ' && strcmp(name + n + 1, second) == 0;
}

const lathe_verb *lathe_verb_find(const char *first, const char *second, int *n_words) {
    for (int words = second ? 2 : 1; words >= 1; words--) {
        for (size_t i = 0; i < lathe_n_verbs; i++) {
            const lathe_verb *v = lathe_verbs[i];
            bool hit = is_named(v->name, first, words == 2 ? second : NULL);
            for (size_t a = 0; !hit && v->aliases && v->aliases[a]; a++)
                hit = is_named(v->aliases[a], first, words == 2 ? second : NULL);
            if (hit) {
                *n_words = words;
                return v;
            }
        }
    }
    return NULL;
}

void lathe_help_all(FILE *out) {
    fprintf(out, "lathe - sequence models: run, look inside, train, decode faster\n\n"
                 "usage: lathe VERB [options] [inputs]\n\n");
    for (size_t i = 0; i < lathe_n_verbs; i++)
        fprintf(out, "  %-18s %s\n", lathe_verbs[i]->name, lathe_verbs[i]->summary);
    fprintf(out, "\n  lathe run model.gguf \"Once upon a time\"\n"
                 "  lathe VERB --help      all options of a verb\n"
                 "\nexit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted\n");
}

static void print_option(const lathe_option *o, FILE *out) {
    char left[64];
    char short_part[16] = "    ";
    if (o->short_name && strcmp(o->short_name, o->name) == 0)
        snprintf(left, sizeof left, "  -%s %s", o->short_name, o->arg ? o->arg : "");
    else {
        if (o->short_name)
            snprintf(short_part, sizeof short_part, "-%s, ", o->short_name);
        snprintf(left, sizeof left, "  %s--%s %s", short_part, o->name, o->arg ? o->arg : "");
    }
    const int width = 30;
    if ((int) strlen(left) > width)
        fprintf(out, "%s\n%-*s %s", left, width, "", o->help);
    else
        fprintf(out, "%-*s %s", width, left, o->help);
    if (o->env)
        fprintf(out, " [env %s]", o->env);
    if (o->default_text)
        fprintf(out, " [%s]", o->default_text);
    fputc('\n', out);
}

/* Calls print for the shown options of one group, with a heading before the first. */
static void print_group(const lathe_option_set *sets[], size_t n_sets, const char *group, bool all,
                        FILE *out) {
    bool any = false;
    for (size_t s = 0; s < n_sets; s++) {
        const lathe_option *o;
        for (size_t i = 0; (o = lathe_option_at(sets[s], i)) != NULL; i++) {
            if (strcmp(o->group ? o->group : "options", group) != 0 || (o->hidden && !all))
                continue;
            if (!any)
                fprintf(out, "\n%s\n", group);
            any = true;
            print_option(o, out);
        }
    }
}

/* Collects the group names in order of appearance; "output" comes last. */
static size_t list_groups(const lathe_option_set *sets[], size_t n_sets, const char *groups[32]) {
    size_t n = 0;
    for (size_t s = 0; s < n_sets; s++) {
        const lathe_option *o;
        for (size_t i = 0; (o = lathe_option_at(sets[s], i)) != NULL; i++) {
            const char *g = o->group ? o->group : "options";
            bool known = strcmp(g, "output") == 0;
            for (size_t k = 0; k < n && !known; k++)
                known = strcmp(groups[k], g) == 0;
            if (!known && n < 31)
                groups[n++] = g;
        }
    }
    groups[n++] = "output";
    return n;
}

void lathe_help_verb(const lathe_verb *verb, bool all, FILE *out) {
    const lathe_option_set *sets[] = {&verb->options, &lathe_common_options};
    const char *groups[32];
    fprintf(out, "lathe %s - %s\n\nusage: %s\n", verb->name, verb->summary, verb->usage ? verb->usage : "");
    if (verb->examples) {
        fputc('\n', out);
        for (const char *p = verb->examples; *p;) {
            const int n = (int) strcspn(p, "\n");
            fprintf(out, "  %.*s\n", n, p);
            p += n + (p[n] == '\n');
        }
    }
    const size_t n = list_groups(sets, LATHE_LEN(sets), groups);
    for (size_t g = 0; g < n; g++)
        print_group(sets, LATHE_LEN(sets), groups[g], all, out);
    fprintf(out, "\nexit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted\n");
    if (!all)
        fprintf(out, "more: lathe %s --help\n", verb->name);
}

/* --- Man page ------------------------------------------------------------------------------------ */

/* Text for roff: '-' and '\' escaped, a leading '.' or quote made harmless. */
static void roff(const char *text, FILE *out) {
    if (*text == '.' || *text == '\'')
        fputs("\\&", out);
    for (; *text; text++) {
        if (*text == '-')
            fputs("\\-", out);
        else if (*text == '\\')
            fputs("\\e", out);
        else
            fputc(*text, out);
    }
}

static void man_options(const lathe_option_set *set, FILE *out) {
    const lathe_option *o;
    for (size_t i = 0; (o = lathe_option_at(set, i)) != NULL; i++) {
        fputs(".TP\n", out);
        if (o->short_name) {
            fputs("\\fB\\-", out);
            roff(o->short_name, out);
            fputs("\\fR, ", out);
        }
        fputs("\\fB\\-\\-", out);
        roff(o->name, out);
        fputs("\\fR", out);
        if (o->arg) {
            fputs(" \\fI", out);
            roff(o->arg, out);
            fputs("\\fR", out);
        }
        fputc('\n', out);
        roff(o->help, out);
        if (o->default_text) {
            fputs(" (default: ", out);
            roff(o->default_text, out);
            fputc(')', out);
        }
        fputs(".\n", out);
    }
}

void lathe_man_page(const lathe_verb *verb, FILE *out) {
    fprintf(out, ".TH LATHE%s%s 1 \"\" \"lathe %s\" \"User Commands\"\n.SH NAME\n", verb ? "-" : "",
            verb ? verb->name : "", lathe_version());
    if (!verb) {
        fputs("lathe \\- run, look inside, train and speed up sequence models\n.SH SYNOPSIS\n.B lathe\n.I "
              "VERB\n[options] [inputs]\n"
              ".SH VERBS\n",
              out);
        for (size_t i = 0; i < lathe_n_verbs; i++) {
            fprintf(out, ".TP\n\\fB%s\\fR\n", lathe_verbs[i]->name);
            roff(lathe_verbs[i]->summary, out);
            fputs(".\n", out);
        }
    } else {
        fputs("lathe\\-", out);
        roff(verb->name, out);
        fputs(" \\- ", out);
        roff(verb->summary, out);
        fputs("\n.SH SYNOPSIS\n", out);
        roff(verb->usage ? verb->usage : verb->name, out);
        fputs("\n.SH OPTIONS\n", out);
        man_options(&verb->options, out);
        man_options(&lathe_common_options, out);
        if (verb->examples) {
            fputs(".SH EXAMPLES\n.nf\n", out);
            roff(verb->examples, out);
            fputs("\n.fi\n", out);
        }
    }
    fputs(".SH EXIT STATUS\n0 done, 1 failed, 2 wrong usage, 130 stopped by Ctrl\\-C, 143 by SIGTERM.\n",
          out);
}
