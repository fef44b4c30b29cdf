/* SPDX-License-Identifier: MIT */
#include "support/folder.h"

#include "support/test.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char *folder_new(void)
{
    const char *base = getenv("TMPDIR");
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/jackdaw-test-XXXXXX",
                   base == NULL || *base == '\0' ? "/tmp" : base);
    if (mkdtemp(path) == NULL)
        fail_msg("cannot make a folder like %s", path);
    return strdup(path);
}

static int remove_one(const char *path, const struct stat *status, int flag, struct FTW *walk)
{
    (void)status;
    (void)flag;
    (void)walk;
    return remove(path);
}

void folder_remove(char *folder)
{
    (void)nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(folder);
}
