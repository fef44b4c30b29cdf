/* SPDX-License-Identifier: MIT */
#include "harness/cluster.h"

#include "harness/database_digest.h"
#include "harness/raw_chat.h"
#include "support/test.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void cluster_init(struct cluster *cluster, struct process_group *group, struct netns *netns)
{
    *cluster = (struct cluster){.group = group, .netns = netns};
}

void cluster_enter(struct cluster *cluster, size_t i)
{
    netns_enter(cluster->netns, i);
}

void cluster_return(struct cluster *cluster)
{
    netns_return(cluster->netns);
}

/* The servers before this one, where they are. */
static const char *seeds_of(struct cluster *cluster, size_t i)
{
    char *text = cluster->seeds[i];
    size_t size = sizeof cluster->seeds[i];
    size_t used = (size_t)snprintf(text, size, "--master_address=");
    for (size_t j = 0; j < i; j++)
        used += (size_t)snprintf(text + used, size - used, "%s%s", j == 0 ? "" : ",",
                                 cluster->servers[j].internal);
    return text;
}

size_t cluster_add(struct cluster *cluster, const char *const *options)
{
    size_t i = cluster->count++;
    assert_true(i < CLUSTER_SERVERS_MAX);
    struct node *node = &cluster->servers[i];
    *node = (struct node){.group = cluster->group, .id = (unsigned)i + 1, .role = "master"};
    size_t used = 0;
    for (; options != NULL && options[used] != NULL; used++) {
        assert_true(used + 2 < NODE_OPTIONS_MAX);
        node->options[used] = options[used];
    }
    if (i > 0) {
        node->role = "slave";
        node->options[used] = seeds_of(cluster, i);
    }
    if (cluster->netns != NULL) {
        (void)snprintf(node->clients, sizeof node->clients, "%s:0", netns_host(cluster->netns, i));
        (void)snprintf(node->internal, sizeof node->internal, "%s:0",
                       netns_host(cluster->netns, i));
    }
    return i;
}

void cluster_launch(struct cluster *cluster, size_t i)
{
    cluster_enter(cluster, i);
    node_launch(&cluster->servers[i]);
    cluster_return(cluster);
}

void cluster_wait_ready(struct cluster *cluster, size_t i)
{
    node_wait_ready(&cluster->servers[i]);
}

void cluster_run(struct cluster *cluster, size_t i)
{
    cluster_launch(cluster, i);
    cluster_wait_ready(cluster, i);
}

void cluster_start(struct cluster *cluster, size_t count, const char *const *options)
{
    for (size_t i = 0; i < count; i++)
        cluster_run(cluster, cluster_add(cluster, options));
    cluster_wait_in_sync(cluster, cluster_running(cluster));
}

static bool is_listening(struct cluster *cluster, size_t i)
{
    struct address address;
    struct sp_peer peer;
    assert_int_equal(address_parse(cluster->servers[i].internal, &address, NULL), OK);
    cluster_enter(cluster, i);
    bool connected = sp_connect(&peer, &address, 0);
    cluster_return(cluster);
    sp_close(&peer);
    return connected;
}

void cluster_wait_listening(struct cluster *cluster, size_t i)
{
    PROCESS_GROUP_WAIT_MS(cluster->group, CLUSTER_PATIENCE_MS, is_listening(cluster, i));
}

void cluster_kill(struct cluster *cluster, unsigned group)
{
    for (size_t i = 0; i < cluster->count; i++)
        if ((group & 1u << i) != 0)
            process_signal(cluster->servers[i].process, SIGKILL);
    for (size_t i = 0; i < cluster->count; i++) {
        if ((group & 1u << i) == 0)
            continue;
        (void)process_wait(cluster->servers[i].process, PROCESS_GROUP_PATIENCE_MS);
        cluster->asleep[i] = false;
    }
}

void cluster_stop(struct cluster *cluster, size_t i)
{
    int status = node_stop(&cluster->servers[i]);
    if (status != 0)
        process_group_fail(cluster->group, "server %zu ended with status %d", i + 1, status);
}

void cluster_stop_all(struct cluster *cluster)
{
    for (size_t i = 0; i < cluster->count; i++)
        if ((cluster_running(cluster) & 1u << i) != 0)
            process_signal(cluster->servers[i].process, SIGTERM);
    for (size_t i = 0; i < cluster->count; i++)
        if ((cluster_running(cluster) & 1u << i) != 0)
            cluster_stop(cluster, i);
}

void cluster_sleep(struct cluster *cluster, size_t i)
{
    cluster->asleep[i] = true;
    process_signal(cluster->servers[i].process, SIGSTOP);
}

void cluster_awake(struct cluster *cluster, size_t i)
{
    process_signal(cluster->servers[i].process, SIGCONT);
    cluster->asleep[i] = false;
}

