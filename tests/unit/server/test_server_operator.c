/* SPDX-License-Identifier: MIT */
/* The operator's questions: what a server tells of the cluster, how it is printed, and what happens
 * when the one who is asked refuses, is silent, or is somebody else. */
#include "admin/admin.h"
#include "admin/status_report.h"
#include "base/clock.h"
#include "replica_fixture.h"
#include "rpc/server.h"
#include "server/operator_service.h"
#include "support/test.h"

#include <arpa/inet.h>
#include <jansson.h>
#include <netinet/in.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static uint16_t unreachable; /* 0: nobody */

static bool is_reachable(void *context, uint16_t id)
{
    assert_ptr_equal(context, &unreachable);
    return id != unreachable;
}

/* Server 2 is a year behind; nothing is known of server 3. */
static bool clock_of(void *context, uint16_t id, int64_t *difference_ms)
{
    assert_ptr_equal(context, &unreachable);
    *difference_ms = id == 2 ? -31536000000 : 0;
    return id != 3;
}

static struct operator_view view_of(struct replica_fixture *fixture, uint16_t id)
{
    const struct replica *replica = fixture->nodes[id].replica;
    return (struct operator_view){.replica = replica,
                                  .id = id,
                                  .durability = REPLICA_ALL,
                                  .committed = replica_durable(replica),
                                  .orphans = 5,
                                  .clients = 12,
                                  .uptime_ms = 3 * 3600000 + 61000,
                                  .checked_ms = 1796003265919,
                                  .is_checking = true,
                                  .damage = "row 7",
                                  .is_reachable = is_reachable,
                                  .clock = clock_of};
}

static void fill(struct operator_service_reply *status, struct replica_fixture *fixture,
                 uint16_t id)
{
    struct operator_view view = view_of(fixture, id);
    operator_service_fill(status, &view, &unreachable);
}

TEST(test_status__of_the_master)
{
    struct replica_fixture fixture;
    struct operator_service_reply status;
    replica_fixture_open(&fixture, 3, REPLICA_LOCAL);
    fixture.nodes[3].cut = true; /* misses what is written now */
    replica_fixture_propose(&fixture, 1, 4);
    replica_fixture_settle(&fixture);
    unreachable = 3;
    fill(&status, &fixture, 1);
    const Jackdaw__StatusReply *reply = &status.reply;
    assert_int_equal(reply->id, 1);
    assert_string_equal(reply->role, "master");
    assert_int_equal(reply->master, 1);
    assert_string_equal(reply->master_client, replica_master_client(fixture.nodes[1].replica));
    assert_int_equal(reply->epoch, replica_epoch(fixture.nodes[1].replica));
    assert_string_equal(reply->durability, "all");
    assert_int_equal(reply->last->seq, replica_fixture_last(&fixture, 1));
    assert_int_equal(reply->orphans, 5);
    assert_int_equal(reply->clients, 12);
    assert_int_equal(reply->n_members, 3);
    for (size_t i = 0; i < 3; i++) {
        const Jackdaw__StatusReply__Member *member = reply->members[i];
        assert_int_equal(member->id, i + 1);
        assert_true(member->in_sync && member->voter && !member->left);
        assert_int_equal(member->level, REPLICA_FIXTURE_LEVEL);
        assert_int_equal(member->reachable, member->id != 3);
        assert_int_equal(member->position->seq,
                         replica_fixture_last(&fixture, (uint16_t)member->id));
        assert_int_equal(member->lag, member->id == 3 ? 4 : 0);
        assert_int_equal(member->has_clock, member->id != 3);
        assert_int_equal(member->clock_ms, member->id == 2 ? -31536000000 : 0);
    }
    unreachable = 0;
    replica_fixture_close(&fixture);
}

TEST(test_status__of_a_slave)
{
    struct replica_fixture fixture;
    struct operator_service_reply status;
    replica_fixture_open(&fixture, 3, REPLICA_ALL);
    fill(&status, &fixture, 2);
    const Jackdaw__StatusReply *reply = &status.reply;
    assert_string_equal(reply->role, "slave");
    assert_int_equal(reply->master, 1);
    assert_non_null(reply->members[0]->position); /* what is committed */
    assert_non_null(reply->members[1]->position);
    assert_null(reply->members[2]->position);
    assert_true(reply->members[1]->reachable);
    replica_fixture_close(&fixture);
}

