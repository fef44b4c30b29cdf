/* SPDX-License-Identifier: MIT */
/* What a process that has just started finds: the database, and nothing that the process before it
 * kept in memory beside it. */
#include "store/store_internal.h"

#include "sim.h"

static enum error load(struct store *store)
{
    uint64_t node_id;
    enum error error = identity_load(store, &node_id);
    if (error == OK)
        error = log_load_position(store, true);
    if (error == OK)
        error = epoch_load(store);
    if (error == OK)
        error = orphan_load(store);
    return error == OK ? timeline_load(store) : error;
}

void disk_reopen(struct world *world, struct node *node)
{
    struct error_text why = {.text = ""};
    struct store_options options = {.node_id = node->id};
    struct store *fresh;
    if (store_open(&fresh, &options, &why) != OK)
        broken(world, "harness", "store: %s", why.text);
    sqlite3_backup *copy =
        sqlite3_backup_init(fresh->database, "main", node->store->database, "main");
    if (copy == NULL || sqlite3_backup_step(copy, -1) != SQLITE_DONE ||
        sqlite3_backup_finish(copy) != SQLITE_OK || load(fresh) != OK)
        broken(world, "harness", "copy a store: %s", sqlite3_errmsg(fresh->database));
    store_close(node->store);
    node->store = fresh;
}
