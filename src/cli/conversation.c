/* conversation.c - see conversation.h. */
#include "cli/conversation.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"
#include "base/utf8.h"
#include "cli/sampling.h"

#ifdef LATHE_WITH_EDIT
#include <editline/readline.h>
#endif

enum { TURNS_MAX = 10000, SETTINGS_MAX = 256, LINE_LIMIT = 1 << 24, FILE_LIMIT = 1 << 28 };

typedef struct turn {
    char *role, *text;
} turn;

typedef struct conversation {
    lathe_conversation_params params;
    lathe_cli *cli;
    turn *turns; /* [n_turns], the system's first where there is one */
    size_t n_turns, capacity;
    lathe_options_parsed settings[SETTINGS_MAX]; /* own what /set gave, with values [n_settings] */
    char *values[SETTINGS_MAX];
    size_t n_settings;
    lathe_buf line, answer;
    bool prompts_shown;
} conversation;

void lathe_put_text(FILE *out, bool is_terminal, const char *text, size_t n_bytes) {
    if (!is_terminal) {
        fwrite(text, 1, n_bytes, out);
        return;
    }
    for (size_t i = 0; i < n_bytes; i++) {
        const unsigned char c = (unsigned char) text[i];
        if ((c < 0x20 && c != '\n' && c != '\t') || c == 0x7f)
            fprintf(out, "\\x%02x", c);
        else
            fputc(c, out);
    }
}

/* --- Turns --------------------------------------------------------------------------------------- */

static void forget_from(conversation *c, size_t first) {
    while (c->n_turns > first) {
        turn *t = &c->turns[--c->n_turns];
        free(t->role);
        free(t->text);
    }
}

static lathe_status add_turn(conversation *c, const char *role, const char *text, lathe_error *err) {
    if (c->n_turns == TURNS_MAX)
        return lathe_fail(err, LATHE_ERR_ARG, "a conversation of %d turns; /clear begins a new one",
                          TURNS_MAX);
    if (c->n_turns == c->capacity) {
        const size_t wanted = c->capacity * 2 + 16;
        turn *grown = realloc(c->turns, wanted * sizeof *grown);
        if (!grown)
            return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for the conversation");
        c->turns = grown;
        c->capacity = wanted;
    }
    const turn t = {strdup(role), strdup(text)};
    if (!t.role || !t.text) {
        free(t.role);
        free(t.text);
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for the conversation");
    }
    c->turns[c->n_turns++] = t;
    return LATHE_OK;
}

static lathe_status begin_anew(conversation *c, lathe_error *err) {
    forget_from(c, 0);
    lathe_session_clear(c->params.session);
    return c->params.system ? add_turn(c, "system", c->params.system, err) : LATHE_OK;
}

/* --- An answer ----------------------------------------------------------------------------------- */

static bool take_text(void *user, const char *text, size_t n_bytes) {
    conversation *c = user;
    if (lathe_buf_add(&c->answer, text, n_bytes, NULL) != LATHE_OK)
        return false;
    lathe_put_text(c->cli->out, c->cli->is_tty, text, n_bytes);
    return fflush(c->cli->out) == 0;
}

/* The conversation as ids; where it is over the context, the oldest exchange goes. */
static lathe_status render(conversation *c, int32_t **ids, size_t *n_ids, lathe_error *err) {
    const size_t n_ctx = (size_t) lathe_context_n_ctx(lathe_session_context(c->params.session));
    for (;;) {
        lathe_message *messages = calloc(c->n_turns, sizeof *messages);
        if (!messages)
            return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for the conversation");
        for (size_t i = 0; i < c->n_turns; i++)
            messages[i] = (lathe_message){c->turns[i].role, c->turns[i].text};
        const lathe_status st = lathe_chat_tokenize(lathe_model_vocab(c->params.model), c->params.kind,
                                                    messages, c->n_turns, true, ids, n_ids, err);
        free(messages);
        if (st || *n_ids < n_ctx)
            return st;
        const size_t first = strcmp(c->turns[0].role, "system") == 0 ? 1 : 0;
        if (c->n_turns < first + 3) {
            const size_t n = *n_ids;
            lathe_free(*ids);
            *ids = NULL;
            return lathe_fail(err, LATHE_ERR_ARG,
                              "this message makes %zu tokens and the context holds %zu; say less, or begin "
                              "with a larger -c",
                              n, n_ctx);
        }
        lathe_free(*ids);
        *ids = NULL;
        for (size_t i = first; i < first + 2; i++) {
            free(c->turns[i].role);
            free(c->turns[i].text);
        }
        memmove(c->turns + first, c->turns + first + 2, (c->n_turns - first - 2) * sizeof *c->turns);
        c->n_turns -= 2;
        lathe_log(&c->cli->logger, LATHE_LOG_WARN, "the context is full: the oldest exchange is forgotten");
    }
}

