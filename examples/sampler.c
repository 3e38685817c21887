/* sampler.c - a sampler for `lathe tree active --oracle cmd:./sampler`, in C: a chain of two-state nodes.
 * It reads lines {"nodes":["a","c"],"n":40} and answers each with {"rows":[[0,1],...]}, a row a sample.
 * Build: cc sampler.c -o sampler. Run: ./sampler 0.8 a b c d */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv) {
    static char line[1 << 16];
    const double flip = argc > 1 ? (1 - atof(argv[1])) / 2 : 0.1; /* of an edge with this correlation */
    const int n_nodes = argc - 2;
    srand(1);
    while (n_nodes > 0 && fgets(line, sizeof line, stdin) != NULL) {
        int wanted[256], n_wanted = 0, state[256] = {0};
        const char *list = strchr(line, '['), *end = list ? strchr(list, ']') : NULL,
                   *count = strstr(line, "\"n\":");
        if (end == NULL || count == NULL || n_nodes > 256)
            return 1;
        for (const char *p = list; (p = strchr(p, '"')) != NULL && p < end;) { /* names between quotes */
            const char *close = strchr(++p, '"');
            for (int i = 0; i < n_nodes; i++)
                if (strlen(argv[i + 2]) == (size_t) (close - p) &&
                    strncmp(argv[i + 2], p, (size_t) (close - p)) == 0)
                    wanted[n_wanted++] = i;
            p = close + 1;
        }
        printf("{\"rows\":[");
        for (int row = 0, n = atoi(count + 4); row < n; row++) {
            for (int i = 0; i < n_nodes; i++) /* each node copies the one before, or flips it */
                state[i] = i == 0 ? rand() & 1 : state[i - 1] ^ (rand() < flip * RAND_MAX);
            for (int k = 0; k < n_wanted; k++)
                printf("%s%d", k ? "," : row ? ",[" : "[", state[wanted[k]]);
            printf("]");
        }
        printf("]}\n");
        fflush(stdout);
    }
    return 0;
}
