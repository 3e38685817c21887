/* chat.c - conversations in the form that a model was trained on.
 *
 * Templates are programs; we know the common ones by what their text contains and write their turns from a
 * table: a text before and after each role's words. What people wrote is kept apart from the template's own
 * words, so that a user cannot write a control token. */
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "lathe/model.h"
#include "model/vocab.h"

enum { TEMPLATE_MAX = 1 << 20, MESSAGES_MAX = 1 << 16 };

/* How the system's text is placed. */
typedef enum system_place {
    SYSTEM_TURN,   /* a turn of its own */
    SYSTEM_INSIDE, /* within the first user turn: before_system TEXT after_system, then the user's text */
    SYSTEM_PLAIN,  /* in front of everything: before_system TEXT after_system */
} system_place;

typedef struct chat_kind {
    const char *name;
    const char *start; /* in front of the conversation */
    system_place place;
    const char *before_system, *after_system;
    const char *before_user, *after_user;
    const char *before_answer, *after_answer; /* "\1" stands for the end-of-sequence text */
    const char *opening;                      /* of the assistant's turn, when it is to answer */
    bool trims;                               /* white space around texts goes away */
} chat_kind;

// clang-format off
static const chat_kind kinds[] = {
    { "chatml", "", SYSTEM_TURN, "<|im_start|>system\n", "<|im_end|>\n", "<|im_start|>user\n", "<|im_end|>\n",
      "<|im_start|>assistant\n", "<|im_end|>\n", "<|im_start|>assistant\n", false },
    { "phi4", "", SYSTEM_TURN, "<|im_start|>system<|im_sep|>", "<|im_end|>", "<|im_start|>user<|im_sep|>", "<|im_end|>",
      "<|im_start|>assistant<|im_sep|>", "<|im_end|>", "<|im_start|>assistant<|im_sep|>", false },
    { "mistral-v7", "", SYSTEM_PLAIN, "[SYSTEM_PROMPT] ", "[/SYSTEM_PROMPT]", "[INST] ", "[/INST]", " ", "\1", "", false },
    { "mistral-v1", "", SYSTEM_INSIDE, "", "\n\n", " [INST] ", " [/INST]", " ", "\1", "", false },
    { "mistral-v3", "", SYSTEM_INSIDE, "", "\n\n", "[INST] ", "[/INST]", " ", "\1", "", false },
    { "mistral-v3-tekken", "", SYSTEM_INSIDE, "", "\n\n", "[INST]", "[/INST]", "", "\1", "", false },
    { "llama2", "", SYSTEM_INSIDE, "", "\n", "[INST] ", " [/INST]", "", "\1", "", false },
    { "llama2-sys", "", SYSTEM_INSIDE, "<<SYS>>\n", "\n<</SYS>>\n\n", "[INST] ", " [/INST]", "", "\1", "", false },
    { "phi3", "", SYSTEM_TURN, "<|system|>\n", "<|end|>\n", "<|user|>\n", "<|end|>\n", "<|assistant|>\n", "<|end|>\n", "<|assistant|>\n", false },
    { "chatglm4", "[gMASK]<sop>", SYSTEM_TURN, "<|system|>\n", "", "<|user|>\n", "", "<|assistant|>\n", "", "<|assistant|>\n", false },
    { "falcon3", "", SYSTEM_TURN, "<|system|>\n", "\n", "<|user|>\n", "\n", "<|assistant|>\n", "\n", "<|assistant|>\n", false },
    { "zephyr", "", SYSTEM_TURN, "<|system|>\n", "<|endoftext|>\n", "<|user|>\n", "<|endoftext|>\n", "<|assistant|>\n", "<|endoftext|>\n", "<|assistant|>\n", false },
    { "zephyr-eos", "", SYSTEM_TURN, "<|system|>\n", "\1\n", "<|user|>\n", "\1\n", "<|assistant|>\n", "\1\n", "<|assistant|>\n", false },
    { "gemma", "", SYSTEM_INSIDE, "", "\n\n", "<start_of_turn>user\n", "<end_of_turn>\n", "<start_of_turn>model\n", "<end_of_turn>\n", "<start_of_turn>model\n", true },
    { "openchat", "", SYSTEM_PLAIN, "", "<|end_of_turn|>", "GPT4 Correct User: ", "<|end_of_turn|>", "GPT4 Correct Assistant: ", "<|end_of_turn|>", "GPT4 Correct Assistant:", false },
    { "vicuna", "", SYSTEM_PLAIN, "", "\n\n", "USER: ", "\n", "ASSISTANT: ", "\1\n", "ASSISTANT:", false },
    { "vicuna-orca", "", SYSTEM_PLAIN, "SYSTEM: ", "\n", "USER: ", "\n", "ASSISTANT: ", "\1\n", "ASSISTANT:", false },
    { "deepseek-coder", "", SYSTEM_PLAIN, "", "", "### Instruction:\n", "\n", "### Response:\n", "\n<|EOT|>\n", "### Response:\n", false },
    { "command-r", "", SYSTEM_TURN, "<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>", "<|END_OF_TURN_TOKEN|>", "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>", "<|END_OF_TURN_TOKEN|>",
      "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>", "<|END_OF_TURN_TOKEN|>", "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>", true },
    { "llama3", "", SYSTEM_TURN, "<|start_header_id|>system<|end_header_id|>\n\n", "<|eot_id|>", "<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>",
      "<|start_header_id|>assistant<|end_header_id|>\n\n", "<|eot_id|>", "<|start_header_id|>assistant<|end_header_id|>\n\n", true },
    { "deepseek3", "", SYSTEM_PLAIN, "", "\n\n", "<\xEF\xBD\x9CUser\xEF\xBD\x9C>", "", "<\xEF\xBD\x9C" "Assistant\xEF\xBD\x9C>",
      "<\xEF\xBD\x9C" "end\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C>", "<\xEF\xBD\x9C" "Assistant\xEF\xBD\x9C>", false },
};
// clang-format on