static lathe_status answer(conversation *c, const char *text, lathe_error *err) {
    const size_t before = c->n_turns;
    int32_t *ids = NULL;
    size_t n_ids = 0;
    lathe_buf_clear(&c->answer);
    lathe_status st = add_turn(c, "user", text, err);
    if (!st)
        st = render(c, &ids, &n_ids, err);
    if (!st)
        st = lathe_session_generate_ids(c->params.session, ids, n_ids, take_text, c, err);
    lathe_free(ids);
    if (st) {
        forget_from(c, before < c->n_turns ? before : c->n_turns);
        return st;
    }
    fputc('\n', c->cli->out);
    fflush(c->cli->out);
    const lathe_session_stats stats = lathe_session_stats_of(c->params.session);
    if (stats.stop == LATHE_STOP_CONTEXT)
        lathe_log(&c->cli->logger, LATHE_LOG_WARN, "the answer ends here because the context is full");
    if (c->cli->verbose)
        fprintf(c->cli->err, "(%d tokens read, %d reused; %d generated, %.1f tokens/s)\n", stats.n_prompt,
                stats.n_reused, stats.n_predicted,
                stats.decode_s > 0 ? stats.n_predicted / stats.decode_s : 0.0);
    const char *said = c->answer.data ? c->answer.data : "";
    while (*said == ' ' || *said == '\n')
        said++;
    return add_turn(c, "assistant", said, err);
}

/* --- Commands ------------------------------------------------------------------------------------ */

static void help(FILE *out) {
    fputs("/clear           begin a new conversation\n"
          "/set NAME VALUE  a sampling option (temp, top-k, seed, ...), system, or n-predict\n"
          "/show            the conversation so far and the settings\n"
          "/save FILE       write the conversation; /load FILE reads one\n"
          "/bye             leave (as Ctrl-D); Ctrl-C stops an answer\n"
          "\"\"\"              begins and ends a text of several lines\n",
          out);
}

static lathe_status use_sampler(conversation *c, lathe_error *err) {
    lathe_sampler_params sampler;
    lathe_logit_bias *bias = NULL;
    if (c->params.shared->seed_seen && c->params.shared->seed >= 0)
        c->params.seed = (uint64_t) c->params.shared->seed;
    lathe_status st = lathe_shared_sampler_params(c->params.shared, c->params.seed, &sampler, &bias, err);
    if (!st)
        st = lathe_session_set_sampler(c->params.session, &sampler, err);
    free(bias);
    return st;
}

static lathe_status set(conversation *c, char *rest, lathe_error *err) {
    static const lathe_option *const tables[] = {lathe_options_sampling, lathe_options_seed};
    static const size_t n_options[] = {LATHE_N_OPTIONS_SAMPLING, LATHE_N_OPTIONS_SEED};
    static const lathe_option_set options = {tables, n_options, 2};
    if (strncmp(rest, "parameter ", 10) == 0)
        rest += 10;
    const size_t n = strcspn(rest, " ");
    if (n == 0 || n > 60 || rest[n] == '\0')
        return lathe_fail(err, LATHE_ERR_ARG, "/set wants a name and a value; as /set temp 0.5");
    char *value = rest + n + strspn(rest + n, " ");
    if (n == 6 && strncmp(rest, "system", 6) == 0) {
        const bool has = c->n_turns > 0 && strcmp(c->turns[0].role, "system") == 0;
        char *copy = strdup(value);
        if (!copy)
            return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for the conversation");
        if (has) {
            free(c->turns[0].text);
            c->turns[0].text = copy;
            return LATHE_OK;
        }
        const lathe_status st = add_turn(c, "system", copy, err);
        free(copy);
        if (!st && c->n_turns > 1) {
            const turn last = c->turns[c->n_turns - 1];
            memmove(c->turns + 1, c->turns, (c->n_turns - 1) * sizeof *c->turns);
            c->turns[0] = last;
        }
        return st;
    }
    if (n == 9 && strncmp(rest, "n-predict", 9) == 0) {
        char *end = NULL;
        const long count = strtol(value, &end, 10);
        if (end == value || *end || count < -1 || count > 2147483647L)
            return lathe_fail(err, LATHE_ERR_ARG, "/set n-predict %.40s; want -1 or a number of tokens",
                              value);
        lathe_session_set_n_predict(c->params.session, (int32_t) count);
        return LATHE_OK;
    }
    if (c->n_settings == SETTINGS_MAX)
        return lathe_fail(err, LATHE_ERR_ARG, "%d settings were changed; begin a new run", SETTINGS_MAX);
    char name[72];
    snprintf(name, sizeof name, "--%.*s", (int) n, rest);
    for (char *p = name; *p; p++)
        *p = *p == '_' ? '-' : *p;
    char *kept = strdup(value); /* parsed options borrow it: it goes with the setting below */
    if (!kept)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a setting");
    char *argv[] = {name, kept};
    const lathe_shared_args before = *c->params.shared;
    const lathe_option_target target = {&options, c->params.shared};
    lathe_options_parsed *parsed = &c->settings[c->n_settings];
    lathe_status st = lathe_options_parse(&target, 1, NULL, 2, argv, parsed, err);
    if (!st && parsed->n_positional > 0)
        st = lathe_fail(err, LATHE_ERR_ARG, "/set %.40s takes no value", name + 2);
    if (!st)
        st = use_sampler(c, err);
    if (st) {
        *c->params.shared = before;
        lathe_options_free(parsed);
        *parsed = (lathe_options_parsed){0};
        free(kept);
        return st;
    }
    c->values[c->n_settings++] = kept;
    return LATHE_OK;
}

