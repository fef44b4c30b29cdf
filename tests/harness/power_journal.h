/* SPDX-License-Identifier: MIT */
/* power_journal.h - the files that power.c writes in the server and power_loss.c reads in the test.
 *
 * The folder of journals has a file "file-INODE" for each file that was written, a file "names", and a
 * link "kept-NUMBER" to each file whose name was removed. A record of a journal is appended before the
 * change that it describes. A killed process may leave half a record at the end, which counts as none. */
#ifndef JACKDAW_TESTS_POWER_JOURNAL_H
#define JACKDAW_TESTS_POWER_JOURNAL_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define POWER_ROOT "JACKDAW_TEST_POWER_ROOT" /* the data folder of the server */
#define POWER_JOURNAL \
    "JACKDAW_TEST_POWER_JOURNAL" /* the folder of journals, on the same file system */
#define POWER_PATH_SIZE 1024
#define POWER_JOURNAL_PATH_SIZE (POWER_PATH_SIZE + 64)

enum power_change_kind {
    POWER_WRITE = 1, /* of `size` bytes at `offset` */
    POWER_RESIZE,    /* to `offset` bytes */
    POWER_SYNC,      /* the first `offset` bytes of this journal are durable */
};

/* One record of a file's journal; `kept` bytes follow, which the change replaces or cuts. */
struct power_change {
    uint64_t kind;
    uint64_t offset;
    uint64_t size;
    uint64_t old_size; /* of the file, before the change */
    uint64_t kept;
};

enum power_name_kind {
    POWER_MADE = 1,   /* a file, a second link to a file, or a folder: path */
    POWER_REMOVED,    /* path */
    POWER_RENAMED,    /* path to new_path */
    POWER_NAMES_SYNC, /* the first `covered` bytes of the journal are durable for this folder */
};

/* One record of the journal of names. */
struct power_name {
    uint64_t kind;
    uint64_t folder;  /* inode of the folder that must be synced */
    uint64_t covered; /* bytes */
    uint64_t kept;    /* number of the link to the file that lost its name; 0: none */
    char path[POWER_PATH_SIZE];
    char new_path[POWER_PATH_SIZE];
};

/* Whether a file loses nothing: the server maps it into its memory, or nobody reads its old content. */
static inline bool power_is_ignored(const char *path)
{
    static const char *const ends[] = {"-shm", "/lock", "/applying", "/projecting"};
    size_t size = strlen(path);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        size_t end = strlen(ends[i]);
        if (size >= end && strcmp(path + size - end, ends[i]) == 0)
            return true;
    }
    return false;
}

#endif
