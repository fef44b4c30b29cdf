/* SPDX-License-Identifier: MIT */
/* A client with a state file that is gone from one moment to the next: what the file says then is
 * what another client goes on with. */
#include "client_world.h"
#include "support/folder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

struct fixture {
    struct world *world;
    char *folder;
    char path[512], copy[512];
};

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    fixture->world = world_new(1);
    fixture->folder = folder_new();
    (void)snprintf(fixture->path, sizeof fixture->path, "%s/state", fixture->folder);
    (void)snprintf(fixture->copy, sizeof fixture->copy, "%s/copy", fixture->folder);
    assert_int_equal(world_connect_state(fixture->world, 1, fixture->path), OK);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    world_free(fixture->world);
    folder_remove(fixture->folder);
    free(fixture);
    return 0;
}

static char *read_file(const char *path, size_t *size)
{
    char *bytes = malloc(1 << 20);
    FILE *file = fopen(path, "rb");
    assert_true(bytes != NULL && file != NULL);
    *size = fread(bytes, 1, 1 << 20, file);
    (void)fclose(file);
    return bytes;
}

static void write_file(const char *path, const char *bytes, size_t size)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, 0600), 0);
}

/* The client is killed: what it would write from here on is lost. */
static void kill_client(struct fixture *fixture)
{
    size_t size;
    char *bytes = read_file(fixture->path, &size);
    client_free(fixture->world->client);
    fixture->world->client = NULL;
    write_file(fixture->path, bytes, size);
    free(bytes);
}

static void start_client(struct fixture *fixture)
{
    fixture->world->result_count = fixture->world->event_count = 0;
    fixture->world->restored_count = 0;
    assert_int_equal(world_connect_state(fixture->world, 1, fixture->path), OK);
}

static void kill_and_start(struct fixture *fixture)
{
    kill_client(fixture);
    start_client(fixture);
}

static enum fake_action lose(void *context, struct fake_server *server, const char *method,
                             uint64_t number)
{
    (void)server, (void)number;
    return strcmp(method, context) == 0 ? FAKE_LOSE : FAKE_OBEY;
}

static enum fake_action lose_answer(void *context, struct fake_server *server, const char *method,
                                    uint64_t number)
{
    (void)server, (void)number;
    return strcmp(method, context) == 0 ? FAKE_LOSE_ANSWER : FAKE_OBEY;
}

static void judge(struct fixture *fixture,
                  enum fake_action (*how)(void *, struct fake_server *, const char *, uint64_t),
                  const char *method)
{
    fixture->world->cluster.judge = how;
    fixture->world->cluster.context = (void *)method;
}

static void test_restore__a_session_without_a_login(void **state)
{
    struct fixture *fixture = *state;
    struct world *world = fixture->world;
    struct client_view view;
    world_login(world);
    world_send_many(world, "m", 3);
    client_note(world->client, 17, "lobby");
    WORLD_WAIT(world, world->result_count == 3 && world->event_count == 3);
    world_settle(world);
    kill_and_start(fixture);
    client_look(world->client, &view);
    assert_string_equal(view.name, "ann");
    assert_int_equal(view.session, world->cluster.sessions[0].id);
    assert_int_equal(view.seq, 3);
    assert_int_equal(view.tag, 17);
    assert_string_equal(view.note, "lobby");
    assert_int_equal(world->restored_count, 0);
    fake_say(&world->cluster, "lobby", "bob", "new");
    world_send(world, "m3");
    WORLD_WAIT(world, world->result_count == 1 && world->event_count == 2);
    assert_string_equal(world->events[0].text, "new"); /* and nothing that was told before */
    assert_int_equal(world->results[0].request, 4);
    assert_int_equal(world->cluster.session_count, 1);
}

/* Carried out, but the client did not live to hear of it. */
static void test_restore__requests_that_were_carried_out(void **state)
{
    struct fixture *fixture = *state;
    struct world *world = fixture->world;
    world_login(world);
    judge(fixture, lose_answer, "Send");
    world_send_many(world, "m", 300);
    WORLD_WAIT(world, world->cluster.message_count == CLIENT_WINDOW);
    kill_client(fixture);
    judge(fixture, NULL, NULL);
    start_client(fixture);
    assert_int_equal(world->restored_count, 300);
    assert_int_equal(world->cluster.resent_seen, 0);
    WORLD_WAIT(world, world->result_count == 300);
    /* One of those that were sent may have ended the server: the next one must know. */
    assert_int_equal(world->cluster.resent_seen, CLIENT_WINDOW);
    assert_int_equal(world_count(world, STATUS_OK), 300);
    world_check_kept(world, "m", 300);
}