TEST(test_status__without_a_master)
{
    struct replica_fixture fixture;
    struct operator_service_reply status;
    replica_fixture_open(&fixture, 2, REPLICA_QUORUM);
    replica_fixture_kill(&fixture, 1);
    replica_fixture_pass(&fixture, 1000);
    fill(&status, &fixture, 2);
    assert_int_equal(status.reply.master, 0);
    assert_string_equal(status.reply.master_client, "");
    assert_int_equal(status.reply.epoch, 0);
    assert_string_not_equal(status.reply.role, "slave");
    assert_int_equal(status.reply.n_members, 2);
    replica_fixture_close(&fixture);
}

__attribute__((noinline)) static char *printed(const Jackdaw__StatusReply *reply, bool json)
{
    char *text = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&text, &size);
    assert_non_null(file);
    if (json) {
        json_t *object = status_report_json(reply);
        assert_non_null(object);
        assert_int_equal(json_dumpf(object, file, JSON_COMPACT), 0);
        (void)fputc('\n', file);
        json_decref(object);
    } else {
        status_report_print(reply, file);
    }
    assert_int_equal(fclose(file), 0);
    return text;
}

static Jackdaw__StatusReply__Member member_at(uint32_t id, const char *client, const char *internal)
{
    Jackdaw__StatusReply__Member member = JACKDAW__STATUS_REPLY__MEMBER__INIT;
    member.id = id;
    member.client = (char *)client;
    member.internal = (char *)internal;
    member.in_sync = true;
    member.voter = true;
    member.reachable = true;
    member.level = 1;
    return member;
}

struct sample {
    Jackdaw__StatusReply reply;
    Jackdaw__StatusReply__Member members[4];
    Jackdaw__StatusReply__Member *list[4];
    Jackdaw__Position last;
    Jackdaw__Position behind;
};

/* A master, a slave, one that lies behind and cannot be reached, one that left. */
static void make_sample(struct sample *sample)
{
    jackdaw__status_reply__init(&sample->reply);
    jackdaw__position__init(&sample->last);
    jackdaw__position__init(&sample->behind);
    sample->last.epoch = sample->behind.epoch = 196609;
    sample->last.seq = 10492;
    sample->behind.seq = 10400;
    sample->members[0] = member_at(1, "10.0.0.1:2625", "10.0.0.1:2626");
    sample->members[1] = member_at(2, "10.0.0.2:2625", "10.0.0.2:2626");
    sample->members[2] = member_at(12, "chat.example:2625", "10.0.0.12:2626");
    sample->members[3] = member_at(4, "", "10.0.0.4:2626");
    sample->members[0].position = sample->members[1].position = &sample->last;
    sample->members[2].position = &sample->behind;
    sample->members[2].lag = 92;
    sample->members[2].in_sync = sample->members[2].reachable = false;
    sample->members[0].has_clock = sample->members[1].has_clock = true;
    sample->members[1].clock_ms = 86400000;
    sample->members[3].left = true;
    sample->members[3].position = &sample->behind; /* where it was then */
    sample->members[3].in_sync = sample->members[3].reachable = false;
    for (size_t i = 0; i < 4; i++)
        sample->list[i] = &sample->members[i];
    sample->reply.n_members = 4;
    sample->reply.members = sample->list;
    sample->reply.server = (char *)"jackdaw 0.1.0";
    sample->reply.id = 1;
    sample->reply.role = (char *)"master";
    sample->reply.master = 1;
    sample->reply.master_client = (char *)"10.0.0.1:2625";
    sample->reply.epoch = 196609;
    sample->reply.durability = (char *)"all";
    sample->reply.last = &sample->last;
    sample->reply.committed = &sample->last;
    sample->reply.clients = 12;
    sample->reply.uptime_ms = 12061000;
}

#define SAMPLE_TEST(name) TEST_ON(name, struct sample, make_sample, drop_sample)

static void drop_sample(struct sample *sample)
{
    (void)sample; /* borrows all that it holds */
}

static void expect_printed(const Jackdaw__StatusReply *reply, const char *part)
{
    char *text = printed(reply, false);
    if (strstr(text, part) == NULL)
        fail_msg("%s\nnot: %s", text, part);
    free(text);
}

