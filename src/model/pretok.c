/* pretok.c - how each family of byte-level BPE cuts a text into words before merging.
 *
 * A pre-tokenizer is a list of expressions. Each one splits every piece that the previous ones left, also
 * pieces that they matched; matches and the gaps between them both become pieces, and a piece's end is the
 * end of text for look-aheads. PCRE2_DOLLAR_ENDONLY: '$' is the very end, not before a final newline. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "model/vocab.h"

enum { EXPRESSIONS_MAX = 6 };

#define GPT2        "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)"
#define CONTRACTION "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
#define TAIL        "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define UPPER       "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER       "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define HAN         "[\\x{4E00}-\\x{9FA5}\\x{0800}-\\x{4E00}\\x{AC00}-\\x{D7FF}]+"
#define BLOOM       " ?[^(\\s|.,!?\\x{2026}\\x{3002}\\x{FF0C}\\x{3001}\\x{0964}\\x{06D4}\\x{060C})]+"

/* Not a pattern: cut each run of digits so that groups of three are counted from its end. */
static const char group_digits[] = "#digits";

/* The cased letters that deepseek-llm's second expression names one by one. */
#define DEEPSEEK_LETTERS                                                                                     \
    "\\s?[A-Za-z\\x{00B5}\\x{00C0}-\\x{00D6}\\x{00D8}-\\x{00F6}\\x{00F8}-\\x{01BA}\\x{01BC}-\\x{01BF}\\x{"   \
    "01C4}-\\x{0293}"                                                                                        \
    "\\x{0295}-\\x{02AF}\\x{0370}-\\x{0373}\\x{0376}\\x{0377}\\x{037B}-\\x{037D}\\x{037F}\\x{0386}\\x{0388}" \
    "-\\x{038A}\\x{038C}"                                                                                    \
    "\\x{038E}-\\x{03A1}\\x{03A3}-\\x{03F5}\\x{03F7}-\\x{0481}\\x{048A}-\\x{052F}\\x{0531}-\\x{0556}\\x{"    \
    "10A0}-\\x{10C5}"                                                                                        \
    "\\x{13A0}-\\x{13F5}\\x{13F8}-\\x{13FD}\\x{1C90}-\\x{1CBA}\\x{1CBD}-\\x{1CBF}\\x{1D00}-\\x{1D2B}\\x{"    \
    "1D6B}-\\x{1D77}"                                                                                        \
    "\\x{1D79}-\\x{1D9A}\\x{1E00}-\\x{1F15}\\x{1F18}-\\x{1F1D}\\x{1F20}-\\x{1F45}\\x{1F48}-\\x{1F4D}\\x{"    \
    "1F50}-\\x{1F57}"                                                                                        \
    "\\x{1F59}\\x{1F5B}\\x{1F5D}\\x{1F5F}-\\x{1F7D}\\x{1F80}-\\x{1FB4}\\x{1FB6}-\\x{1FBC}\\x{1FBE}\\x{1FC2}" \
    "-\\x{1FC4}"                                                                                             \
    "\\x{1FC6}-\\x{1FCC}\\x{1FD0}-\\x{1FD3}\\x{1FD6}-\\x{1FDB}\\x{1FE0}-\\x{1FEC}\\x{1FF2}-\\x{1FF4}\\x{"    \
    "1FF6}-\\x{1FFC}"                                                                                        \
    "\\x{2102}\\x{2107}\\x{210A}-\\x{2113}\\x{2115}\\x{2119}-\\x{211D}\\x{2124}\\x{2126}\\x{2128}\\x{212A}-" \
    "\\x{212D}"                                                                                              \
    "\\x{212F}-\\x{2134}\\x{2139}\\x{213C}-\\x{213F}\\x{2145}-\\x{2149}\\x{214E}\\x{2183}\\x{2184}\\x{2C00}" \
    "-\\x{2C7B}"                                                                                             \
    "\\x{2C7E}-\\x{2CE4}\\x{2CEB}-\\x{2CEE}\\x{2CF2}\\x{2CF3}\\x{A640}-\\x{A66D}\\x{A680}-\\x{A69B}\\x{"     \
    "A722}-\\x{A76F}"                                                                                        \
    "\\x{A771}-\\x{A787}\\x{A78B}-\\x{A78E}\\x{AB70}-\\x{ABBF}\\x{FB00}-\\x{FB06}\\x{FB13}-\\x{FB17}\\x{"    \
    "FF21}-\\x{FF3A}"                                                                                        \
    "\\x{FF41}-\\x{FF5A}\\x{10400}-\\x{1044F}\\x{104B0}-\\x{104D3}\\x{104D8}-\\x{104FB}\\x{10C80}-\\x{"      \
    "10CB2}"                                                                                                 \
    "\\x{10CC0}-\\x{10CF2}\\x{118A0}-\\x{118DF}\\x{1E900}-\\x{1E943}]+"