static const chat_kind *find_kind(const char *name) {
    for (size_t i = 0; i < LATHE_LEN(kinds); i++)
        if (strcmp(kinds[i].name, name) == 0)
            return &kinds[i];
    return NULL;
}

const char *lathe_chat_kind_at(size_t i) {
    return i < LATHE_LEN(kinds) ? kinds[i].name : NULL;
}

const char *lathe_chat_kind(const char *t) {
    if (!t || strlen(t) > TEMPLATE_MAX)
        return NULL;
    const chat_kind *named = find_kind(t);
    if (named)
        return named->name;
#define HAS(text) (strstr(t, text) != NULL)
    if (HAS("<|im_start|>"))
        return HAS("<|im_sep|>") ? "phi4" : "chatml";
    if (HAS("[INST]")) {
        if (HAS("[SYSTEM_PROMPT]"))
            return "mistral-v7";
        if (HAS("' [INST] ' + system_message") || HAS("[AVAILABLE_TOOLS]"))
            return HAS(" [INST]") ? "mistral-v1" : (HAS("\"[INST]\"") ? "mistral-v3-tekken" : "mistral-v3");
        return HAS("<<SYS>>") ? "llama2-sys" : "llama2";
    }
    if (HAS("<|assistant|>") && HAS("<|end|>"))
        return "phi3";
    if (HAS("[gMASK]<sop>"))
        return "chatglm4";
    if (HAS("<|user|>") && HAS("<|assistant|>") && HAS("</s>"))
        return "falcon3";
    if (HAS("<|user|>") && HAS("<|endoftext|>"))
        return "zephyr";
    if (HAS("<|user|>") && HAS("eos_token"))
        return "zephyr-eos";
    if (HAS("<start_of_turn>"))
        return "gemma";
    if (HAS("GPT4 Correct "))
        return "openchat";
    if (HAS("USER: ") && HAS("ASSISTANT: "))
        return HAS("SYSTEM: ") ? "vicuna-orca" : "vicuna";
    if (HAS("### Instruction:") && HAS("<|EOT|>"))
        return "deepseek-coder";
    if (HAS("<|START_OF_TURN_TOKEN|>") && HAS("<|USER_TOKEN|>"))
        return "command-r";
    if (HAS("<|start_header_id|>") && HAS("<|end_header_id|>"))
        return "llama3";
    if (HAS("<\xEF\xBD\x9CUser\xEF\xBD\x9C>"))
        return "deepseek3";
#undef HAS
    return NULL;
}