static void expect_not_printed(const Jackdaw__StatusReply *reply, const char *part)
{
    char *text = printed(reply, false);
    assert_null(strstr(text, part));
    free(text);
}

static void expect_first_line(const Jackdaw__StatusReply *reply, const char *expected)
{
    char *text = printed(reply, false);
    *strchr(text, '\n') = '\0';
    assert_string_equal(text, expected);
    free(text);
}

SAMPLE_TEST(test_print__a_cluster_at_a_glance)
{
    char *text = printed(&f->reply, false);
    assert_string_equal(
        text, "server 1 is the master of epoch 3 (196609); 2 of 3 servers in sync, durability all\n"
              "\n"
              "  id  state    clients            internal        position  lag  note\n"
              "   1  master   10.0.0.1:2625      10.0.0.1:2626    3:10492    0  asked\n"
              "   2  in sync  10.0.0.2:2625      10.0.0.2:2626    3:10492    0  its clock differs: "
              "+86400 s\n"
              "  12  behind   chat.example:2625  10.0.0.12:2626   3:10400   92  not reachable from "
              "server 1\n"
              "   4  left     -                  10.0.0.4:2626    3:10400    -\n"
              "\n"
              "server 1: jackdaw 0.1.0, up 3 h 21 min, 12 clients, committed 3:10492 of 3:10492\n");
    free(text);
}

SAMPLE_TEST(test_print__a_clock_that_is_behind)
{
    f->members[1].clock_ms = -CLOCK_TOLERANCE_MS - 1000;
    expect_printed(&f->reply, "its clock differs: -6 s\n");
}

SAMPLE_TEST(test_print__a_member_with_an_older_program)
{
    f->members[0].level = f->members[1].level = 3;
    f->members[2].level = f->members[3].level = 2; /* the last one has left */
    char *text = printed(&f->reply, false);
    const char *note = strstr(text, "has an older program: features above level 2 wait");
    assert_non_null(note);
    assert_null(strstr(note + 1, "has an older program"));
    free(text);
}

SAMPLE_TEST(test_print__verdicts)
{
    f->reply.id = 2;
    f->reply.role = (char *)"slave";
    expect_first_line(&f->reply,
                      "server 2 is a slave, its master is server 1 of epoch 3 (196609); 2 of 3 "
                      "servers in sync, durability all");
    f->reply.master = 0;
    f->reply.epoch = 0;
    f->reply.role = (char *)"looking";
    expect_first_line(&f->reply, "NO MASTER that server 2 knows of (it is looking); 2 of 3 "
                                 "servers in sync, durability all");
    f->reply.role = (char *)"removed";
    expect_first_line(&f->reply, "server 2 has left the cluster for good");
    f->reply.n_members = 1;
    f->reply.role = (char *)"master";
    f->reply.master = f->reply.id = 1;
    f->reply.epoch = 65537;
    expect_first_line(
        &f->reply,
        "server 1 is the master of epoch 1 (65537); 1 of 1 server in sync, durability all");
}

SAMPLE_TEST(test_print__orphans_are_told)
{
    f->reply.orphans = 2;
    expect_printed(&f->reply,
                   "2 changes of a lost epoch are kept here until a master has merged them");
}

static void expect_log(struct sample *sample, uint64_t bytes, const char *line)
{
    sample->reply.log_bytes = bytes;
    if (line == NULL)
        expect_not_printed(&sample->reply, "LOG");
    else
        expect_printed(&sample->reply, line);
}

SAMPLE_TEST(test_print__a_log_that_fills_up)
{
    const uint64_t limit = 100 << 20;
    f->reply.log_keep_bytes = limit;
    f->reply.log_member = 12;
    expect_log(f, limit / 2 - 1, NULL);
    expect_log(
        f, limit / 2,
        "\nserver 1: LOG 50% FULL: it keeps 50 MiB that server 12 lacks; start that server or "
        "remove it\n");
    expect_log(f, limit, "\nserver 1: LOG 100% FULL, WRITES ARE REFUSED: it keeps 100 MiB");
    f->reply.log_keep_bytes = 1; /* a server may be any */
    expect_log(f, limit, NULL);
    f->reply.log_keep_bytes = limit;
    f->reply.durability = (char *)"quorum"; /* prunes instead */
    expect_log(f, limit, NULL);
}