static void test_restore__requests_that_were_not_sent(void **state)
{
    struct fixture *fixture = *state;
    struct world *world = fixture->world;
    world_login(world);
    fake_server_kill(&world->servers[0]);
    world_settle(world);
    world_send_many(world, "m", 10);
    assert_int_equal(
        world_ask(world, &(struct client_request){.call = CLIENT_JOIN, .room = "dev", .tag = 11}),
        OK);
    world_turn(world);
    for (int life = 0; life < 3; life++) {
        kill_and_start(fixture);
        assert_int_equal(world->restored_count, 11);
        world_settle(world);
    }
    fake_server_start(&world->servers[0], &world->cluster);
    world->servers[0].master = true;
    WORLD_WAIT(world, world->result_count == 11);
    world_check_kept(world, "m", 10);
    assert_int_equal(world->cluster.resent_seen, 0);
    assert_int_equal(world->results[10].call, CLIENT_JOIN);
    assert_int_equal(world->results[10].status, STATUS_OK);
    struct client_view view;
    client_look(world->client, &view);
    assert_int_equal(view.tag, 11);
}

/* A login that was carried out and not answered takes no second place. */
static void test_restore__a_login_that_was_not_answered(void **state)
{
    struct fixture *fixture = *state;
    struct world *world = fixture->world;
    judge(fixture, lose_answer, "Login");
    assert_int_equal(world_ask(world, &(struct client_request){.call = CLIENT_LOGIN,
                                                               .name = "ann",
                                                               .password = "secret",
                                                               .manner = CLIENT_ACCOUNT_NEW}),
                     OK);
    WORLD_WAIT(world, world->cluster.session_count == 1);
    kill_client(fixture);
    judge(fixture, NULL, NULL);
    start_client(fixture);
    assert_int_equal(world_ask(world, &(struct client_request){.call = CLIENT_LOGIN,
                                                               .name = "ann",
                                                               .password = "secret",
                                                               .manner = CLIENT_ACCOUNT_NEW}),
                     OK);
    WORLD_WAIT(world, world->result_count == 1);
    assert_int_equal(world->results[0].status, STATUS_OK); /* the account is its own, too */
    assert_int_equal(world->cluster.session_count, 1);
    assert_int_equal(world->cluster.logins_resent_seen, 1); /* it may have ended the server */
}

static void test_restore__no_password_is_kept(void **state)
{
    struct fixture *fixture = *state;
    struct world *world = fixture->world;
    world_login(world);
    assert_int_equal(
        world_ask(world, &(struct client_request){.call = CLIENT_DELETE, .password = "secret"}),
        OK);
    WORLD_WAIT(world, world->result_count == 1);
    size_t size;
    char *bytes = read_file(fixture->path, &size);
    assert_null(memmem(bytes, size, "secret", 6));
    free(bytes);
}

/* A file that was put back would give new requests numbers that old ones have had. */
static void test_restore__an_old_copy_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct world *world = fixture->world;
    world_login(world);
    world_send_many(world, "m", 2);
    WORLD_WAIT(world, world->result_count == 2);
    world_settle(world);
    size_t size;
    char *bytes = read_file(fixture->path, &size);
    world_send(world, "m2");
    WORLD_WAIT(world, world->result_count == 3);
    kill_client(fixture);
    write_file(fixture->path, bytes, size);
    free(bytes);
    start_client(fixture);
    world_send(world, "m3");
    WORLD_WAIT(world, world->state_failures == 1);
    assert_non_null(strstr(world->status, "older than its session"));
    world_settle(world);
    assert_int_equal(world->state_failures, 1);
    world_check_kept(world, "m", 3);
}

/* Cut anywhere, the file is refused, is as it was once, or is found to be too old: nothing is sent
 * under a number that was used, and nothing twice. */
static void test_restore__cut_at_every_byte(void **state)
{
    struct fixture *fixture = *state;
    struct world *world = fixture->world;
    world_login(world);
    world_send_many(world, "m", 3);
    WORLD_WAIT(world, world->result_count == 3);
    judge(fixture, lose, "Send");
    world_send(world, "m3");
    world_settle(world);
    kill_client(fixture);
    judge(fixture, NULL, NULL);
    size_t size;
    char *bytes = read_file(fixture->path, &size);
    size_t refused = 0;
    size_t too_old = 0;
    size_t done = 0;
    for (size_t cut = size; cut > 0; cut -= cut < 7 ? cut : 7) {
        struct client_view view;
        write_file(fixture->path, bytes, cut);
        world->state_failures = world->result_count = world->event_count = 0;
        enum error error = world_connect_state(world, 1, fixture->path);
        client_look(world->client, &view);
        if (error != OK) {
            assert_int_equal(error, ERROR_CORRUPT);
            refused++;
        } else if (view.name != NULL) {
            world_send(world, "more");
            WORLD_WAIT(world, world->state_failures > 0 || client_unfinished(world->client) == 0);
            too_old += world->state_failures;
            done += world->state_failures == 0;
        }
        client_free(world->client);
        world->client = NULL;
        for (size_t i = 0; i < world->cluster.message_count; i++)
            assert_int_equal(world->cluster.messages[i].request, i + 1);
    }
    free(bytes);
    assert_true(refused > 0 && too_old > 0);
    assert_int_equal(done, 1); /* the whole file: after that every other one is too old */
    assert_int_equal(world->cluster.message_count, 5);
    assert_string_equal(world->cluster.messages[3].text, "m3");
    assert_string_equal(world->cluster.messages[4].text, "more");
}

