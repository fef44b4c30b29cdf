/* SPDX-License-Identifier: MIT */
#include "cluster/database_check.h"

#include "chat/chat.h"
#include "cluster/disk_state.h"

#include <stdlib.h>

#define SLICE_BYTES (1024u * 1024u)

static enum error scan_all(struct store *file, const atomic_bool *is_wanted, struct error_text *why)
{
    struct store_scan scan = {0};
    while (!scan.is_done) {
        enum error error =
            atomic_load(is_wanted) ? store_scan(file, &scan, SLICE_BYTES) : ERROR_CANCELLED;
        if (error != OK)
            return error_set(why, error, "%s", store_last_problem(file));
    }
    return OK;
}

static enum error check_state(struct store *file, struct error_text *why)
{
    struct disk_state *disk = malloc(sizeof *disk);
    struct replica_state state;
    if (disk == NULL)
        return error_set(why, ERROR_NO_MEMORY, "out of memory");
    enum error error = disk_state_read(disk, file, &state, why);
    free(disk);
    return error;
}

enum error database_check(struct store *file, const atomic_bool *is_wanted, struct error_text *why)
{
    enum error error = store_check(file, why);
    if (error == OK)
        error = check_state(file, why);
    if (error == OK)
        error = scan_all(file, is_wanted, why);
    if (error == OK)
        error = chat_check(file, why);
    return error;
}