SAMPLE_TEST(test_print__poison_is_told)
{
    expect_not_printed(&f->reply, "poison");
    f->reply.poison_requests = 1;
    f->reply.poison_entries = 1;
    expect_printed(&f->reply, "refused 1 request that ended a server process");
    expect_printed(&f->reply, "took a snapshot instead");
}

/* A server may be any, and the terminal is the operator's. */
SAMPLE_TEST(test_print__nothing_reaches_the_terminal_unseen)
{
    f->members[1].client = (char *)"\x1b[2J:1\n";
    f->reply.server = (char *)"\x1b]0;x\x07";
    f->reply.role = (char *)"\r";
    f->reply.durability = (char *)"\xff\x80";
    f->reply.master = 0;
    char *text = printed(&f->reply, false);
    for (const char *at = text; *at != '\0'; at++)
        assert_true(*at == '\n' || (*at >= ' ' && *at < 0x7f));
    free(text);
    text = printed(&f->reply, true);
    for (const char *at = text; at[1] != '\0'; at++)
        assert_true((unsigned char)*at >= ' ');
    free(text);
}

SAMPLE_TEST(test_print__json)
{
    f->reply.log_bytes = 92000;
    f->reply.log_keep_bytes = 1048576;
    f->reply.reads = 12;
    f->reply.forwarded = 5;
    char *text = printed(&f->reply, true);
    assert_string_equal(strchr(text, '\n'), "\n"); /* one line */
    json_t *object = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(object);
    const char *server, *role, *master_client, *durability;
    json_int_t requests, entries, needed, keep, reads, forwarded;
    json_int_t id, master, epoch, servers, in_sync, last_seq, committed_epoch, orphans, clients, up;
    json_t *members;
    int checking;
    assert_int_equal(
        json_unpack(object,
                    "{s:s,s:I,s:s,s:I,s:s,s:I,s:s,s:I,s:I,s:{s:I,s:I*},s:{s:I,s:I*},s:o,s:I,"
                    "s:I,s:I,s:n,s:I,s:I,s:I,s:I,s:I,s:I,s:n,s:b,s:n!}",
                    "server", &server, "id", &id, "role", &role, "master", &master, "master_client",
                    &master_client, "epoch", &epoch, "durability", &durability, "servers", &servers,
                    "in_sync", &in_sync, "last", "seq", &last_seq, "epoch", &epoch, "committed",
                    "epoch", &committed_epoch, "seq", &last_seq, "members", &members, "orphans",
                    &orphans, "log_needed_bytes", &needed, "log_keep_bytes", &keep, "log_needed_by",
                    "clients", &clients, "reads", &reads, "forwarded", &forwarded, "uptime_ms", &up,
                    "poison_requests", &requests, "poison_entries", &entries, "checked_ms",
                    "checking", &checking, "damage"),
        0);
    assert_int_equal(requests, 0);
    assert_int_equal(entries, 0);
    assert_int_equal(needed, 92000);
    assert_int_equal(keep, 1048576);
    assert_int_equal(reads, 12);
    assert_int_equal(forwarded, 5);
    assert_int_equal(master, 1);
    assert_int_equal(servers, 3);
    assert_int_equal(in_sync, 2);
    assert_int_equal(committed_epoch, 196609);
    assert_int_equal(json_array_size(members), 4);
    const json_t *third = json_array_get(members, 2);
    assert_string_equal(json_string_value(json_object_get(third, "state")), "behind");
    assert_int_equal(json_integer_value(json_object_get(third, "lag")), 92);
    assert_true(json_is_false(json_object_get(third, "reachable")));
    const json_t *fourth = json_array_get(members, 3);
    assert_true(json_is_null(json_object_get(fourth, "lag")));
    const json_t *second = json_array_get(members, 1);
    assert_int_equal(json_integer_value(json_object_get(second, "clock_ms")), 86400000);
    assert_true(json_is_null(json_object_get(third, "clock_ms")));
    assert_int_equal(json_integer_value(json_object_get(third, "level")), 1);
    json_decref(object);
    free(text);
}