static void show(const conversation *c) {
    const lathe_shared_args *s = c->params.shared;
    FILE *out = c->cli->out;
    fprintf(out, "template %s, temp %g, top-k %lld, top-p %g, min-p %g, repeat-penalty %g, seed %llu\n",
            c->params.kind, s->temp, (long long) s->top_k, s->top_p, s->min_p, s->repeat_penalty,
            (unsigned long long) c->params.seed);
    for (size_t i = 0; i < c->n_turns; i++) {
        fprintf(out, "[%s] ", c->turns[i].role);
        lathe_put_text(out, c->cli->is_tty, c->turns[i].text, strlen(c->turns[i].text));
        fputc('\n', out);
    }
}

static lathe_status save(const conversation *c, const char *path, lathe_error *err) {
    json_t *messages = json_array();
    for (size_t i = 0; i < c->n_turns; i++)
        json_array_append_new(messages, json_pack("{s:o, s:o}", "role", lathe_json_string(c->turns[i].role),
                                                  "text", lathe_json_string(c->turns[i].text)));
    json_t *all = json_pack("{s:s, s:o}", "schema", "lathe.conversation/1", "messages", messages);
    char *text = all ? json_dumps(all, JSON_INDENT(1)) : NULL;
    const lathe_status st = text ? lathe_file_write(path, text, strlen(text), err)
                                 : lathe_fail(err, LATHE_ERR_MEMORY, "no memory for the conversation");
    free(text);
    json_decref(all);
    return st;
}

static lathe_status load(conversation *c, const char *path, lathe_error *err) {
    json_t *all = NULL;
    lathe_status st = lathe_json_read(path, FILE_LIMIT, &all, err);
    if (st)
        return st;
    const json_t *messages = json_object_get(all, "messages");
    bool ok = json_is_array(messages);
    for (size_t i = 0; ok && i < json_array_size(messages); i++) {
        const json_t *m = json_array_get(messages, i);
        const char *role = json_string_value(json_object_get(m, "role"));
        ok = json_string_value(json_object_get(m, "text")) && role &&
             (strcmp(role, "user") == 0 || strcmp(role, "assistant") == 0 ||
              (strcmp(role, "system") == 0 && i == 0));
    }
    if (!ok)
        st = lathe_fail(err, LATHE_ERR_INPUT, "%s: no conversation; want one that /save wrote", path);
    if (!st)
        forget_from(c, 0);
    for (size_t i = 0; !st && i < json_array_size(messages); i++) {
        const json_t *m = json_array_get(messages, i);
        st = add_turn(c, json_string_value(json_object_get(m, "role")),
                      json_string_value(json_object_get(m, "text")), err);
    }
    json_decref(all);
    return st;
}

/* true: leave. */
static bool command(conversation *c, char *line, lathe_status *st, lathe_error *err) {
    const size_t n = strcspn(line, " ");
    char *rest = line + n + strspn(line + n, " ");
    line[n] = '\0';
    *st = LATHE_OK;
    if (strcmp(line, "/bye") == 0 || strcmp(line, "/exit") == 0 || strcmp(line, "/quit") == 0)
        return true;
    if (strcmp(line, "/help") == 0 || strcmp(line, "/?") == 0)
        help(c->cli->out);
    else if (strcmp(line, "/clear") == 0)
        *st = begin_anew(c, err);
    else if (strcmp(line, "/show") == 0)
        show(c);
    else if (strcmp(line, "/set") == 0)
        *st = set(c, rest, err);
    else if ((strcmp(line, "/save") == 0 || strcmp(line, "/load") == 0) && *rest == '\0')
        *st = lathe_fail(err, LATHE_ERR_ARG, "%s wants the name of a file", line);
    else if (strcmp(line, "/save") == 0)
        *st = save(c, rest, err);
    else if (strcmp(line, "/load") == 0)
        *st = load(c, rest, err);
    else
        *st = lathe_fail(err, LATHE_ERR_ARG, "no command %.40s; /help lists them", line);
    fflush(c->cli->out);
    return false;
}

