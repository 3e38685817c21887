/* replay.c - feeds every file of the given folders (or files) to a fuzz target: what a fuzzer found stays
 * fixed, with any compiler. Status 77 where there is nothing to feed. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes);

static int feed(const char *path) {
    FILE *f = fopen(path, "rb");
    if (!f) {
        perror(path);
        return -1;
    }
    fseek(f, 0, SEEK_END);
    const long n = ftell(f);
    rewind(f);
    /* of exactly this size, so that a sanitizer sees one byte too far */
    uint8_t *bytes = malloc(n > 0 ? (size_t) n : 1);
    const size_t got = bytes && n > 0 ? fread(bytes, 1, (size_t) n, f) : 0;
    fclose(f);
    if (!bytes || n < 0 || got != (size_t) n) {
        fprintf(stderr, "%s: cannot be read\n", path);
        free(bytes);
        return -1;
    }
    LLVMFuzzerTestOneInput(bytes, got);
    free(bytes);
    return 1;
}

static int feed_folder(const char *path) {
    DIR *folder = opendir(path);
    int n = 0;
    if (!folder)
        return feed(path);
    for (struct dirent *entry = readdir(folder); entry && n >= 0; entry = readdir(folder)) {
        char full[4096];
        struct stat info;
        snprintf(full, sizeof full, "%s/%s", path, entry->d_name);
        if (entry->d_name[0] == '.' || stat(full, &info) != 0 || !S_ISREG(info.st_mode))
            continue;
        n = feed(full) < 0 ? -1 : n + 1;
    }
    closedir(folder);
    return n;
}

int main(int argc, char **argv) {
    int n = 0;
    for (int i = 1; i < argc; i++) {
        const int fed = feed_folder(argv[i]);
        if (fed < 0)
            return 1;
        n += fed;
    }
    printf("%d inputs\n", n);
    return n ? 0 : 77;
}