SAMPLE_TEST(test_print__the_database)
{
    static const struct {
        uint64_t checked_ms;
        bool checking;
        const char *damage;
        const char *line;
        const char *json;
    } cases[] = {
        {0, true, "", "server 1: the database is being checked\n",
         "\"checked_ms\":null,\"checking\":true,\"damage\":null"},
        {1796003265919, false, "",
         "server 1: database checked 2026-11-30 01:47:45 UTC, no damage found\n",
         "\"checked_ms\":1796003265919,\"checking\":false,\"damage\":null"},
        {1796003265919, true, "", "no damage found; it is being checked again\n",
         "\"checking\":true"},
        {1796003265919, false, "row\x1b 7",
         "server 1: DATABASE DAMAGED: row? 7; keep its data folder\n", "\"damage\":\"row"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        f->reply.checked_ms = cases[i].checked_ms;
        f->reply.checking = cases[i].checking;
        f->reply.damage = (char *)cases[i].damage;
        char *text = printed(&f->reply, false);
        char *json = printed(&f->reply, true);
        assert_non_null(strstr(text, cases[i].line));
        assert_non_null(strstr(json, cases[i].json));
        free(text);
        free(json);
    }
}

/* A server with the Operator service, and a Cluster one that notes who shall leave. */
struct post {
    struct operator_service
        operator_service; /* its handler is replaced by one that answers the sample */
    Jackdaw__Cluster_Service cluster;
    struct task_queue *queue;
    struct rpc_server *server;
    struct address address;
    char internal[ADDRESS_TEXT_SIZE];
    bool has_services;
    pthread_t thread;
    sem_t started;
    atomic_bool stopping;
    struct sample sample;
    atomic_uint leave_calls;
    atomic_uint leave_id;
    enum status leave_status;
};

static void answer_status(Jackdaw__Operator_Service *service, const Jackdaw__StatusRequest *request,
                          Jackdaw__StatusReply_Closure closure, void *closure_data)
{
    (void)request;
    closure(&((struct post *)service)->sample.reply, closure_data);
}

static void answer_leave(Jackdaw__Cluster_Service *service, const Jackdaw__LeaveRequest *request,
                         Jackdaw__LeaveReply_Closure closure, void *closure_data)
{
    struct post *post = (struct post *)((char *)service - offsetof(struct post, cluster));
    Jackdaw__LeaveReply reply = JACKDAW__LEAVE_REPLY__INIT;
    atomic_fetch_add(&post->leave_calls, 1);
    atomic_store(&post->leave_id, request->id);
    if (post->leave_status == STATUS_OK)
        closure(&reply, closure_data);
    else
        rpc_call_fail(closure_data, post->leave_status, 0, "nobody else has everything");
}

/* On its thread, which is then the server's owner. */
static void start(struct post *post)
{
    struct error_text why;
    struct rpc_server_options options = {.address = {.host = "127.0.0.1"}, .queue = post->queue};
    ASSERT(rpc_server_new(&post->server, &options, &why) == OK);
    if (post->has_services) {
        ASSERT(operator_service_register(&post->operator_service, post->server) == OK);
        ASSERT(rpc_server_add(post->server, &post->cluster.base, NULL) == OK);
    }
    ASSERT(rpc_server_listen(post->server, &why) == OK);
    rpc_server_address(post->server, &post->address);
    (void)sem_post(&post->started);
}

static void *serve(void *argument)
{
    struct post *post = argument;
    start(post);
    while (!atomic_load(&post->stopping)) {
        task_queue_wait(post->queue, 100);
        (void)task_queue_run(post->queue, SIZE_MAX);
        rpc_server_flush(post->server);
    }
    rpc_server_free(post->server);
    (void)task_queue_run(post->queue, SIZE_MAX);
    return NULL;
}

static void post_open(struct post *post, bool has_services)
{
    *post = (struct post){.leave_status = STATUS_OK, .has_services = has_services};
    make_sample(&post->sample);
    assert_int_equal(task_queue_new(&post->queue), OK);
    operator_service_init(&post->operator_service, NULL, NULL);
    post->operator_service.service.status = answer_status;
    post->cluster.base.descriptor = &jackdaw__cluster__descriptor;
    post->cluster.base.invoke = protobuf_c_service_invoke_internal;
    post->cluster.leave = answer_leave;
    assert_int_equal(sem_init(&post->started, 0, 0), 0);
    assert_int_equal(pthread_create(&post->thread, NULL, serve, post), 0);
    while (sem_wait(&post->started) != 0)
        ;
    /* The sample's master is this server. */
    address_format(&post->address, post->internal);
    post->sample.members[0].internal = post->internal;
}

static void post_begin(struct post *post)
{
    post_open(post, true);
}

static void post_close(struct post *post)
{
    atomic_store(&post->stopping, true);
    task_queue_wake(post->queue);
    assert_int_equal(pthread_join(post->thread, NULL), 0);
    (void)sem_destroy(&post->started);
    task_queue_free(post->queue);
}

#define POST_TEST(name) TEST_ON(name, struct post, post_begin, post_close)

/* Parses what an operator typed, three words at most. */
static enum error parse(const char *const words[3], struct admin_options *options,
                        struct error_text *why)
{
    char *argv[5] = {(char *)"jackdaw-admin"};
    int count = 1;
    for (; count < 4 && words[count - 1] != NULL; count++)
        argv[count] = (char *)words[count - 1];
    why->text[0] = '\0';
    return admin_options_parse(count, argv, options, why);
}

/* Runs what an operator typed; *out (freed by the caller) has what was printed. */
static enum error run(const char *const words[3], char **out, struct error_text *why)
{
    struct admin_options options;
    if (parse(words, &options, why) != OK)
        fail_msg("%s", why->text);
    size_t size;
    FILE *file = open_memstream(out, &size);
    assert_non_null(file);
    enum error error = admin_run(&options, file, why);
    assert_int_equal(fclose(file), 0);
    admin_options_release(&options);
    return error;
}

#define WORDS(...) ((const char *const[3]){__VA_ARGS__})

static void expect_answer(const char *const words[3], const char *hint)
{
    char *out;
    struct error_text why;
    if (run(words, &out, &why) != OK)
        fail_msg("%s", why.text);
    if (strstr(out, hint) == NULL)
        fail_msg("\"%s\" does not tell \"%s\"", out, hint);
    free(out);
}

static void expect_error(const char *const words[3], enum error error, const char *hint)
{
    char *out;
    struct error_text why;
    assert_int_equal(run(words, &out, &why), error);
    if (strstr(why.text, hint) == NULL)
        fail_msg("\"%s\" does not tell \"%s\"", why.text, hint);
    assert_string_equal(out, "");
    free(out);
}

POST_TEST(test_operator__status_of_a_server)
{
    expect_answer(WORDS("status", f->internal), "server 1 is the master of epoch 3");
    expect_answer(WORDS("status", f->internal, "--json"), "\"type\":\"cluster\"");
}

POST_TEST(test_operator__leave)
{
    expect_answer(WORDS("leave", f->internal), "leaves the cluster for good");
    assert_int_equal(f->leave_calls, 1);
    assert_int_equal(f->leave_id, 0);
    f->leave_status = STATUS_FAILED_PRECONDITION;
    expect_error(WORDS("leave", f->internal), ERROR_DENIED, "nobody else has everything");
}

POST_TEST(test_operator__remove_goes_to_the_master)
{
    struct post slave;
    post_open(&slave, true);
    slave.sample.reply.id = 2;
    slave.sample.members[0].internal = f->internal;
    expect_answer(WORDS("remove", "12", slave.internal), "server 12 is no longer a member");
    assert_int_equal(f->leave_calls, 1);
    assert_int_equal(f->leave_id, 12);
    assert_int_equal(slave.leave_calls, 0);
    post_close(&slave);
}

POST_TEST(test_operator__remove_is_for_the_dead)
{
    expect_error(WORDS("remove", "2", f->internal), ERROR_DENIED, "server 2 is alive");
    expect_error(WORDS("remove", "1", f->internal), ERROR_DENIED, "server 1 is alive");
    expect_error(WORDS("remove", "7", f->internal), ERROR_NOT_FOUND, "no server 7");
    expect_answer(WORDS("remove", "4", f->internal), "already no longer a member");
    assert_int_equal(f->leave_calls, 0);
    f->sample.reply.master = 0;
    expect_error(WORDS("remove", "12", f->internal), ERROR_REFUSED, "knows no master");
    assert_int_equal(f->leave_calls, 0);
}

/* Binds a port: nobody listens there until somebody does. */
static int bound_socket(struct address *address)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof name;
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&name, size), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&name, &size), 0);
    *address = (struct address){.host = "127.0.0.1", .port = ntohs(name.sin_port)};
    return fd;
}