/* Another cluster at the address: the session is not lost to it, nothing is sent, and it is told. */
static void test_restore__another_cluster(void **state)
{
    struct fixture *fixture = *state;
    struct world *world = fixture->world;
    world->cluster.id[3] = 7;
    client_free(world->client);
    start_client(fixture);
    world_login(world);
    world_settle(world);
    kill_client(fixture);
    world->cluster.id[3] = 8;
    start_client(fixture);
    world_send(world, "m0");
    WORLD_WAIT(world, strstr(world->status, "belongs to another cluster now"));
    world_settle(world);
    assert_int_equal(world->cluster.message_count, 0);
    assert_int_equal(world->session_ends, 0);
    kill_client(fixture);
    world->cluster.id[3] = 7;
    start_client(fixture);
    WORLD_WAIT(world, world->result_count == 1);
    world_check_kept(world, "m", 1);
}

static enum fake_action refuse_deletion(void *context, struct fake_server *server,
                                        const char *method, uint64_t number)
{
    server->fail_status = STATUS_PERMISSION_DENIED;
    return strcmp(method, "DeleteAccount") == 0 ? FAKE_FAIL : lose(context, server, method, number);
}

/* A deletion is not in the file, but its number is used up: what waits behind it keeps its place. */
static void test_restore__requests_behind_a_deletion(void **state)
{
    struct fixture *fixture = *state;
    struct world *world = fixture->world;
    world_login(world);
    assert_int_equal(
        world_ask(world, &(struct client_request){.call = CLIENT_DELETE, .password = "wrong"}), OK);
    world_send_many(world, "m", 3);
    judge(fixture, refuse_deletion, "Send");
    WORLD_WAIT(world, world->result_count == 1 && world->cluster.sends_seen == 3);
    assert_int_equal(world->results[0].status, STATUS_PERMISSION_DENIED);
    for (int life = 0; life < 2; life++)
        kill_and_start(fixture); /* the second reads what the first made anew */
    judge(fixture, NULL, NULL);
    WORLD_WAIT(world, world->result_count == 3);
    assert_int_equal(world_count(world, STATUS_OK), 3);
    assert_int_equal(world->cluster.message_count, 3);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(world->cluster.messages[i].request, i + 2);
}

/* The servers have ended the session: what was certainly not sent goes out in the next one. */
static void test_restore__a_session_that_is_over(void **state)
{
    struct fixture *fixture = *state;
    struct world *world = fixture->world;
    world_login(world);
    judge(fixture, lose, "Send");
    world_send(world, "sent");
    world_settle(world);
    fake_server_kill(&world->servers[0]);
    world_settle(world);
    for (size_t i = 0; i < CLIENT_WINDOW; i++)
        world_send(world, "later");
    world_turn(world);
    kill_client(fixture);
    world->cluster.sessions[0].ended = true;
    judge(fixture, NULL, NULL);
    fake_server_start(&world->servers[0], &world->cluster);
    world->servers[0].master = true;
    start_client(fixture);
    WORLD_WAIT(world, world->cluster.heartbeats_seen > 0);
    for (int i = 0; i < 10 && world->session_ends == 0; i++) {
        world_advance(world, 1000); /* halves of a cluster may not know it yet */
        world_settle(world);
    }
    assert_int_equal(world->session_ends, 1);
    assert_int_equal(world->cluster.message_count, 0);
    WORLD_WAIT(world, world->result_count == CLIENT_WINDOW + 1);
    for (size_t i = 0; i <= CLIENT_WINDOW; i++)
        assert_int_equal(world->results[i].status, STATUS_UNAUTHENTICATED);
}

/* Its end was told and is in the file: it is not told again. */
static void test_restore__after_many_rewrites(void **state)
{
    struct fixture *fixture = *state;
    struct world *world = fixture->world;
    world_login(world);
    world_send_many(world, "m", 400);
    WORLD_WAIT(world, world->result_count == 400 && world->event_count == 400);
    world_settle(world);
    for (int life = 0; life < 5; life++)
        kill_and_start(fixture);
    assert_int_equal(world->restored_count, 0);
    struct stat found;
    assert_int_equal(stat(fixture->path, &found), 0);
    assert_true(found.st_size < 400 * 200);
    /* Another half of the cluster takes over that has not heard of the last ones: they are sent
     * again out of the file. */
    fake_forget(&world->cluster, 300, 0, 300);
    world_send(world, "m400");
    WORLD_WAIT(world, world->result_count == 1);
    world_check_kept(world, "m", 401);
    assert_int_equal(world->cluster.resent_seen, 0); /* they were answered */
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_restore__a_session_without_a_login),
        TEST(test_restore__requests_that_were_carried_out),
        TEST(test_restore__requests_that_were_not_sent),
        TEST(test_restore__a_login_that_was_not_answered),
        TEST(test_restore__no_password_is_kept),
        TEST(test_restore__an_old_copy_is_refused),
        TEST(test_restore__cut_at_every_byte),
        TEST(test_restore__another_cluster),
        TEST(test_restore__requests_behind_a_deletion),
        TEST(test_restore__a_session_that_is_over),
        TEST(test_restore__after_many_rewrites),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