typedef struct pretok_row {
    const char *names; /* blank-separated, with a blank at both ends; "jina-*" by its prefix */
    const char *expressions[EXPRESSIONS_MAX];
} pretok_row;

// clang-format off
static const pretok_row rows[] = {
    { " gpt-2 phi-2 mpt olmo jais gigachat roberta-bpe exaone4 trillion modern-bert mellum ", { GPT2 } },
    { " starcoder refact command-r smollm codeshell exaone minerva-7b ", { "\\p{N}", GPT2 } },
    { " falcon ", { "[\\p{P}\\$\\+<=>\\^~\\|`]+", GPT2, "[0-9][0-9][0-9]" } },
    { " default ", { "[\\p{P}\\$\\+<=>\\^~\\|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]" } },
    { " llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral lfm2 dbrx smaug-bpe chatglm-bpe glm4 ",
      { CONTRACTION "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" TAIL } },
    { " qwen2 stablelm2 deepseek-r1-qwen megrez hunyuan grok-2 solar-open ",
      { CONTRACTION "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" TAIL } },
    { " qwen35 ",
      { CONTRACTION "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" TAIL } },
    { " tekken ",
      { "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+|[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER "*|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" TAIL } },
    { " gpt-4o llama4 kanana2 minimax-m2 ",
      { "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+" CONTRACTION "?|[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER "*" CONTRACTION
        "?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" TAIL } },
    { " deepseek-coder ", { "[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", HAN, "\\p{N}" } },
    { " deepseek-v3 hunyuan-dense ",
      { "\\p{N}{1,3}", "[\\x{4E00}-\\x{9FA5}\\x{3040}-\\x{309F}\\x{30A0}-\\x{30FF}]+",
        "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|" TAIL } },
    /* The look-behind changes no match: it only keeps a run of blanks from being tried at each of its characters. */
    { " deepseek-llm ",
      { "[\\r\\n]", DEEPSEEK_LETTERS,
        "\\s?[!-/:-~\\x{FF01}-\\x{FF0F}\\x{FF1A}-\\x{FF5E}\\x{2018}-\\x{201F}\\x{3000}-\\x{3002}]+", "(?<!\\s)\\s+$", HAN, "\\p{N}+" } },
    { " bloom poro-chat gpt3-finnish ", { BLOOM } },
    { " viking ", { BLOOM, "\\p{N}" } },
    { " seed-coder ",
      { CONTRACTION "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1}| ?[^\\s\\p{L}\\p{N}\\r\\n]+|" TAIL } },
    { " bailingmoe bailingmoe2 ",
      { "'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+" } },
    { " superbpe ", { "\\p{N}+", group_digits } },
    { " gemma4 ", { "[^\\n]+|[\\n]+" } },
};
// clang-format on

struct lathe_pretok {
    pcre2_code *codes[EXPRESSIONS_MAX];
    bool groups_digits[EXPRESSIONS_MAX];
    int n;
};

static const pretok_row *find_row(const char *name) {
    char padded[72];
    const size_t n = strlen(name);
    if (n == 0 || n > sizeof padded - 3 || strchr(name, ' '))
        return NULL;
    if (strncmp(name, "jina-", 5) == 0)
        return &rows[0];
    padded[0] = ' ';
    memcpy(padded + 1, name, n);
    memcpy(padded + 1 + n, " ", 2);
    for (size_t i = 0; i < LATHE_LEN(rows); i++)
        if (strstr(rows[i].names, padded))
            return &rows[i];
    return NULL;
}

lathe_status lathe_pretok_new(const char *name, lathe_pretok **pretok, lathe_error *err) {
    const pretok_row *row = find_row(name);
    if (!row)
        return lathe_fail(err, LATHE_ERR_UNSUPPORTED,
                          "pre-tokenizer '%.60s' is not known; its words would be cut wrongly", name);
    lathe_pretok *p = calloc(1, sizeof *p);
    if (!p)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a pre-tokenizer");
    for (int i = 0; i < EXPRESSIONS_MAX && row->expressions[i]; i++) {
        const bool groups = row->expressions[i] == group_digits;
        const char *expression = groups ? "\\d+" : row->expressions[i];
        int code;
        PCRE2_SIZE where;
        p->groups_digits[i] = groups;
        p->codes[i] = pcre2_compile((PCRE2_SPTR) expression, PCRE2_ZERO_TERMINATED,
                                    PCRE2_UTF | PCRE2_UCP | PCRE2_DOLLAR_ENDONLY, &code, &where, NULL);
        if (!p->codes[i]) {
            lathe_pretok_free(p);
            return lathe_fail(err, code == PCRE2_ERROR_NOMEMORY ? LATHE_ERR_MEMORY : LATHE_ERR_INTERNAL,
                              "expression %d of pre-tokenizer %s cannot be compiled (error %d at %zu)", i + 1,
                              name, code, (size_t) where);
        }
        (void) pcre2_jit_compile(p->codes[i], PCRE2_JIT_COMPLETE); /* without it: the same, slower */
        p->n = i + 1;
    }
    *pretok = p;
    return LATHE_OK;
}

void lathe_pretok_free(lathe_pretok *pretok) {
    if (!pretok)
        return;
    for (int i = 0; i < pretok->n; i++)
        pcre2_code_free(pretok->codes[i]);
    free(pretok);
}

/* Ends of pieces so far and after the next expression. */
typedef struct ends {
    size_t *at;
    size_t n, capacity;
} ends;

static lathe_status add_end(ends *e, size_t end, lathe_error *err) {
    if (e->n > 0 && e->at[e->n - 1] == end)
        return LATHE_OK;
    if (e->n == e->capacity) {
        const size_t capacity = e->capacity ? 2 * e->capacity : 64;
        size_t *at = realloc(e->at, capacity * sizeof *at);
        if (!at)
            return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %zu words", capacity);
        e->at = at;
        e->capacity = capacity;
    }
    e->at[e->n++] = end;
    return LATHE_OK;
}

/* Cuts [start, end), a run of digits, so that groups of three are counted from the end. */
static lathe_status cut_digits(const char *text, size_t start, size_t end, ends *out, lathe_error *err) {
    uint32_t code;
    size_t n_digits = 0;
    for (size_t i = start; i < end; i += lathe_utf8_next(text + i, end - i, &code))
        n_digits++;
    lathe_status st = LATHE_OK;
    for (size_t i = start; i < end && !st;) {
        if (n_digits % 3 == 0 && i > 0)
            st = add_end(out, i, err);
        i += lathe_utf8_next(text + i, end - i, &code);
        n_digits--;
    }
    return st;
}

/* Splits text[begin, end) by one expression and adds the ends of its pieces. */
static lathe_status split_piece(const lathe_pretok *p, int which, const char *text, size_t begin, size_t end,
                                pcre2_match_data *match, ends *out, lathe_error *err) {
    const PCRE2_SPTR subject = (PCRE2_SPTR) (text + begin);
    const size_t n = end - begin;
    size_t at = 0;
    lathe_status st = LATHE_OK;
    while (at < n && !st) {
        int found = pcre2_match(p->codes[which], subject, n, at, PCRE2_NO_UTF_CHECK, match, NULL);
        if (found == PCRE2_ERROR_JIT_STACKLIMIT)
            found =
                pcre2_match(p->codes[which], subject, n, at, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, match, NULL);
        if (found == PCRE2_ERROR_NOMATCH)
            break;
        if (found < 0)
            return lathe_fail(err, LATHE_ERR_INPUT,
                              "the text cannot be split into words (PCRE2 error %d at byte %zu)", found,
                              begin + at);
        const PCRE2_SIZE *where = pcre2_get_ovector_pointer(match);
        if (where[1] == where[0]) { /* an empty match cuts nothing */
            uint32_t code;
            at = where[1] + lathe_utf8_next(text + begin + where[1], n - where[1], &code);
            continue;
        }
        if (where[0] > 0)
            st = add_end(out, begin + where[0], err);
        if (!st)
            st = add_end(out, begin + where[1], err);
        at = where[1];
    }
    return st ? st : add_end(out, end, err);
}

/* As split_piece for the digit groups, whose cuts lie inside of the matches. */
static lathe_status group_piece(const lathe_pretok *p, int which, const char *text, size_t begin, size_t end,
                                pcre2_match_data *match, ends *out, lathe_error *err) {
    const PCRE2_SPTR subject = (PCRE2_SPTR) (text + begin);
    const size_t n = end - begin;
    lathe_status st = LATHE_OK;
    for (size_t at = 0; at < n && !st;) {
        if (pcre2_match(p->codes[which], subject, n, at, PCRE2_NO_UTF_CHECK, match, NULL) < 0)
            break;
        const PCRE2_SIZE *where = pcre2_get_ovector_pointer(match);
        ends inside = {0};
        st = cut_digits(text + begin, where[0], where[1], &inside, err);
        for (size_t i = 0; i < inside.n && !st; i++)
            st = add_end(out, begin + inside.at[i], err);
        free(inside.at);
        at = where[1];
    }
    return st ? st : add_end(out, end, err);
}

/* A stretch of valid UTF-8. */
static lathe_status
split_valid(const lathe_pretok *p, const char *text, size_t n_bytes, pcre2_match_data *match, ends work[2],
            lathe_status (*word)(void *user, const char *text, size_t n_bytes, lathe_error *err), void *user,
            lathe_error *err) {
    work[0].n = 0;
    lathe_status st = add_end(&work[0], n_bytes, err);
    int now = 0;
    for (int i = 0; i < p->n && !st; i++) {
        const ends *from = &work[now];
        ends *to = &work[1 - now];
        to->n = 0;
        size_t begin = 0;
        for (size_t k = 0; k < from->n && !st; k++) {
            st = p->groups_digits[i] ? group_piece(p, i, text, begin, from->at[k], match, to, err)
                                     : split_piece(p, i, text, begin, from->at[k], match, to, err);
            begin = from->at[k];
        }
        now = 1 - now;
    }
    size_t begin = 0;
    for (size_t k = 0; k < work[now].n && !st; k++) {
        st = word(user, text + begin, work[now].at[k] - begin, err);
        begin = work[now].at[k];
    }
    return st;
}

lathe_status lathe_pretok_split(const lathe_pretok *pretok, const char *text, size_t n_bytes,
                                lathe_status (*word)(void *user, const char *text, size_t n_bytes,
                                                     lathe_error *err),
                                void *user, lathe_error *err) {
    if (n_bytes == 0)
        return LATHE_OK;
    pcre2_match_data *match = pcre2_match_data_create(8, NULL);
    if (!match)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for splitting a text into words");
    ends work[2] = {{0}};
    lathe_status st = LATHE_OK;
    size_t begin = 0;
    for (size_t i = 0; i <= n_bytes && !st;) {
        uint32_t code;
        const size_t n = i < n_bytes ? lathe_utf8_next(text + i, n_bytes - i, &code) : 0;
        if (n > 0) {
            i += n;
            continue;
        }
        if (i > begin)
            st = split_valid(pretok, text + begin, i - begin, match, work, word, user, err);
        if (!st && i < n_bytes)
            st = word(user, text + i, 1, err); /* a byte that is no UTF-8 */
        i++;
        begin = i;
    }
    free(work[0].at);
    free(work[1].at);
    pcre2_match_data_free(match);
    return st;
}
