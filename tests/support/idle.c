/* SPDX-License-Identifier: MIT */
#include "support/idle.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* proc(5): the state follows the name, which stands in parentheses and may contain some. */
static bool is_asleep(const char *id)
{
    char path[64];
    char line[512];
    (void)snprintf(path, sizeof path, "/proc/self/task/%.20s/stat", id);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return false; /* it has just ended: what it did last may wait for others */
    const char *name_end = fgets(line, sizeof line, file) == NULL ? NULL : strrchr(line, ')');
    (void)fclose(file);
    return name_end != NULL && strncmp(name_end, ") S", 3) == 0;
}

bool idle_others(void)
{
    DIR *threads = opendir("/proc/self/task");
    if (threads == NULL)
        return false;
    bool idle = true;
    for (const struct dirent *thread; idle && (thread = readdir(threads)) != NULL;)
        idle = thread->d_name[0] == '.' || strtol(thread->d_name, NULL, 10) == gettid() ||
               is_asleep(thread->d_name);
    (void)closedir(threads);
    return idle;
}
