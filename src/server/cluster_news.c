/* SPDX-License-Identifier: MIT */
/* Tells the log whom the replica has met where; what is the same is told once a minute. */
#include "server/cluster_internal.h"

#include "base/log.h"

#include <string.h>

#define AGAIN_MS 60000

/* ---- the pace ---- */

static bool is_same(const struct told_news *told, const struct told_news *news)
{
    return told->news == news->news && told->from == news->from &&
           memcmp(told->cluster, news->cluster, sizeof told->cluster) == 0 &&
           strcmp(told->address, news->address) == 0;
}

/* Whether it is to be told now. What does not fit takes the place of the oldest. */
static bool is_due(struct cluster *cluster, const struct told_news *news)
{
    struct told_news *place = &cluster->told_news[0];
    for (size_t i = 0; i < NEWS_MAX; i++) {
        struct told_news *told = &cluster->told_news[i];
        if (told->at_ms != 0 && is_same(told, news)) {
            if (cluster->now_ms - told->at_ms < AGAIN_MS)
                return false;
            place = told;
            break;
        }
        if (told->at_ms < place->at_ms)
            place = told;
    }
    *place = *news;
    place->at_ms = cluster->now_ms == 0 ? 1 : cluster->now_ms;
    return true;
}

/* ---- the lines ---- */

static const char *member_at(const struct cluster *cluster, const char *address, uint64_t *id)
{
    const struct replica_member *members;
    size_t count = replica_members(cluster->replica, &members);
    for (size_t i = 0; i < count; i++)
        if (!members[i].left && strcmp(members[i].internal, address) == 0) {
            *id = members[i].id;
            return members[i].internal;
        }
    return NULL;
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

/* What to do about another cluster. Nothing of either is lost by itself. */
static const char *advice_on(const struct cluster *cluster, const struct replica_message *message,
                             bool has_called, bool is_members)
{
    bool has_own = ledger_committed(cluster->ledger).seq > 0;
    if (message->blank)
        return "it has nothing of a chat: it joins by itself where it is listed or was told to; "
               "else give the address to one cluster only";
    if (has_called)
        return "it believes that a server of its own is here, and both have data: give the address "
               "to one cluster only; to join that one, move this server's data folder to another "
               "place, where it is kept, and start it again";
    if (is_members && has_own)
        return "the member counts as absent until it answers here or elsewhere: give it its address "
               "back, or start it at another one; both data folders are kept as they are";
    return "look at --master_address";
}

static void tell_other_cluster(const struct cluster *cluster, const struct told_news *news,
                               const struct replica_message *message, bool has_called)
{
    char theirs[CLUSTER_TEXT_SIZE];
    char ours[CLUSTER_TEXT_SIZE];
    uint64_t member = 0;
    cluster_text(news->cluster, theirs);
    cluster_text(replica_cluster(cluster->replica), ours);
    (void)member_at(cluster, news->address, &member);
    const char *hint = advice_on(cluster, message, has_called, member != 0);
    log_warning("cluster", "other_cluster", log_string("address", news->address),
                log_number("id", news->from), log_string("cluster", theirs),
                log_string("own_cluster", ours), log_number("member", member),
                log_string("there", message->blank ? "nothing of a chat" : "data"),
                log_string("hint", hint));
}

static void tell_empty(const struct cluster *cluster, const struct told_news *news, bool is_founder)
{
    uint64_t member = 0;
    (void)member_at(cluster, news->address, &member);
    log_warning(
        "cluster", "empty_server", log_string("address", news->address),
        log_number("id", news->from), log_number("member", member),
        log_string("hint", is_founder
                               ? "it has no data and was told to found a cluster, which is "
                                 "refused: it joins; if its disk is only not mounted, stop "
                                 "it and mount that first"
                               : "it has no data, and gets a copy when there is a master; if "
                                 "its disk is only not mounted, stop it and mount that "
                                 "first"));
}

static void tell_turned_away(const struct told_news *news, enum replica_refusal refusal)
{
    static const char *const reasons[] = {
        [REPLICA_REFUSED_ID] = "a server that answers has this id",
        [REPLICA_REFUSED_ADDRESS] = "a server that answers has this internal address",
        [REPLICA_REFUSED_LEFT] = "the server with this id has left for good",
        [REPLICA_REFUSED_FULL] = "the cluster has as many servers as it can have",
    };
    log_error("cluster", "turned_away", log_number("by", news->from),
              log_string("address", news->address), log_string("reason", reasons[refusal]),
              log_string("hint", "this server asks again, and takes no part until then: stop the "
                                 "other one, or this one"));
}

static void tell_founded(struct cluster *cluster, const char *address)
{
    char own[CLUSTER_TEXT_SIZE];
    cluster_text(replica_cluster(cluster->replica), own);
    log_info("cluster", "cluster_founded", log_string("cluster", own),
             log_string("internal", address));
}

/* This server's own part: each is told whenever it happens. */
static void tell_joining(const struct replica_action *action, const char *address)
{
    char theirs[CLUSTER_TEXT_SIZE];
    cluster_text(action->message->cluster, theirs);
    bool is_yielding = action->news == REPLICA_YIELDED;
    log_warning("cluster", is_yielding ? "cluster_given_up" : "founding_refused",
                log_string("address", address), log_number("id", action->message->from),
                log_string("cluster", theirs),
                log_string("hint", is_yielding
                                       ? "the cluster of this server has nothing of a chat, "
                                         "and that one has: this server joins it"
                                       : "this server has no data, and there is a cluster: "
                                         "it joins that; if its disk is only not mounted, "
                                         "stop it and mount that first"));
}

void cluster_tell(struct cluster *cluster, const struct replica_action *action)
{
    if (action->news == REPLICA_FOUNDED) {
        tell_founded(cluster, action->address);
        return;
    }
    const struct replica_message *message = action->message;
    const char *address = action->address != NULL ? action->address : message->internal;
    struct told_news news = {.news = action->news, .from = message->from};
    memcpy(news.cluster, message->cluster, sizeof news.cluster);
    if (address != NULL && strlen(address) < sizeof news.address)
        memcpy(news.address, address, strlen(address) + 1);
    if (action->news == REPLICA_YIELDED || action->news == REPLICA_NOT_FOUNDED) {
        tell_joining(action, news.address);
        return;
    }
    if (!is_due(cluster, &news))
        return;
    static const uint8_t none[REPLICA_CLUSTER_BYTES];
    switch (action->news) {
    case REPLICA_STRANGER:
        if (memcmp(news.cluster, none, sizeof none) == 0)
            tell_empty(cluster, &news, message->founding);
        else
            tell_other_cluster(cluster, &news, message, action->address == NULL);
        break;
    case REPLICA_MET:
        log_info("cluster", "member_met", log_number("id", news.from),
                 log_string("address", news.address));
        break;
    case REPLICA_TURNED_AWAY:
        tell_turned_away(&news, action->refusal);
        break;
    default:
        break;
    }
}
