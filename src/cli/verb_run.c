/* verb_run.c - `lathe run`: text from a model: one answer, one for each line of a file, or a conversation. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/conversation.h"
#include "cli/input.h"
#include "cli/run.h"
#include "cli/sampling.h"

#define AT(field) offsetof(lathe_run_args, field)
static const char *const predict_aliases[] = {"predict", NULL};
static const char *const interactive_aliases[] = {"chat", NULL};
static const char *const stop_aliases[] = {"reverse-prompt", NULL};
static const lathe_option options[] = {
    {.name = "n-predict",
     .short_name = "n",
     .aliases = predict_aliases,
     .group = "generation",
     .arg = "N",
     .kind = LATHE_OPTION_INT,
     .offset = AT(n_predict),
     .min = -1,
     .max = 2147483647,
     .default_text = "-1",
     .help = "tokens to generate, -1 = until the end of the text or the context is full"},
    {.name = "interactive",
     .short_name = "i",
     .aliases = interactive_aliases,
     .group = "generation",
     .kind = LATHE_OPTION_FLAG,
     .offset = AT(interactive),
     .help = "a conversation with the model's chat template"},
    {.name = "system-prompt",
     .short_name = "sys",
     .group = "generation",
     .arg = "TEXT",
     .kind = LATHE_OPTION_TEXT,
     .offset = AT(system),
     .help = "what a conversation begins with"},
    {.name = "chat-template",
     .group = "generation",
     .arg = "NAME",
     .kind = LATHE_OPTION_TEXT,
     .offset = AT(chat_template),
     .default_text = "the model's",
     .help = "kind of chat template: chatml, llama3, ...",
     .hidden = true},
    {.name = "prompts",
     .group = "generation",
     .arg = "FILE",
     .kind = LATHE_OPTION_FILE,
     .offset = AT(prompts),
     .help = "a prompt a line; writes a JSON line for each, line i (from 0) with seed + i"},
    {.name = "parallel",
     .short_name = "np",
     .group = "generation",
     .arg = "N",
     .kind = LATHE_OPTION_INT,
     .offset = AT(parallel),
     .min = 1,
     .max = 64,
     .default_text = "4",
     .help = "prompts of --prompts that are answered at once, in one batch",
     .hidden = true},
    {.name = "session",
     .group = "generation",
     .arg = "FILE",
     .kind = LATHE_OPTION_FILE,
     .offset = AT(session),
     .help = "keep what was read in this file, so that a long prompt is read once"},
    {.name = "stop",
     .short_name = "r",
     .aliases = stop_aliases,
     .group = "generation",
     .arg = "TEXT,...",
     .kind = LATHE_OPTION_LIST,
     .repeat = true,
     .offset = AT(stop),
     .help = "end the answer before any of these texts",
     .hidden = true},
    {.name = "ignore-eos",
     .group = "generation",
     .kind = LATHE_OPTION_FLAG,
     .offset = AT(ignore_eos),
     .help = "never draw the token that ends a text",
     .hidden = true},
    {.name = "context-shift",
     .group = "generation",
     .kind = LATHE_OPTION_FLAG,
     .offset = AT(shift),
     .help = "a full context drops its older half and goes on",
     .hidden = true},
    {.name = "keep",
     .group = "generation",
     .arg = "N",
     .kind = LATHE_OPTION_INT,
     .offset = AT(keep),
     .min = 0,
     .max = 16777216,
     .default_text = "0",
     .help = "tokens at the front that --context-shift keeps",
     .hidden = true},
    {.name = "stream",
     .group = "output",
     .kind = LATHE_OPTION_FLAG,
     .offset = AT(stream),
     .help = "write each token at once, not only on a terminal",
     .hidden = true},
};
static const lathe_option *const tables[] = {
    lathe_options_model, lathe_options_context, lathe_options_input,       lathe_options_sampling,
    lathe_options_seed,  lathe_options_output,  lathe_options_speculation, options};
static const size_t n_options[] = {
    LATHE_N_OPTIONS_MODEL, LATHE_N_OPTIONS_CONTEXT, LATHE_N_OPTIONS_INPUT,       LATHE_N_OPTIONS_SAMPLING,
    LATHE_N_OPTIONS_SEED,  LATHE_N_OPTIONS_OUTPUT,  LATHE_N_OPTIONS_SPECULATION, LATHE_LEN(options)};

static void defaults(void *arguments) {
    lathe_run_args *args = arguments;
    lathe_shared_defaults(&args->shared, -1);
    args->n_predict = -1;
    args->parallel = 4;
    lathe_speculation_defaults(&args->spec);
}

/* --- What comes in ------------------------------------------------------------------------------- */

