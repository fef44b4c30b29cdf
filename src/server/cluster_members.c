/* SPDX-License-Identifier: MIT */
/* Tells the log, and the links, who is in the cluster now. */
#include "server/cluster_internal.h"

#include "base/log.h"

#include <string.h>

static const struct replica_member *find(const struct replica_member *members, size_t count,
                                         uint16_t id)
{
    for (size_t i = 0; i < count; i++)
        if (members[i].id == id)
            return &members[i];
    return NULL;
}

static const char *what_happened(const struct replica_member *before,
                                 const struct replica_member *now)
{
    if (now->left)
        return before == NULL || !before->left ? "member_left" : NULL;
    if (before == NULL)
        return now->in_sync ? "member_in_sync" : "member_joined";
    if (now->in_sync != before->in_sync)
        return now->in_sync ? "member_in_sync" : "member_lost";
    if (strcmp(now->internal, before->internal) != 0 || strcmp(now->client, before->client) != 0)
        return "member_moved";
    return NULL;
}

/* A hanging disk is somebody else's business where somebody waits for this master, and could take its
 * place. */
static bool is_followed(const struct cluster *cluster)
{
    if (replica_role(cluster->replica) != REPLICA_MASTER)
        return false;
    const struct replica_member *members;
    size_t count = replica_members(cluster->replica, &members);
    for (size_t i = 0; i < count; i++)
        if (members[i].id != cluster->options.options->id && !members[i].left)
            return true;
    return false;
}

void cluster_note_members(struct cluster *cluster)
{
    ledger_share_writes(cluster->ledger, is_followed(cluster));
    if (!cluster->members_changed)
        return;
    cluster->members_changed = false;
    const struct replica_member *members;
    size_t count = replica_members(cluster->replica, &members);
    for (size_t i = 0; i < count; i++) {
        const struct replica_member *before =
            find(cluster->members, cluster->members_count, members[i].id);
        const char *event = what_happened(before, &members[i]);
        if (event != NULL)
            log_info("cluster", event, log_number("id", members[i].id),
                     log_string("internal", members[i].internal),
                     log_string("client", members[i].client));
    }
    if (count > 0)
        memcpy(cluster->members, members, count * sizeof *members);
    cluster->members_count = count;
    if (!cluster->has_resigned)
        links_set_members(cluster->links, members, count, (uint16_t)cluster->options.options->id);
}