POST_TEST(test_operator__nobody_there)
{
    struct address nobody;
    char text[ADDRESS_TEXT_SIZE];
    char both[900];
    int fd = bound_socket(&nobody);
    address_format(&nobody, text);
    expect_error(WORDS("status", text), ERROR_REFUSED, "no server answers at");
    expect_error(WORDS("leave", text), ERROR_REFUSED, "no server answers at");
    expect_error(WORDS("remove", "12", text), ERROR_REFUSED, "no server answers at");
    /* The next of the list may be there. */
    (void)snprintf(both, sizeof both, "%s,%s", text, f->internal);
    expect_answer(WORDS("remove", "12", both), "no longer a member");
    (void)close(fd);
}

TEST(test_operator__somebody_else_there)
{
    struct address other;
    char text[ADDRESS_TEXT_SIZE];
    int fd = bound_socket(&other);
    assert_int_equal(listen(fd, 4), 0); /* the kernel accepts, and nobody says a word */
    address_format(&other, text);
    expect_error(WORDS("status", text), ERROR_TIMEOUT, "no Jackdaw server");
    (void)close(fd);
}

/* Asking goes no further than what is wrong with the connection. */
POST_TEST(test_operator__tls_on_one_side_only)
{
    char text[ADDRESS_TEXT_SIZE];
    struct address address = f->address;
    address.tls = true;
    address_format(&address, text);
    expect_error(WORDS("status", text, "--tls_ca=" TLS_FILES "/authority.pem"), ERROR_DENIED,
                 "it does not use TLS: leave out tls+tcp://");
}

