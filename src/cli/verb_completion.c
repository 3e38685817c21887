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

/* bash; zsh runs the same through bashcompinit. */
static void bash(FILE *out) {
    fputs("_lathe() {\n    local word=${COMP_WORDS[COMP_CWORD]} verb=${COMP_WORDS[1]} "
          "second=${COMP_WORDS[2]} words=\n"
          "    if [ \"$COMP_CWORD\" = 1 ]; then\n        words='",
          out);
    for (size_t i = 0; i < lathe_n_verbs; i++)
        fprintf(out, "%.*s ", (int) strcspn(lathe_verbs[i]->name, " "), lathe_verbs[i]->name);
    fputs("'\n    else\n        case \"$verb $second\" in\n", out);
    for (size_t i = 0; i < lathe_n_verbs; i++) {
        const bool two = strchr(lathe_verbs[i]->name, ' ') != NULL;
        fprintf(out, "        '%s'%s) words='", lathe_verbs[i]->name, two ? "*" : "\\ *");
        each_option(lathe_verbs[i], out, "", " ");
        fputs("' ;;\n", out);
    }
    fputs("        esac\n    fi\n    case $word in\n    -*) COMPREPLY=($(compgen -W \"$words\" -- "
          "\"$word\")) ;;\n"
          "    *) if [ \"$COMP_CWORD\" = 1 ]; then COMPREPLY=($(compgen -W \"$words\" -- \"$word\")); else "
          "COMPREPLY=($(compgen -f -- \"$word\")); fi ;;\n"
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
