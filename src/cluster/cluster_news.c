/* SPDX-License-Identifier: MIT */
/* Logs which nodes the replica has met, and where. */
#include "cluster/cluster_internal.h"

#include "base/log_pace.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

/* The id of the member that is listed at address; 0: none is. */
static uint64_t member_at(const struct cluster *cluster, const char *address)
{
    const struct replica_member *members;
    size_t count = replica_members(cluster->replica, &members);
    for (size_t i = 0; i < count; i++)
        if (!members[i].left && strcmp(members[i].internal, address) == 0)
            return members[i].id;
    return 0;
}

void cluster_text(const uint8_t id[static REPLICA_CLUSTER_BYTES],
                  char text[static CLUSTER_TEXT_SIZE])
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < REPLICA_CLUSTER_BYTES; i++) {
        text[2 * i] = digits[id[i] >> 4];
        text[2 * i + 1] = digits[id[i] & 15];
    }
    text[2 * REPLICA_CLUSTER_BYTES] = '\0';
}

/* The advice about a foreign cluster. Neither cluster loses data without an operator. */
static const char *advice_on(const struct cluster *cluster, const struct replica_message *message,
                             bool has_called, bool is_members)
{
    bool has_own = commit_log_committed(cluster->commit_log).seq > 0;
    if (message->blank)
        return "its cluster is blank: it joins where it is listed, or where its options say so; "
               "otherwise give the address to one cluster only";
    if (has_called)
        return "it looks for a member of its own cluster here, and both have data: give the "
               "address to one cluster only. To join that cluster, move this server's data folder "
               "to a safe place and start the server again";
    if (is_members && has_own)
        return "the member counts as absent until it answers: give the address back to it, or "
               "start it at another address. Keep both data folders";
    return "look at --master_address";
}

/* A node that the replica has met. key: equal keys share the pace of log_pace.h. */
struct news {
    const struct replica_message *message;
    const char *address; /* where; "": unknown */
    uint64_t member;     /* that is listed there; 0: none */
    char key[ADDRESS_TEXT_SIZE + CLUSTER_TEXT_SIZE + 8];
};

static struct news news_of(const struct cluster *cluster, const struct replica_action *action)
{
    struct news news = {.message = action->report.received, .address = action->report.address};
    char theirs[CLUSTER_TEXT_SIZE];
    if (news.address == NULL)
        news.address = news.message->internal == NULL ? "" : news.message->internal;
    news.member = member_at(cluster, news.address);
    cluster_text(news.message->cluster, theirs);
    (void)snprintf(news.key, sizeof news.key, "%u %s %s", (unsigned)news.message->from,
                   news.address, theirs);
    return news;
}

static void log_other_cluster(const struct cluster *cluster, const struct news *news,
                              bool has_called)
{
    char theirs[CLUSTER_TEXT_SIZE];
    char ours[CLUSTER_TEXT_SIZE];
    cluster_text(news->message->cluster, theirs);
    cluster_text(replica_cluster(cluster->replica), ours);
    const char *hint = advice_on(cluster, news->message, has_called, news->member != 0);
    log_warning_paced(news->key, "cluster", "other_cluster", log_string("address", news->address),
                      log_number("id", news->message->from), log_string("cluster", theirs),
                      log_string("own_cluster", ours), log_number("member", news->member),
                      log_string("there", news->message->blank ? "nothing of a chat" : "data"),
                      log_string("hint", hint));
}

static void log_empty(const struct news *news)
{
    const char *hint =
        news->message->founding
            ? "it has no data and was started to found a cluster, but joins this one; if its disk "
              "is only not mounted, stop it and mount the disk first"
            : "it has no data, and gets a copy when there is a master; if its disk is only not "
              "mounted, stop it and mount the disk first";
    log_warning_paced(news->key, "cluster", "empty_server", log_string("address", news->address),
                      log_number("id", news->message->from), log_number("member", news->member),
                      log_string("hint", hint));
}

static void log_turned_away(const struct news *news, enum replica_rejection refusal)
{
    static const char *const reasons[] = {
        [REPLICA_REJECTED_ID] = "a server that answers has this id",
        [REPLICA_REJECTED_ADDRESS] = "a server that answers has this internal address",
        [REPLICA_REJECTED_REMOVED] = "the server with this id has left for good",
        [REPLICA_REJECTED_FULL] = "the cluster has as many servers as it can have",
    };
    log_error_paced(news->key, "cluster", "turned_away", log_number("by", news->message->from),
                    log_string("address", news->address), log_string("reason", reasons[refusal]),
                    log_string("hint", "this server asks again, and takes no part until then: stop "
                                       "the other one, or this one"));
}

static void log_founded(struct cluster *cluster, const char *address)
{
    char own[CLUSTER_TEXT_SIZE];
    cluster_text(replica_cluster(cluster->replica), own);
    log_info("cluster", "cluster_founded", log_string("cluster", own),
             log_string("internal", address));
}

/* Events of this server itself, logged without a pace. */
static void log_joining(const struct replica_action *action, const char *address)
{
    const struct replica_message *message = action->report.received;
    char theirs[CLUSTER_TEXT_SIZE];
    cluster_text(message->cluster, theirs);
    bool is_yielding = action->report.news == REPLICA_CLUSTER_GIVEN_UP;
    log_warning("cluster", is_yielding ? "cluster_given_up" : "founding_refused",
                log_string("address", address), log_number("id", message->from),
                log_string("cluster", theirs),
                log_string("hint", is_yielding
                                       ? "the cluster of this server is blank, and that one is "
                                         "not: this server joins it"
                                       : "this server has no data, and there is a cluster: "
                                         "it joins that; if its disk is only not mounted, "
                                         "stop it and mount that first"));
}

void cluster_tell(struct cluster *cluster, const struct replica_action *action)
{
    if (action->report.news == REPLICA_FOUNDING_CLUSTER) {
        log_founded(cluster, action->report.address);
        return;
    }
    const struct news news = news_of(cluster, action);
    switch (action->report.news) {
    case REPLICA_CLUSTER_GIVEN_UP:
    case REPLICA_CLUSTER_FOUND:
        log_joining(action, news.address);
        break;
    case REPLICA_FOREIGN_NODE:
        if (sodium_is_zero(news.message->cluster, sizeof news.message->cluster))
            log_empty(&news);
        else
            log_other_cluster(cluster, &news, action->report.address == NULL);
        break;
    case REPLICA_MEMBER_MOVED:
        log_info_paced(news.key, "cluster", "member_met", log_number("id", news.message->from),
                       log_string("address", news.address));
        break;
    case REPLICA_NODE_REJECTED:
        log_turned_away(&news, action->report.rejection);
        break;
    default:
        break;
    }
}
