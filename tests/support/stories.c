/* stories.c - see stories.h. */
#include "support/stories.h"

#include "support/check.h"

lathe_model *stories;

int stories_load(void **state) {
    (void) state;
    const char *path = shared_file("models/stories260K-f32.gguf");
    lathe_error err = {0};
    if (path)
        check_ok(lathe_model_load(path, NULL, &stories, &err), err);
    return 0;
}

int stories_free(void **state) {
    (void) state;
    lathe_model_free(stories);
    stories = NULL;
    return 0;
}
