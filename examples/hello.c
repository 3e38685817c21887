/* hello.c - print what a model answers. cc hello.c $(pkg-config --cflags --libs lathe) */
#include <lathe.h>
#include <stdio.h>

static bool print_text(void *user, const char *text, size_t n_bytes) {
    fwrite(text, 1, n_bytes, user);
    return fflush(user) == 0; /* false stops the generation */
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: hello MODEL.gguf PROMPT\n");
        return 2;
    }
    lathe_error err = {0};
    lathe_model *model = NULL;
    lathe_session *session = NULL;
    lathe_session_params params = lathe_session_params_default();
    params.n_predict = 64;

    lathe_status st = lathe_model_load(argv[1], NULL, &model, &err); /* NULL: defaults */
    if (!st)
        st = lathe_session_new(model, &params, &session, &err);
    if (!st)
        st = lathe_session_generate(session, argv[2], print_text, stdout, &err);
    if (st)
        fprintf(stderr, "hello: %s\n", err.text);
    lathe_session_free(session);
    lathe_model_free(model);
    return st ? 1 : 0;
}
