/* SPDX-License-Identifier: MIT */
#include "server/repair.h"

#include "base/log.h"
#include "commit/crash_note.h"
#include "replication/replica.h"
#include "store/store.h"

#include <stdlib.h>

/* ---- the other members ---- */

/* Whether one of them is known to have what this server had. */
static bool has_member_in_sync(const struct replica_member *members, size_t count, uint32_t id)
{
    for (size_t i = 0; i < count; i++)
        if (members[i].id != id && members[i].in_sync && !members[i].left)
            return true;
    return false;
}

/* The operator's addresses come first: the members may have moved. */
static enum error name_members(const struct replica_member *members, size_t count,
                               struct cluster_settings *settings, struct error_text *why)
{
    struct address *items = calloc(settings->masters.count + count, sizeof *items);
    size_t used = 0;
    if (items == NULL)
        return error_set(why, ERROR_NO_MEMORY, "out of memory");
    for (; used < settings->masters.count && used < REPLICA_SEEDS_MAX; used++)
        items[used] = settings->masters.items[used];
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
    else if (error == ERROR_NO_MEMORY)
        (void)error_set(why, error, "out of memory");
    else
        error = error_set(why, ERROR_REFUSED, "no other member is known to have been in sync");
    free(members);
    free(bytes);
    return error;
}

enum error repair_begin(const char *folder, struct cluster_settings *settings,
                        struct error_text *why)
{
    static const char *const notes[] = {CRASH_NOTE_APPLYING, CRASH_NOTE_PROJECTING, NULL};
    char to[PATH_MAX];
    enum error error = find_members(folder, settings, why);
    if (error != OK)
        return error;
    error = store_set_aside(folder, notes, to, why);
    if (error == OK)
        log_error("server", "data_set_aside", log_string("folder", to),
                  log_string("hint", "the server copies the database of the other servers; examine "
                                     "the disk of this machine, and remove the folder once "
                                     "the server is in sync"));
    return error;
}

enum error repair_resume(const char *folder, struct cluster_settings *settings, bool *is_resumed,
                         struct error_text *why)
{
    char aside[PATH_MAX];
    *is_resumed = false;
    if (!store_was_set_aside(folder, aside))
        return OK;
    enum error error = find_members(aside, settings, why);
    if (error == OK) {
        *is_resumed = true;
        log_info("server", "repair_resumed", log_string("folder", aside));
    } else if (error == ERROR_REFUSED && settings->is_first && settings->masters.count == 0) {
        return error_set(
            why, ERROR_REFUSED,
            "%s holds a damaged database, and %s: give --master_address, or remove that "
            "folder to found a new cluster",
            aside, why->text);
    }
    return error == ERROR_REFUSED ? OK : error;
}

void repair_release(struct cluster_settings *settings)
{
    free(settings->masters.items);
    settings->masters = (struct option_addresses){0};
}