static bool is_model_name(const char *word) {
    struct stat info;
    const size_t n = strlen(word);
    return (n > 5 && strcmp(word + n - 5, ".gguf") == 0) || stat(word, &info) == 0;
}

/* Something may be piped in: a file, a pipe or a socket, not a terminal nor /dev/null. */
static bool stdin_has_text(void) {
    struct stat info;
    return fstat(STDIN_FILENO, &info) == 0 &&
           (S_ISREG(info.st_mode) || S_ISFIFO(info.st_mode) || S_ISSOCK(info.st_mode));
}

static lathe_status add_part(lathe_buf *prompt, const lathe_shared_args *part, const char *const *words,
                             size_t n_words, lathe_error *err) {
    char *text = NULL;
    size_t n_bytes = 0;
    lathe_status st = lathe_input_text(part, words, n_words, LATHE_INPUT_ERROR, &text, &n_bytes, err);
    if (!st && memchr(text, 0, n_bytes))
        st = lathe_fail(err, LATHE_ERR_INPUT, "the prompt has a zero byte; it is no text");
    if (!st)
        st = lathe_buf_add(prompt, text, n_bytes, err);
    free(text);
    return st;
}

/* stdin where it is piped in, then -f, then -p or the words behind the model. Empty where there is nothing.
 */
static lathe_status read_prompt(const lathe_run_args *args, const char *const *words, size_t n_words,
                                bool use_stdin, lathe_buf *prompt, lathe_error *err) {
    const lathe_shared_args none = {0}, piped = {.file = "-"};
    const lathe_shared_args file = {.file = args->shared.file}, text = {.prompt = args->shared.prompt};
    const bool file_is_stdin = file.file && strcmp(file.file, "-") == 0;
    lathe_status st = LATHE_OK;
    if (text.prompt && n_words > 0)
        return lathe_fail(err, LATHE_ERR_ARG, "a prompt as '%.40s' and with -p too; one of them is enough",
                          words[0]);
    if (use_stdin && !file_is_stdin && stdin_has_text())
        st = add_part(prompt, &piped, NULL, 0, err);
    if (!st && file.file)
        st = add_part(prompt, &file, NULL, 0, err);
    if (!st && text.prompt)
        st = add_part(prompt, &text, NULL, 0, err);
    if (!st && n_words > 0)
        st = add_part(prompt, &none, words, n_words, err);
    return st;
}

/* --- The verb ------------------------------------------------------------------------------------ */

static lathe_status chat_kind(const lathe_run_args *args, const lathe_model *model, const char **kind,
                              lathe_error *err) {
    const char *text = args->chat_template ? args->chat_template : lathe_model_chat_template(model);
    *kind = text ? lathe_chat_kind(text) : NULL;
    if (*kind)
        return LATHE_OK;
    char names[320];
    size_t w = 0;
    for (size_t i = 0; lathe_chat_kind_at(i) && w < sizeof names; i++)
        w += (size_t) snprintf(names + w, sizeof names - w, "%s%s", i ? ", " : "", lathe_chat_kind_at(i));
    return lathe_fail(err, args->chat_template ? LATHE_ERR_ARG : LATHE_ERR_UNSUPPORTED,
                      "%s; give --chat-template NAME: %s",
                      text ? "chat template not recognised" : "the model has no chat template", names);
}

static lathe_status converse(const lathe_run_args *args, lathe_cli *cli, const lathe_model *model,
                             lathe_session *session, const lathe_buf *prompt, uint64_t seed,
                             lathe_error *err) {
    lathe_shared_args shared = args->shared;
    lathe_conversation_params params = {.session = session,
                                        .model = model,
                                        .system = args->system,
                                        .first = prompt->n_bytes > 0 ? prompt->data : NULL,
                                        .shared = &shared,
                                        .seed = seed};
    if (!lathe_model_vocab(model))
        return lathe_fail(err, LATHE_ERR_UNSUPPORTED, "the model has no tokenizer; a conversation needs one");
    const lathe_status st = chat_kind(args, model, &params.kind, err);
    return st ? st : lathe_conversation(&params, cli, err);
}

