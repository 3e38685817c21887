/* fuzz_json.c - any bytes as JSON: what is read is written as text that reads back as the same value. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes) {
    lathe_error err = {0};
    json_t *value = NULL, *again = NULL;
    if (lathe_json_parse((const char *) bytes, n_bytes, "fuzz.json", &value, &err) != LATHE_OK) {
        if (!err.text[0] || strchr(err.text, '\n'))
            abort();
        return 0;
    }
    char *text = lathe_json_text(value);
    if (text) {
        if (strchr(text, '\n'))
            abort();
        if (lathe_json_parse(text, strlen(text), "again", &again, &err) != LATHE_OK ||
            !json_equal(value, again))
            abort();
    }
    free(text);
    json_decref(value);
    json_decref(again);
    return 0;
}