/* Receives the parts in order; own: written by the template, not by a person. */
typedef lathe_status (*part_fn)(void *user, bool own, const char *text, size_t n_bytes, lathe_error *err);

typedef struct writer {
    const chat_kind *kind;
    const char *eos;
    part_fn part;
    void *user;
} writer;

/* A text of the template, with the end-of-sequence text in place of "\1". */
static lathe_status own(const writer *w, const char *text, lathe_error *err) {
    lathe_status st = LATHE_OK;
    while (*text && !st) {
        if (*text == '\1') {
            st = w->part(w->user, true, w->eos, strlen(w->eos), err);
            text++;
            continue;
        }
        const size_t n = strcspn(text, "\1");
        st = w->part(w->user, true, text, n, err);
        text += n;
    }
    return st;
}

static lathe_status words(const writer *w, const char *text, lathe_error *err) {
    size_t n = strlen(text);
    static const char blank[] = " \t\r\n\f\v";
    while (w->kind->trims && n > 0 && strchr(blank, text[n - 1]))
        n--;
    while (w->kind->trims && n > 0 && strchr(blank, *text)) {
        text++;
        n--;
    }
    return n > 0 ? w->part(w->user, false, text, n, err) : LATHE_OK;
}

static lathe_status turn(const writer *w, const char *before, const char *text, const char *after,
                         lathe_error *err) {
    lathe_status st = own(w, before, err);
    if (!st)
        st = words(w, text, err);
    return st ? st : own(w, after, err);
}

static lathe_status user_turn(const writer *w, const char *system, const char *text, lathe_error *err) {
    const chat_kind *k = w->kind;
    lathe_status st = own(w, k->before_user, err);
    if (!st && system)
        st = turn(w, k->before_system, system, k->after_system, err);
    if (!st)
        st = words(w, text, err);
    return st ? st : own(w, k->after_user, err);
}

static lathe_status write_all(const writer *w, const lathe_message *m, size_t n, bool generate,
                              lathe_error *err) {
    const chat_kind *k = w->kind;
    const char *pending = NULL; /* a system text that waits for the first user turn */
    lathe_status st = own(w, k->start, err);
    for (size_t i = 0; i < n && !st; i++) {
        if (strcmp(m[i].role, "system") == 0) {
            if (k->place == SYSTEM_INSIDE)
                pending = m[i].text;
            else
                st = turn(w, k->before_system, m[i].text, k->after_system, err);
        } else if (strcmp(m[i].role, "user") == 0) {
            st = user_turn(w, pending, m[i].text, err);
            pending = NULL;
        } else if (strcmp(m[i].role, "assistant") == 0) {
            st = turn(w, k->before_answer, m[i].text, k->after_answer, err);
        } else {
            st = lathe_fail(err, LATHE_ERR_ARG,
                            "message %zu: role '%.40s' is not one of system, user, assistant", i, m[i].role);
        }
    }
    if (!st && generate)
        st = own(w, k->opening, err);
    return st;
}

static lathe_status check(const char *kind, size_t n_messages, const chat_kind **found, lathe_error *err) {
    *found = kind ? find_kind(kind) : NULL;
    if (!*found)
        return lathe_fail(
            err, LATHE_ERR_ARG,
            "chat template '%.40s' is not known; name one with --chat-template, as chatml or llama3",
            kind ? kind : "");
    if (n_messages > MESSAGES_MAX)
        return lathe_fail(err, LATHE_ERR_ARG, "%zu messages; at most %d", n_messages, MESSAGES_MAX);
    return LATHE_OK;
}