unsigned cluster_running(const struct cluster *cluster)
{
    unsigned group = 0;
    for (size_t i = 0; i < cluster->count; i++) {
        const struct process *process = cluster->servers[i].process;
        if (process != NULL && process_id(process) != 0 && !cluster->asleep[i])
            group |= 1u << i;
    }
    return group;
}

static bool ask(struct sp_peer *peer, struct raw_reply *reply)
{
    const Jackdaw__StatusRequest request = JACKDAW__STATUS_REQUEST__INIT;
    const struct raw_call call = {
        .service = "jackdaw.Operator", .method = "Status", .message = &request.base};
    return raw_chat(peer, &call, reply);
}

Jackdaw__StatusReply *cluster_ask(struct cluster *cluster, size_t i)
{
    struct sp_peer peer = {.descriptor = -1};
    struct raw_reply reply = {.status = STATUS_UNAVAILABLE};
    if ((cluster_running(cluster) & 1u << i) == 0 ||
        (cluster->servers[i].starts == 1 && !node_is_ready(&cluster->servers[i])))
        return NULL; /* or nobody knows yet where it listens */
    struct address address = node_address(&cluster->servers[i]);
    cluster_enter(cluster, i);
    bool answered = sp_open(&peer, &address) && ask(&peer, &reply);
    cluster_return(cluster);
    sp_close(&peer);
    Jackdaw__StatusReply *said = NULL;
    if (answered && reply.status == STATUS_OK)
        said = jackdaw__status_reply__unpack(NULL, reply.payload_size, reply.payload);
    free(reply.payload);
    return said;
}

static void forget(Jackdaw__StatusReply *said)
{
    if (said != NULL)
        jackdaw__status_reply__free_unpacked(said, NULL);
}

const Jackdaw__StatusReply__Member *cluster_member(const Jackdaw__StatusReply *reply, uint32_t id)
{
    for (size_t i = 0; i < reply->n_members; i++)
        if (reply->members[i]->id == id)
            return reply->members[i];
    return NULL;
}

/* What all of a group say: NULL where one does not answer. */
struct views {
    Jackdaw__StatusReply *of[CLUSTER_SERVERS_MAX];
    bool complete;
};

static struct views ask_all(struct cluster *cluster, unsigned group)
{
    struct views views = {.complete = group != 0};
    for (size_t i = 0; i < cluster->count; i++) {
        if ((group & 1u << i) == 0)
            continue;
        views.of[i] = cluster_ask(cluster, i);
        views.complete = views.complete && views.of[i] != NULL;
    }
    return views;
}

static void forget_all(struct views *views)
{
    for (size_t i = 0; i < CLUSTER_SERVERS_MAX; i++)
        forget(views->of[i]);
}

/* The master's index, or CLUSTER_SERVERS_MAX where they are not of one mind. */
static size_t common_master(const struct views *views, unsigned group)
{
    const Jackdaw__StatusReply *first = NULL;
    if (!views->complete)
        return CLUSTER_SERVERS_MAX;
    for (size_t i = 0; i < CLUSTER_SERVERS_MAX; i++) {
        const Jackdaw__StatusReply *said = views->of[i];
        if (said == NULL)
            continue;
        first = first == NULL ? said : first;
        bool epoch_starts = strcmp(said->role, "master") == 0;
        if (said->master == 0 || said->master != first->master || said->epoch != first->epoch ||
            epoch_starts != (said->master == i + 1))
            return CLUSTER_SERVERS_MAX;
    }
    size_t master = first->master - 1;
    return master < CLUSTER_SERVERS_MAX && (group & 1u << master) != 0 ? master
                                                                       : CLUSTER_SERVERS_MAX;
}

static size_t find_master(struct cluster *cluster, unsigned group)
{
    struct views views = ask_all(cluster, group);
    size_t master = common_master(&views, group);
    forget_all(&views);
    return master;
}

bool cluster_agrees(struct cluster *cluster, unsigned group)
{
    return find_master(cluster, group) != CLUSTER_SERVERS_MAX;
}

static bool is_in_sync(const struct cluster *cluster, const struct views *views, unsigned group)
{
    size_t master = common_master(views, group);
    if (master == CLUSTER_SERVERS_MAX)
        return false;
    for (size_t i = 0; i < cluster->count; i++) {
        const Jackdaw__StatusReply__Member *member =
            cluster_member(views->of[master], (uint32_t)i + 1);
        bool counts = member != NULL && !member->left && member->in_sync;
        bool belongs = (group & 1u << i) != 0;
        if (counts != belongs)
            return false;
        if (belongs && i != master && strcmp(views->of[i]->role, "slave") != 0)
            return false;
    }
    return true;
}

