/* verb_completion.c - `lathe completion bash|zsh|fish`: a script made from the option tables. */
#include <string.h>

#include "cli/help.h"

static void each_option(const lathe_verb *verb, FILE *out, const char *before, const char *after) {
    const lathe_option_set *sets[] = {&verb->options, &lathe_common_options};
    for (size_t s = 0; s < LATHE_LEN(sets); s++) {
        const lathe_option *o;
        for (size_t i = 0; (o = lathe_option_at(sets[s], i)) != NULL; i++)
            fprintf(out, "%s--%s%s", before, o->name, after);
    }
}

/* The first words of all verbs, each once: two-word verbs that share theirs stand together in the table. */
static void first_words(FILE *out) {
    const char *last = "";
    for (size_t i = 0; i < lathe_n_verbs; i++) {
        const char *name = lathe_verbs[i]->name;
        const int n = (int) strcspn(name, " ");
        if (strncmp(last, name, (size_t) n) != 0 || (last[n] != ' ' && last[n] != '\0'))
            fprintf(out, "%.*s ", n, name);
        last = name;
    }
}

/* What may stand behind options that take one of a few words. */
static void each_choice(const lathe_verb *verb, FILE *out) {
    const lathe_option_set *sets[] = {&verb->options, &lathe_common_options};
    for (size_t s = 0; s < LATHE_LEN(sets); s++) {
        const lathe_option *o;
        for (size_t i = 0; (o = lathe_option_at(sets[s], i)) != NULL; i++) {
            if (o->kind != LATHE_OPTION_CHOICE)
                continue;
            fprintf(out, " --%s) values='", o->name);
            for (size_t c = 0; o->choices[c]; c++)
                fprintf(out, "%s ", o->choices[c]);
            fputs("' ;;", out);
        }
    }
}

/* bash; zsh runs the same through bashcompinit. */
static void bash(FILE *out) {
    fputs("_lathe() {\n    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} "
          "verb=${COMP_WORDS[1]} "
          "second=${COMP_WORDS[2]} words= values=\n"
          "    if [ \"$COMP_CWORD\" = 1 ]; then\n        values='",
          out);
    first_words(out);
    fputs("'\n    elif [ \"$COMP_CWORD $verb\" = '2 help' ]; then\n        values='", out);
    first_words(out);
    fputs("'\n    else\n", out);
    fputs("        [ \"$COMP_CWORD\" != 2 ] || case $verb in\n", out);
    for (size_t i = 0; i < lathe_n_verbs; i++) {
        const char *name = lathe_verbs[i]->name, *space = strchr(name, ' ');
        if (space)
            fprintf(out, "        %.*s) values=\"$values %s\" ;;&\n", (int) (space - name), name, space + 1);
    }
    fputs("        esac\n        case \"$verb $second\" in\n", out);
    for (size_t i = 0; i < lathe_n_verbs; i++) {
        const bool two = strchr(lathe_verbs[i]->name, ' ') != NULL;
        fprintf(out, "        '%s'%s) words='", lathe_verbs[i]->name, two ? "*" : "\\ *");
        each_option(lathe_verbs[i], out, "", " ");
        fputs("'\n            case $before in", out);
        each_choice(lathe_verbs[i], out);
        fputs(" esac ;;\n", out);
    }
    fputs("        esac\n    fi\n    if [ -n \"$values\" ]; then\n"
          "        COMPREPLY=($(compgen -W \"$values\" -- \"$word\"))\n"
          "        [ ${#COMPREPLY[@]} -gt 0 ] && return\n    fi\n"
          "    case $word in\n    -*) COMPREPLY=($(compgen -W \"$words\" -- \"$word\")) ;;\n"
          "    *) COMPREPLY=($(compgen -f -- \"$word\")) ;;\n"
          "    esac\n}\ncomplete -o filenames -F _lathe lathe\n",
          out);
}

static void fish(FILE *out) {
    for (size_t i = 0; i < lathe_n_verbs; i++) {
        const lathe_verb *v = lathe_verbs[i];
        const int n = (int) strcspn(v->name, " ");
        fprintf(out, "complete -c lathe -n __fish_use_subcommand -a '%.*s' -d '%s'\n", n, v->name,
                v->summary);
        char before[160];
        snprintf(before, sizeof before, "complete -c lathe -n '__fish_seen_subcommand_from %.*s' -l '", n,
                 v->name);
        const lathe_option *o;
        for (size_t k = 0; (o = lathe_option_at(&v->options, k)) != NULL; k++)
            fprintf(out, "%s%s'\n", before, o->name);
    }
}

static lathe_status run(const void *args, lathe_cli *cli, lathe_error *err) {
    (void) args;
    const char *shell = cli->n_positional == 1 ? cli->positional[0] : "";
    if (strcmp(shell, "zsh") == 0)
        fputs("autoload -U +X bashcompinit && bashcompinit\n", cli->out);
    if (strcmp(shell, "bash") == 0 || strcmp(shell, "zsh") == 0)
        bash(cli->out);
    else if (strcmp(shell, "fish") == 0)
        fish(cli->out);
    else
        return lathe_fail(err, LATHE_ERR_ARG, "name a shell: lathe completion bash|zsh|fish");
    return LATHE_OK;
}

extern const lathe_verb lathe_verb_completion;
const lathe_verb lathe_verb_completion = {
    .name = "completion",
    .summary = "completion script for bash, zsh or fish",
    .usage = "lathe completion bash|zsh|fish",
    .examples = "source <(lathe completion bash)",
    .schema = "lathe.completion/1",
    .args_size = 1,
    .run = run,
};