static lathe_status add_text(void *user, bool is_own, const char *text, size_t n, lathe_error *err) {
    (void) is_own;
    return lathe_buf_add(user, text, n, err);
}

lathe_status lathe_chat_text(const char *kind, const lathe_message *messages, size_t n_messages,
                             bool generate, const char *eos_text, char **text, lathe_error *err) {
    lathe_buf buf;
    writer w = {.eos = eos_text ? eos_text : "</s>", .part = add_text, .user = &buf};
    lathe_status st = check(kind, n_messages, &w.kind, err);
    if (st)
        return st;
    lathe_buf_init(&buf, 1u << 30);
    st = write_all(&w, messages, n_messages, generate, err);
    char *made = st ? NULL : lathe_buf_take(&buf, NULL);
    lathe_buf_free(&buf);
    if (!st && !made)
        st = lathe_fail(err, LATHE_ERR_MEMORY, "no memory for the conversation");
    if (!st)
        *text = made;
    return st;
}

/* The whole conversation with the borders between the template's parts and people's words. */
typedef struct part_list {
    lathe_buf text;
    lathe_part *parts;
    size_t n, capacity;
} part_list;

static lathe_status add_part(void *user, bool is_own, const char *text, size_t n, lathe_error *err) {
    part_list *list = user;
    const lathe_status st = lathe_buf_add(&list->text, text, n, err);
    if (st)
        return st;
    if (list->n > 0 && list->parts[list->n - 1].trusted == is_own) {
        list->parts[list->n - 1].end = list->text.n_bytes;
        return LATHE_OK;
    }
    if (list->n == list->capacity) {
        const size_t capacity = list->capacity ? 2 * list->capacity : 16;
        lathe_part *parts = realloc(list->parts, capacity * sizeof *parts);
        if (!parts)
            return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for the conversation");
        list->parts = parts;
        list->capacity = capacity;
    }
    list->parts[list->n++] = (lathe_part){.end = list->text.n_bytes, .trusted = is_own};
    return LATHE_OK;
}

lathe_status lathe_chat_tokenize(const lathe_vocab *vocab, const char *kind, const lathe_message *messages,
                                 size_t n_messages, bool generate, int32_t **ids, size_t *n_ids,
                                 lathe_error *err) {
    part_list list = {0};
    lathe_ids out = {0};
    char eos[256] = "</s>";
    size_t n = 0;
    const char *piece = lathe_vocab_piece(vocab, vocab->eos, &n);
    if (piece && n < sizeof eos) {
        memcpy(eos, piece, n);
        eos[n] = '\0';
    }
    writer w = {.eos = eos, .part = add_part, .user = &list};
    lathe_status st = check(kind, n_messages, &w.kind, err);
    if (st)
        return st;
    lathe_buf_init(&list.text, 1u << 30);
    if (vocab->add_bos)
        st = lathe_ids_add(&out, vocab->bos, err);
    if (!st)
        st = write_all(&w, messages, n_messages, generate, err);
    if (!st)
        st = lathe_tokenize_parts(vocab, list.text.data, list.parts, list.n, &out, err);
    if (!st && vocab->add_bos && out.n > 1 && out.ids[1] == vocab->bos) { /* BOS once */
        out.n--;
        memmove(out.ids + 1, out.ids + 2, (out.n - 1) * sizeof *out.ids);
    }
    if (!st && !out.ids) { /* nothing: still something to free */
        out.ids = malloc(sizeof *out.ids);
        if (!out.ids)
            st = lathe_fail(err, LATHE_ERR_MEMORY, "no memory for the conversation");
    }
    lathe_buf_free(&list.text);
    free(list.parts);
    if (st) {
        free(out.ids);
        return st;
    }
    *ids = out.ids;
    *n_ids = out.n;
    return LATHE_OK;
}
