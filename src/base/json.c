/* json.c - see json.h. */
#include "base/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/utf8.h"

lathe_status lathe_json_parse(const char *text, size_t n_bytes, const char *name, json_t **value,
                              lathe_error *err) {
    json_error_t problem;
    json_t *v = json_loadb(text, n_bytes, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &problem);
    if (!v)
        return lathe_fail(err, LATHE_ERR_INPUT, "%s:%d:%d: %s", name, problem.line, problem.column,
                          problem.text);
    *value = v;
    return LATHE_OK;
}

lathe_status lathe_json_read(const char *path, size_t limit, json_t **value, lathe_error *err) {
    char *text = NULL;
    size_t n = 0;
    lathe_status st = lathe_file_read(path, limit, &text, &n, err);
    if (st)
        return st;
    st = lathe_json_parse(text, n, strcmp(path, "-") == 0 ? "stdin" : path, value, err);
    free(text);
    return st;
}

char *lathe_json_text(const json_t *value) {
    return json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
}

json_t *lathe_json_real(double x) {
    return isfinite(x) ? json_real(x) : json_null();
}

json_t *lathe_json_bytes(const char *text, size_t n_bytes) {
    if (lathe_utf8_is_valid(text, n_bytes))
        return json_stringn(text, n_bytes);
    size_t n = 0;
    char *repaired = lathe_utf8_repair(text, n_bytes, &n);
    json_t *value = repaired ? json_stringn(repaired, n) : NULL;
    free(repaired);
    return value;
}

json_t *lathe_json_string(const char *text) {
    return text ? lathe_json_bytes(text, strlen(text)) : json_null();
}

json_t *lathe_json_ids(const int32_t *ids, size_t n_ids) {
    json_t *list = json_array();
    for (size_t i = 0; list && i < n_ids; i++)
        json_array_append_new(list, json_integer(ids[i]));
    return list;
}