/* --- Lines --------------------------------------------------------------------------------------- */

/* One line without its newline, added to c->line; false: the end of the input. */
static bool read_line(conversation *c, const char *prompt) {
#ifdef LATHE_WITH_EDIT
    if (c->prompts_shown) {
        char *typed = readline(prompt);
        const bool ok = typed && lathe_buf_text(&c->line, typed, NULL) == LATHE_OK;
        if (ok && *typed)
            add_history(typed);
        free(typed);
        return ok;
    }
#endif
    if (c->prompts_shown) {
        fputs(prompt, c->cli->out);
        fflush(c->cli->out);
    }
    bool any = false;
    for (int byte; (byte = fgetc(stdin)) != EOF; any = true) {
        const char b = (char) byte;
        if (b == '\n')
            return true;
        if (b != '\0' && lathe_buf_add(&c->line, &b, 1, NULL) != LATHE_OK)
            return false;
    }
    clearerr(stdin);
    return any;
}

/* What the user says: a line, or several between triple quotes. */
static bool read_turn(conversation *c) {
    lathe_buf_clear(&c->line);
    if (!read_line(c, ">>> "))
        return false;
    if (!c->line.data || strncmp(c->line.data, "\"\"\"", 3) != 0)
        return true;
    memmove(c->line.data, c->line.data + 3, c->line.n_bytes - 3 + 1);
    c->line.n_bytes -= 3;
    while (c->line.n_bytes < 3 || strcmp(c->line.data + c->line.n_bytes - 3, "\"\"\"") != 0) {
        if (lathe_buf_text(&c->line, "\n", NULL) != LATHE_OK || !read_line(c, "... "))
            return false;
    }
    c->line.n_bytes -= 3;
    c->line.data[c->line.n_bytes] = '\0';
    return true;
}

static lathe_status talk(conversation *c, lathe_error *err) {
    lathe_status st = begin_anew(c, err);
    if (!st && c->params.first)
        st = answer(c, c->params.first, err);
    while (!st) {
        lathe_error turn_error = {0};
        lathe_cli_interrupt_clear();
        if (!read_turn(c)) {
            if (!lathe_cli_interrupted())
                break;
            fputs("\n(Ctrl-D or /bye leaves)\n", c->cli->err);
            continue;
        }
        char *text = c->line.data;
        if (!text || c->line.n_bytes == 0)
            continue;
        lathe_status turn_st = LATHE_OK;
        if (text[0] == '/') {
            if (command(c, text, &turn_st, &turn_error))
                break;
        } else if (!lathe_utf8_is_valid(text, c->line.n_bytes)) {
            turn_st = lathe_fail(&turn_error, LATHE_ERR_INPUT, "this is no valid UTF-8; nothing was said");
        } else {
            turn_st = answer(c, text, &turn_error);
        }
        if (turn_st) /* wrong commands and full contexts do not end a conversation */
            fprintf(c->cli->err, "lathe run: %s\n", turn_error.text);
    }
    lathe_cli_interrupt_clear();
    if (c->prompts_shown)
        fputc('\n', c->cli->out);
    return st;
}

lathe_status lathe_conversation(const lathe_conversation_params *params, lathe_cli *cli, lathe_error *err) {
    conversation *c = calloc(1, sizeof *c);
    if (!c)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a conversation");
    c->params = *params;
    c->cli = cli;
    c->prompts_shown = isatty(STDIN_FILENO) && cli->is_tty;
    lathe_buf_init(&c->line, LINE_LIMIT);
    lathe_buf_init(&c->answer, FILE_LIMIT);
    if (c->prompts_shown && cli->quiet == 0)
        fprintf(cli->err, "template %s, seed %llu; /help lists commands, /bye leaves\n", params->kind,
                (unsigned long long) params->seed);
    const lathe_status st = talk(c, err);
    forget_from(c, 0);
    free(c->turns);
    for (size_t i = 0; i < c->n_settings; i++) {
        lathe_options_free(&c->settings[i]);
        free(c->values[i]);
    }
    lathe_buf_free(&c->line);
    lathe_buf_free(&c->answer);
    free(c);
    return st;
}
