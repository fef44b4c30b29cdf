/* SPDX-License-Identifier: MIT */
/* Takes a database and a log that are damaged out of use, without a store. */
#include "store/store_internal.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOLDERS_MAX 1000 /* of damaged files */

static bool name_folder(const char *folder, unsigned number, char path[static PATH_MAX])
{
    int length = snprintf(path, PATH_MAX, "%s/damaged-%u", folder, number);
    return length >= 0 && length < PATH_MAX;
}

/* 0: there is none. */
static unsigned newest(const char *folder, char path[static PATH_MAX])
{
    unsigned number = FOLDERS_MAX;
    while (number > 0 && !(name_folder(folder, number, path) && access(path, F_OK) == 0))
        number--;
    return number;
}

static enum error make_folder(const char *folder, char path[static PATH_MAX],
                              struct error_text *why)
{
    if (!name_folder(folder, newest(folder, path) + 1, path))
        return error_set(why, ERROR_INVALID, "the data folder's name is too long");
    return mkdir(path, 0700) == 0 ? OK : folder_problem(why, "make", path);
}

static enum error move(const char *folder, const char *to, const char *name, struct error_text *why)
{
    char old[PATH_MAX];
    char moved[PATH_MAX];
    int length = snprintf(moved, sizeof moved, "%s/%s", to, name);
    if (length < 0 || length >= PATH_MAX)
        return error_set(why, ERROR_INVALID, "the data folder's name is too long");
    (void)snprintf(old, sizeof old, "%s/%s", folder, name); /* shorter */
    if (rename(old, moved) == 0 || errno == ENOENT)
        return OK;
    return folder_problem(why, "move to the folder of damaged files", old);
}

static enum error move_all(const char *folder, const char *to, const char *const *names,
                           struct error_text *why)
{
    enum error error = OK;
    for (; *names != NULL && error == OK; names++)
        error = move(folder, to, *names, why);
    return error;
}

/* The database goes last: without it, no start would know of the other members. */
enum error store_set_aside(const char *folder, const char *const *others, char to[static PATH_MAX],
                           struct error_text *why)
{
    static const char *const names[] = {SEGMENT_LOG_FOLDER,     STORE_FILE_NAME "-wal",
                                        STORE_FILE_NAME "-shm", STORE_FILE_NAME "-journal",
                                        STORE_FILE_NAME,        NULL};
    enum error error = make_folder(folder, to, why);
    if (error == OK)
        error = move_all(folder, to, others, why);
    if (error == OK)
        error = move_all(folder, to, names, why);
    if (error == OK)
        error = folder_sync(to, why);
    return error == OK ? folder_sync(folder, why) : error;
}

bool store_was_set_aside(const char *folder, char to[static PATH_MAX])
{
    return newest(folder, to) > 0;
}
