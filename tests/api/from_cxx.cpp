// The library from C++ with nothing but its header.
#include <cstdio>
#include <cstring>
#include <string>

#include <lathe.h>

static bool append(void *user, const char *text, size_t n_bytes) {
    static_cast<std::string *>(user)->append(text, n_bytes);
    return true;
}

int main(int argc, char **argv) {
    if (argc != 2)
        return 2;
    lathe_error err = {};
    lathe_model *model = nullptr;
    lathe_session *session = nullptr;
    lathe_session_params params = lathe_session_params_default();
    params.n_predict = 5;
    params.sampler.temp = 0;
    std::string text;
    lathe_status st = lathe_model_load(argv[1], nullptr, &model, &err);
    if (!st)
        st = lathe_session_new(model, &params, &session, &err);
    if (!st)
        st = lathe_session_generate(session, "Once upon a time", append, &text, &err);
    if (st)
        std::fprintf(stderr, "%s\n", err.text);
    const bool same = text == ", there was a little";
    const bool version = std::strcmp(lathe_version(), LATHE_VERSION_STRING) == 0;
    lathe_session_free(session);
    lathe_model_free(model);
    return st || !same || !version ? 1 : 0;
}
