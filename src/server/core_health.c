/* SPDX-License-Identifier: MIT */
/* Checks the database while it is in use. docs/operations.md, "A damaged database" and "A data
 * folder that goes away", says what operators see of it. */
#include "base/log.h"
#include "server/core.h"

#define SCRUB_EVERY_MS (24u * 3600u * 1000u)
#define SCRUB_RETRY_MS 60000u
/* Delay before a slave with a damaged database ends: of two damaged servers, one remains. */
#define SLAVE_STAYS_MS 10000u

static void end(struct core *core, const char *sentence)
{
    if (!core->has_failed) {
        core->has_failed = true;
        (void)error_set(&core->problem, ERROR_CORRUPT, "%s", sentence);
    }
    atomic_store(&core->stopping, true);
}

/* ---- the files ---- */

/* Later writes go to files that no process will find again, so the server must not acknowledge even
 * the open requests. */
static void watch_files(struct core *core)
{
    struct error_text why;
    if (core->has_failed || store_check_files(core->store, &why) == OK)
        return;
    log_error("server", "data_folder_gone", log_string("folder", core->folder),
              log_string("reason", why.text));
    cluster_resign(core->cluster);
    end(core, why.text);
}

/* ---- the content ---- */

static void note_damage(struct core *core, const char *reason)
{
    struct core_health *health = &core->health;
    if (health->is_damaged)
        return;
    health->is_damaged = true;
    health->damaged_ms = core->now_ms;
    (void)error_set(&health->damage, ERROR_CORRUPT, "%s", reason);
    log_error("server", "database_damaged", log_string("folder", core->folder),
              log_string("reason", reason), log_string("hint", STORE_DAMAGE_ADVICE));
    cluster_set_damaged(core->cluster);
}

void core_health_scrubbed(void *context, enum error error, const char *reason, uint64_t bytes)
{
    struct core *core = context;
    struct core_health *health = &core->health;
    if (error == OK || error == ERROR_CORRUPT) {
        health->checked_ms = core->wall_ms;
        health->next_scrub_ms = core->now_ms + SCRUB_EVERY_MS;
    }
    if (error == OK)
        log_info("server", "database_checked", log_number("bytes", bytes));
    else if (error == ERROR_CORRUPT)
        note_damage(core, reason);
    else
        log_warning("server", "cannot_check_database", log_string("reason", reason));
}

static void scrub(struct core *core)
{
    struct core_health *health = &core->health;
    if (!core->was_ready || core->now_ms < health->next_scrub_ms || core->stopping)
        return;
    struct error_text why;
    health->next_scrub_ms = core->now_ms + SCRUB_RETRY_MS;
    if (scrub_start(core->scrub, core->store, &why) != OK)
        log_warning("server", "cannot_check_database", log_string("reason", why.text));
}

/* Returns whether another server has all entries and clients can find it. */
static bool has_other_in_sync(const struct core *core)
{
    const struct replica_member *members;
    size_t count = replica_members(cluster_replica(core->cluster), &members);
    for (size_t i = 0; i < count; i++)
        if (members[i].id != core->options->cluster.id && members[i].in_sync && !members[i].left &&
            cluster_reaches(core->cluster, members[i].id))
            return true;
    return false;
}

static void leave_to_others(struct core *core)
{
    const struct core_health *health = &core->health;
    uint64_t stays_ms = core->role == REPLICA_MASTER ? 0 : SLAVE_STAYS_MS;
    bool has_part = core->role == REPLICA_MASTER || core->role == REPLICA_SLAVE;
    if (!health->is_damaged || !has_part || core->now_ms - health->damaged_ms < stays_ms ||
        !has_other_in_sync(core))
        return;
    struct error_text why;
    (void)error_set(&why, ERROR_CORRUPT, "the database in %s is damaged: %s; " STORE_DAMAGE_ADVICE,
                    core->folder, health->damage.text);
    end(core, why.text);
}

void core_health_tick(struct core *core)
{
    struct error_text why;
    watch_files(core);
    scrub(core);
    if (store_is_damaged(core->store, &why) ||
        (core->reader_store != NULL && store_is_damaged(core->reader_store, &why)))
        note_damage(core, why.text);
    leave_to_others(core);
}
