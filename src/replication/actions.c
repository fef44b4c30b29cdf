/* SPDX-License-Identifier: MIT */
#include "replication/actions.h"

#include <string.h>

struct replica_action *replica_act(struct replica *r, enum replica_action_kind kind)
{
    ASSERT(r->out->count < REPLICA_ACTIONS_MAX);
    struct replica_action *action = &r->out->items[r->out->count++];
    memset(action, 0, sizeof *action);
    action->kind = kind;
    return action;
}

void replica_persist(struct replica *r)
{
    struct replica_action *action = replica_act(r, REPLICA_DO_PERSIST);
    r->has_persisted = true;
    action->persist.promised = r->promised;
    memcpy(action->persist.cluster, r->cluster, sizeof action->persist.cluster);
}

void replica_raise_promise(struct replica *r, uint64_t epoch)
{
    ASSERT(epoch >= r->promised);
    if (epoch > r->highest)
        r->highest = epoch;
    if (epoch == r->promised)
        return;
    r->promised = epoch;
    replica_persist(r);
}

struct replica_action *replica_report(struct replica *r, enum replica_news news,
                                      const struct replica_message *received, const char *address)
{
    struct replica_action *action = replica_act(r, REPLICA_DO_REPORT);
    action->report.news = news;
    action->report.received = received;
    action->report.address = address;
    return action;
}

const char *replica_action_name(enum replica_action_kind kind)
{
    static const char *const names[REPLICA_ACTION_KINDS] = {
        [REPLICA_DO_PERSIST] = "persist",
        [REPLICA_DO_APPEND] = "append",
        [REPLICA_DO_SEND] = "send",
        [REPLICA_DO_PUBLISH] = "publish",
        [REPLICA_DO_COMMITTED] = "committed",
        [REPLICA_DO_ROLE] = "role",
        [REPLICA_DO_SEND_ENTRIES] = "send_entries",
        [REPLICA_DO_SEND_CHUNK] = "send_chunk",
        [REPLICA_DO_STORE_CHUNK] = "store_chunk",
        [REPLICA_DO_INSTALL] = "install",
        [REPLICA_DO_SEND_ORPHANS] = "send_orphans",
        [REPLICA_DO_MERGE_ORPHANS] = "merge_orphans",
        [REPLICA_DO_DROP_ORPHANS] = "drop_orphans",
        [REPLICA_DO_EXIT] = "exit",
        [REPLICA_DO_RESET] = "reset",
        [REPLICA_DO_REPORT] = "report",
    };
    return kind < REPLICA_ACTION_KINDS ? names[kind] : "?";
}
