/* SPDX-License-Identifier: MIT */
/* Runs a fuzz target over the files and folders that are named: the corpus as an ordinary test,
 * with any compiler, and one crash again under a debugger. */
#include "fuzz.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static unsigned replayed;

static bool replay_file(const char *path)
{
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        (void)fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return false;
    }
    /* Exactly as large as the file: reading behind its end shows. */
    struct stat status;
    uint8_t *data = NULL;
    size_t size = 0;
    bool good = fstat(fileno(file), &status) == 0;
    if (good) {
        size = (size_t)status.st_size;
        data = malloc(size == 0 ? 1 : size);
        good = data != NULL && fread(data, 1, size, file) == size;
    }
    (void)fclose(file);
    if (good) {
        (void)LLVMFuzzerTestOneInput(data, size);
        replayed++;
    } else {
        (void)fprintf(stderr, "%s: cannot be read\n", path);
    }
    free(data);
    return good;
}

static bool replay(const char *path)
{
    struct stat status;
    if (stat(path, &status) == 0 && !S_ISDIR(status.st_mode))
        return replay_file(path);
    struct dirent **names;
    int count = scandir(path, &names, NULL, alphasort);
    if (count < 0) {
        (void)fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return false;
    }
    bool good = true;
    for (int i = 0; i < count; i++) {
        char *below = NULL;
        if (names[i]->d_name[0] != '.' && asprintf(&below, "%s/%s", path, names[i]->d_name) >= 0) {
            good = replay(below) && good;
            free(below);
        }
        free(names[i]);
    }
    free(names);
    return good;
}

int main(int argc, char **argv)
{
    bool good = argc > 1;
    for (int i = 1; i < argc; i++)
        good = replay(argv[i]) && good;
    (void)printf("%u inputs replayed\n", replayed);
    return good && replayed > 0 ? 0 : 1;
}
