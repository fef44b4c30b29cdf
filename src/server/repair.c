/* SPDX-License-Identifier: MIT */
#include "server/repair.h"

#include "base/log.h"
#include "replication/replica.h"
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOLDERS_MAX 1000 /* of damaged files */
#define PATH_SIZE 4200

/* ---- the other members ---- */

/* Whether one of them is known to have what this server had. */
static bool has_member_in_sync(const struct replica_member *members, size_t count, uint32_t id)
{
    for (size_t i = 0; i < count; i++)
        if (members[i].id != id && members[i].in_sync && !members[i].left)
            return true;
    return false;
}

static enum error name_members(const struct replica_member *members, size_t count,
                               struct cluster_settings *settings, struct error_text *why)
{
    struct address *items = calloc(count, sizeof *items);
    size_t used = 0;
    if (items == NULL)
        return error_set(why, ERROR_NO_MEMORY, "out of memory");
    for (size_t i = 0; i < count && used < REPLICA_SEEDS_MAX; i++)
        if (members[i].id != settings->id && !members[i].left &&
            address_parse(members[i].internal, &items[used], NULL) == OK)
            used++;
    settings->masters = (struct option_addresses){.items = items, .count = used};
    settings->is_first = false;
    return OK;
}

static enum error find_members(const char *folder, struct cluster_settings *settings,
                               struct error_text *why)
{
    uint8_t *bytes = malloc(STORE_MEMBERS_MAX);
    struct replica_member *members = calloc(REPLICA_MEMBERS_MAX, sizeof *members);
    size_t used = 0;
    size_t count = 0;
    enum error error = bytes == NULL || members == NULL ? ERROR_NO_MEMORY : OK;
    if (error == OK)
        error = store_peek_members(folder, bytes, STORE_MEMBERS_MAX, &used);
    if (error == OK)
        error = replica_members_unpack(bytes, used, members, &count);
    if (error == OK && !has_member_in_sync(members, count, settings->id))
        error = ERROR_REFUSED;
    if (error == OK)
        error = name_members(members, count, settings, why);
    else
        error = error_set(why, ERROR_REFUSED, "no other member is known to have been in sync");
    free(members);
    free(bytes);
    return error;
}

/* ---- files ---- */

static enum error make_folder(const char *folder, char path[static PATH_SIZE],
                              struct error_text *why)
{
    for (unsigned i = 1; i <= FOLDERS_MAX; i++) {
        (void)snprintf(path, PATH_SIZE, "%s/damaged-%u", folder, i);
        if (mkdir(path, 0700) == 0)
            return OK;
        if (errno != EEXIST)
            break;
    }
    return error_set(why, error_from_errno(errno), "make %s: %s", path, strerror(errno));
}

static enum error move(const char *folder, const char *to, const char *name, struct error_text *why)
{
    char old[PATH_SIZE];
    char moved[PATH_SIZE + 64];
    (void)snprintf(old, sizeof old, "%s/%s", folder, name);
    (void)snprintf(moved, sizeof moved, "%s/%s", to, name);
    if (rename(old, moved) == 0 || errno == ENOENT)
        return OK;
    return error_set(why, error_from_errno(errno), "move %s to %s: %s", old, moved,
                     strerror(errno));
}

static enum error sync_folder(const char *folder, struct error_text *why)
{
    int descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int number = descriptor < 0 || fsync(descriptor) != 0 ? errno : 0;
    if (descriptor >= 0)
        (void)close(descriptor);
    return number == 0 ? OK
                       : error_set(why, error_from_errno(number), "sync folder %s: %s", folder,
                                   strerror(number));
}

/* The database goes last: without it, no start would find the other members. */
static enum error set_aside(const char *folder, char to[static PATH_SIZE], struct error_text *why)
{
    static const char *const names[] = {
        SEGMENT_LOG_FOLDER,         STORE_FILE_NAME "-wal", STORE_FILE_NAME "-shm", "applying",
        STORE_FILE_NAME "-journal", "projecting",           STORE_FILE_NAME};
    enum error error = make_folder(folder, to, why);
    for (size_t i = 0; i < sizeof names / sizeof *names && error == OK; i++)
        error = move(folder, to, names[i], why);
    if (error == OK)
        error = sync_folder(to, why);
    return error == OK ? sync_folder(folder, why) : error;
}

enum error repair_begin(const char *folder, struct cluster_settings *settings,
                        struct error_text *why)
{
    char to[PATH_SIZE];
    enum error error = find_members(folder, settings, why);
    if (error != OK)
        return error;
    error = set_aside(folder, to, why);
    if (error == OK)
        log_error("server", "data_set_aside", log_string("folder", to),
                  log_string("hint", "the server copies the database of the other servers; examine "
                                     "the disk of this machine, then remove the folder"));
    return error;
}

void repair_release(struct cluster_settings *settings)
{
    free(settings->masters.items);
    settings->masters = (struct option_addresses){0};
}