bool cluster_in_sync(struct cluster *cluster, unsigned group)
{
    struct views views = ask_all(cluster, group);
    bool good = is_in_sync(cluster, &views, group);
    forget_all(&views);
    return good;
}

static void note_view(struct cluster *cluster, size_t i)
{
    Jackdaw__StatusReply *said = cluster_ask(cluster, i);
    char text[400] = "";
    size_t used = 0;
    if (said == NULL) {
        process_group_note(cluster->group, "server %zu says nothing", i + 1);
        return;
    }
    for (size_t j = 0; j < said->n_members && used < sizeof text; j++)
        used += (size_t)snprintf(text + used, sizeof text - used, " %u%s%s%s", said->members[j]->id,
                                 said->members[j]->in_sync ? " in sync" : "",
                                 said->members[j]->left ? " left" : "",
                                 said->members[j]->reachable ? "," : " unreachable,");
    process_group_note(
        cluster->group,
        "server %zu says: %s, master %u, epoch %llu, last %llu, committed %llu, orphans "
        "%llu, members%s",
        i + 1, said->role, said->master, (unsigned long long)said->epoch,
        (unsigned long long)(said->last == NULL ? 0 : said->last->seq),
        (unsigned long long)(said->committed == NULL ? 0 : said->committed->seq),
        (unsigned long long)said->orphans, text);
    forget(said);
}

static void wait_until(struct cluster *cluster, unsigned group,
                       bool (*holds)(struct cluster *cluster, unsigned group), const char *what)
{
    uint64_t until_ms = process_group_now_ms() + CLUSTER_PATIENCE_MS;
    while (!holds(cluster, group)) {
        if (process_group_now_ms() >= until_ms) {
            for (size_t i = 0; i < cluster->count; i++)
                note_view(cluster, i);
            process_group_fail(cluster->group, "servers %#x are not %s within %d ms", group, what,
                               CLUSTER_PATIENCE_MS);
        }
        if (cluster->meanwhile != NULL)
            cluster->meanwhile(cluster->context);
        process_group_turn(cluster->group, process_group_now_ms() + PROCESS_GROUP_LOOK_MS);
    }
}

size_t cluster_master(struct cluster *cluster, unsigned group)
{
    size_t master;
    do {
        wait_until(cluster, group, cluster_agrees, "of one mind");
        master = find_master(cluster, group);
    } while (master == CLUSTER_SERVERS_MAX);
    process_group_note(cluster->group, "server %zu is master", master + 1);
    return master;
}

void cluster_wait_in_sync(struct cluster *cluster, unsigned group)
{
    wait_until(cluster, group, cluster_in_sync, "in sync");
    process_group_note(cluster->group, "servers %#x are in sync", group);
}

bool cluster_logged(const struct cluster *cluster, size_t i, const char *text)
{
    return process_logged(cluster->servers[i].process, text);
}

static bool is_quiet(struct cluster *cluster, unsigned group)
{
    struct views views = ask_all(cluster, group);
    size_t master = common_master(&views, group);
    bool quiet = master != CLUSTER_SERVERS_MAX;
    for (size_t i = 0; i < cluster->count && quiet; i++) {
        const Jackdaw__StatusReply *said = views.of[i];
        if (said != NULL)
            quiet = said->last != NULL && said->committed != NULL && said->orphans == 0 &&
                    said->last->seq == views.of[master]->last->seq &&
                    said->last->epoch == views.of[master]->last->epoch &&
                    said->committed->seq == said->last->seq;
    }
    forget_all(&views);
    return quiet;
}

static void read_database(struct cluster *cluster, size_t i, struct database_digest *out)
{
    char path[PROCESS_GROUP_PATH_SIZE];
    const char *folder = cluster->servers[i].data_dir;
    if (folder == NULL)
        folder = process_group_path(cluster->group, "data");
    (void)snprintf(path, sizeof path, "%s/%zu/jackdaw.db", folder, i + 1);
    database_digest_read(path, out);
}

/* Databases are read one after the other: a cluster that writes an entry meanwhile is looked at again. */
static bool is_equal(struct cluster *cluster, unsigned group)
{
    struct database_digest first = {0};
    size_t seen = 0;
    if (!is_quiet(cluster, group))
        return false;
    for (size_t i = 0; i < cluster->count; i++) {
        struct database_digest tables;
        char difference[128];
        if ((group & 1u << i) == 0)
            continue;
        read_database(cluster, i, &tables);
        if (seen++ == 0)
            first = tables;
        if (tables.last_seq != first.last_seq)
            return false;
        if (!database_digests_are_equal(&first, &tables, difference))
            process_group_fail(cluster->group, "server %zu keeps something else than others: %s",
                               i + 1, difference);
    }
    return true;
}

void cluster_assert_equal(struct cluster *cluster)
{
    wait_until(cluster, cluster_running(cluster), is_equal, "quiet at one position");
}