static lathe_status with_model(const lathe_run_args *args, lathe_cli *cli, const lathe_model *model,
                               const lathe_buf *prompt, bool talk, lathe_error *err) {
    const uint64_t seed = lathe_shared_seed(&args->shared);
    lathe_session *session = NULL;
    int32_t *ids = NULL;
    size_t n_ids = 0;
    lathe_run_spec spec;
    lathe_status st = lathe_run_spec_begin(args, cli, &spec, err);
    const bool by_match = !args->spec.verify || strcmp(args->spec.verify, "match") == 0 ||
                          strcmp(args->spec.verify, "greedy") == 0;
    /* Drafts for long texts look into the cache of one sequence. */
    const bool long_draft = strstr(args->spec.spec, "longspec") || strstr(args->spec.spec, "std");
    /* Rows of other sequences shift what is summed with what: exact answers are made one after another. */
    if (!st && args->prompts && args->parallel > 1 && by_match && !args->shift && !long_draft &&
        !args->shared.exact) {
        bool done = true;
        st = lathe_run_at_once(args, cli, model, &spec, seed, &done, err);
        if (st || done) {
            lathe_run_spec_end(&spec);
            return st;
        }
    }
    if (!st)
        st = lathe_run_session(args, cli, model, seed, spec.on ? &spec.params : NULL, &session, err);
    if (st) {
        lathe_run_spec_end(&spec);
        return st;
    }
    if (args->prompts) {
        st = lathe_run_in_turn(args, cli, model, session, seed, err);
    } else if (talk) {
        st = converse(args, cli, model, session, prompt, seed, err);
    } else {
        if (args->shared.ids)
            st = lathe_input_ids(args->shared.ids, lathe_model_n_vocab(model), &ids, &n_ids, err);
        else
            st = lathe_run_prompt_ids(args, model, prompt,
                                      args->shared.special_seen ? args->shared.special
                                                                : args->shared.file == NULL,
                                      &ids, &n_ids, err);
        if (!st)
            st = lathe_run_one(args, cli, session, &spec, ids, n_ids, err);
        lathe_free(ids);
    }
    lathe_session_free(session);
    lathe_run_spec_end(&spec);
    return st;
}

static lathe_status run(const void *arguments, lathe_cli *cli, lathe_error *err) {
    lathe_run_args args = *(const lathe_run_args *) arguments;
    size_t first = 0;
    if (cli->n_positional > 0 && (!args.shared.model || is_model_name(cli->positional[0])) &&
        !(args.shared.model && !is_model_name(cli->positional[0])))
        args.shared.model = cli->positional[first++];
    const char *const *words = cli->positional + first;
    const size_t n_words = cli->n_positional - first;
    const bool has_prompt = args.shared.prompt || args.shared.file || n_words > 0;
    const int n_inputs = has_prompt + (args.shared.ids != NULL) + (args.prompts != NULL);
    if (n_inputs > 1)
        return lathe_fail(err, LATHE_ERR_ARG, "more than one of a prompt, --ids and --prompts; give one");
    if (args.interactive && (args.shared.ids || args.prompts || cli->json))
        return lathe_fail(err, LATHE_ERR_ARG, "a conversation takes no %s; leave out -i or that",
                          cli->json ? "--json" : (args.prompts ? "--prompts" : "--ids"));
    if (args.shared.output && (args.interactive || args.prompts))
        return lathe_fail(err, LATHE_ERR_ARG, "-o takes one answer; %s writes to stdout",
                          args.prompts ? "--prompts" : "a conversation");
    const bool talk = args.interactive || (n_inputs == 0 && isatty(STDIN_FILENO) && !cli->json);
    float split[64];
    lathe_model_params model_params;
    lathe_model *model = NULL;
    lathe_buf prompt;
    lathe_buf_init(&prompt, (size_t) 1 << 30);
    lathe_status st = lathe_shared_model_params(&args.shared, &model_params, split, err);
    if (!st && !args.shared.ids && !args.prompts)
        st = read_prompt(&args, words, n_words, !talk, &prompt, err);
    if (!st) {
        model_params.logger = cli->logger;
        model_params.progress = cli->progress;
        st = lathe_model_load(args.shared.model, &model_params, &model, err);
    }
    if (!st)
        st = with_model(&args, cli, model, &prompt, talk, err);
    lathe_model_free(model);
    lathe_buf_free(&prompt);
    return st;
}

static const char *const names[] = {"generate", "chat", NULL};
extern const lathe_verb lathe_verb_run;
const lathe_verb lathe_verb_run = {
    .name = "run",
    .aliases = names,
    .summary = "text from a model: an answer, or a conversation",
    .usage = "lathe run MODEL.gguf [PROMPT...] [-n N] [-i]",
    .examples = "lathe run model.gguf \"Once upon a time\" -n 100 --temp 0\n"
                "cat question.txt | lathe run model.gguf\n"
                "lathe run model.gguf -i\n"
                "lathe run model.gguf --prompts prompts.txt --seed 7 > answers.jsonl",
    .schema = "lathe.run/1",
    .options = {tables, n_options, LATHE_LEN(tables)},
    .args_size = sizeof(lathe_run_args),
    .defaults = defaults,
    .run = run,
};
