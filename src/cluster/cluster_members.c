/* SPDX-License-Identifier: MIT */
/* Tells the log, the links, and those who use the chat, who is in the cluster now. */
#include "cluster/cluster_internal.h"

#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define NOTICE_BYTES 256

enum change { NO_CHANGE, JOINED, IN_SYNC, LOST, MOVED, UPGRADED, GONE };

static const char *const events[] = {
    [JOINED] = "member_joined", [IN_SYNC] = "member_in_sync",   [LOST] = "member_lost",
    [MOVED] = "member_moved",   [UPGRADED] = "member_upgraded", [GONE] = "member_left",
};

static const struct replica_member *find(const struct replica_member *members, size_t count,
                                         uint16_t id)
{
    for (size_t i = 0; i < count; i++)
        if (members[i].id == id)
            return &members[i];
    return NULL;
}

static enum change change_of(const struct replica_member *before, const struct replica_member *now)
{
    if (now->left)
        return before == NULL || !before->left ? GONE : NO_CHANGE;
    if (before == NULL)
        return now->in_sync ? IN_SYNC : JOINED;
    if (now->in_sync != before->in_sync)
        return now->in_sync ? IN_SYNC : LOST;
    if (strcmp(now->internal, before->internal) != 0 || strcmp(now->client, before->client) != 0)
        return MOVED;
    if (now->level != before->level)
        return UPGRADED;
    return NO_CHANGE;
}

/* ---- a sentence about it ---- */

struct notice {
    char text[NOTICE_BYTES];
    size_t used;
};

/* Leaves out text that does not fit as a whole. */
__attribute__((format(printf, 2, 3))) static void add(struct notice *notice, const char *format,
                                                      ...)
{
    va_list arguments;
    va_start(arguments, format);
    size_t room = sizeof notice->text - notice->used;
    int length = vsnprintf(notice->text + notice->used, room, format, arguments);
    va_end(arguments);
    if (length > 0 && (size_t)length < room)
        notice->used += (size_t)length;
    notice->text[notice->used] = '\0';
}

static void add_change(struct notice *notice, const struct replica_member *before,
                       const struct replica_member *now, enum change change)
{
    const char *comma = notice->used == 0 ? "" : ", ";
    unsigned id = now->id;
    if (change == LOST)
        add(notice, "%sserver %u is away", comma, id);
    else if (change == GONE)
        add(notice, "%sserver %u has left for good", comma, id);
    else if (change == IN_SYNC)
        add(notice, "%sserver %u %s", comma, id,
            before != NULL && before->voter ? "is back" : "has joined");
}

/* How many have everything. */
static void add_tally(const struct cluster *cluster, struct notice *notice)
{
    size_t servers = 0;
    size_t whole = 0;
    for (size_t i = 0; i < cluster->members_count; i++) {
        servers += !cluster->members[i].left;
        whole += !cluster->members[i].left && cluster->members[i].in_sync;
    }
    add(notice, "; %zu of %zu server%s ha%s everything", whole, servers, servers == 1 ? "" : "s",
        whole == 1 ? "s" : "ve");
}

/* The first list of an epoch has only the members in sync at its start; later notices report the
 * others. A master without other members sends no notice. */
static void tell(struct cluster *cluster, struct notice *notice, bool has_begun)
{
    if (has_begun)
        *notice = (struct notice){.used = 0};
    if (has_begun && cluster->members_count > 1)
        add(notice, "server %u is the master now", (unsigned)cluster->options.settings->id);
    else if (notice->used > 0)
        add_tally(cluster, notice);
    if (notice->used > 0)
        cluster->options.observer.notice(cluster->options.observer.context, notice->text,
                                         has_begun);
}

/* ---- a new list ---- */

static void note_member(struct cluster *cluster, const struct replica_member *now,
                        struct notice *notice)
{
    const struct replica_member *before = find(cluster->members, cluster->members_count, now->id);
    enum change change = change_of(before, now);
    if (change == NO_CHANGE)
        return;
    log_info("cluster", events[change], log_number("id", now->id),
             log_string("internal", now->internal), log_string("client", now->client),
             log_number("level", now->level));
    if (cluster->members_count > 0) /* else all are new only to this process */
        add_change(notice, before, now, change);
}

/* Commit on the disk thread only if another member could replace this master: only then must the
 * server report a hung disk while it hangs. */
static bool is_followed(const struct cluster *cluster)
{
    if (replica_role(cluster->replica) != REPLICA_MASTER)
        return false;
    const struct replica_member *members;
    size_t count = replica_members(cluster->replica, &members);
    for (size_t i = 0; i < count; i++)
        if (members[i].id != cluster->options.settings->id && !members[i].left)
            return true;
    return false;
}

void cluster_note_members(struct cluster *cluster)
{
    commit_log_share_writes(cluster->commit_log, is_followed(cluster));
    commit_log_set_level(cluster->commit_log, replica_level(cluster->replica));
    if (!cluster->members_changed)
        return;
    cluster->members_changed = false;
    const struct replica_member *members;
    struct notice notice = {.used = 0};
    size_t count = replica_members(cluster->replica, &members);
    for (size_t i = 0; i < count; i++)
        note_member(cluster, &members[i], &notice);
    if (count > 0)
        memcpy(cluster->members, members, count * sizeof *members);
    cluster->members_count = count;
    if (cluster->has_resigned)
        return;
    peer_connections_set_members(cluster->peer_connections, members, count,
                                 (uint16_t)cluster->options.settings->id);
    if (replica_role(cluster->replica) != REPLICA_MASTER)
        return;
    bool has_begun = cluster->told_epoch != replica_epoch(cluster->replica);
    cluster->told_epoch = replica_epoch(cluster->replica);
    tell(cluster, &notice, has_begun);
}