TEST(test_operator__a_server_that_does_not_know_the_question)
{
    struct post post;
    post_open(&post, false);
    expect_error(WORDS("status", post.internal), ERROR_VERSION, "another version");
    expect_error(WORDS("leave", post.internal), ERROR_VERSION, "give its internal address");
    post_close(&post);
}

static void expect_mistake(const char *const words[3], const char *hint)
{
    struct admin_options options;
    struct error_text why;
    assert_int_equal(parse(words, &options, &why), ERROR_INVALID);
    if (strstr(why.text, hint) == NULL)
        fail_msg("\"%s\" does not tell \"%s\"", why.text, hint);
}

TEST(test_options__mistakes_are_sentences)
{
    expect_mistake(WORDS(NULL), "a command is missing");
    expect_mistake(WORDS("epoch_start"), "status|leave|remove");
    expect_mistake(WORDS("status"), "address of a server is missing");
    expect_mistake(WORDS("status", "nowhere"), "status");
    expect_mistake(WORDS("status", ":0"), "port 0");
    expect_mistake(WORDS("status", "tls+tcp://h:1"), "--tls_ca");
    expect_mistake(WORDS("status", "a:1", "b:1"), "one address");
    expect_mistake(WORDS("leave", ":0"), "port 0");
    expect_mistake(WORDS("leave", "tls+tcp://h:1"), "internal address");
    expect_mistake(WORDS("leave", "a:1", "--json"), "--json");
    expect_mistake(WORDS("remove"), "id of a server is missing");
    expect_mistake(WORDS("remove", "0", "a:1"), "65535");
    expect_mistake(WORDS("remove", "65536", "a:1"), "65535");
    expect_mistake(WORDS("remove", "-1", "a:1"), "-");
    expect_mistake(WORDS("remove", "2x", "a:1"), "65535");
    expect_mistake(WORDS("remove", "2"), "internal address");
    expect_mistake(WORDS("remove", "2", "a:0"), "port");
}

static struct replica_fixture *looked_at;

static void fill_status(void *context, struct operator_view *view)
{
    assert_ptr_equal(context, &unreachable);
    *view = view_of(looked_at, 1);
}

POST_TEST(test_operator__the_core_fixture_answers)
{
    struct replica_fixture fixture;
    replica_fixture_open(&fixture, 3, REPLICA_ALL);
    looked_at = &fixture;
    operator_service_init(&f->operator_service, fill_status, &unreachable);
    expect_answer(WORDS("status", f->internal), "3 of 3 servers in sync");
    replica_fixture_close(&fixture);
}
