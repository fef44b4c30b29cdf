/* SPDX-License-Identifier: MIT */
/* A client with a state file that is gone from one moment to the next: what the file says then is
 * what another client goes on with. */
#include "client_fixture.h"
#include "support/folder.h"
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct fixture {
    struct client_fixture *client_fixture;
    char *folder;
    char path[512], copy[512];
};

static void begin(struct fixture *f)
{
    f->client_fixture = client_fixture_new(1);
    f->folder = folder_new();
    (void)snprintf(f->path, sizeof f->path, "%s/state", f->folder);
    (void)snprintf(f->copy, sizeof f->copy, "%s/copy", f->folder);
    assert_int_equal(client_fixture_connect_state(f->client_fixture, 1, f->path), OK);
}

static void end(struct fixture *f)
{
    client_fixture_free(f->client_fixture);
    folder_remove(f->folder);
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
static void kill_client(struct fixture *f)
{
    size_t size;
    char *bytes = read_file(f->path, &size);
    client_free(f->client_fixture->client);
    f->client_fixture->client = NULL;
    write_file(f->path, bytes, size);
    free(bytes);
}

static void start_client(struct fixture *f)
{
    f->client_fixture->result_count = f->client_fixture->event_count = 0;
    f->client_fixture->restored_count = 0;
    assert_int_equal(client_fixture_connect_state(f->client_fixture, 1, f->path), OK);
}

static void kill_and_start(struct fixture *f)
{
    kill_client(f);
    start_client(f);
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

static void judge(struct fixture *f,
                  enum fake_action (*how)(void *, struct fake_server *, const char *, uint64_t),
                  const char *method)
{
    f->client_fixture->cluster.judge = how;
    f->client_fixture->cluster.context = (void *)method;
}

TEST_F(test_restore__a_session_without_a_login)
{
    struct client_fixture *client_fixture = f->client_fixture;
    struct client_view view;
    client_fixture_login(client_fixture);
    client_fixture_send_many(client_fixture, "m", 3);
    client_note(client_fixture->client, 17, "lobby");
    CLIENT_FIXTURE_WAIT(client_fixture,
                        client_fixture->result_count == 3 && client_fixture->event_count == 3);
    client_fixture_settle(client_fixture);
    kill_and_start(f);
    client_inspect(client_fixture->client, &view);
    assert_string_equal(view.name, "ann");
    assert_int_equal(view.session, client_fixture->cluster.sessions[0].id);
    assert_int_equal(view.seq, 3);
    assert_int_equal(view.tag, 17);
    assert_string_equal(view.note, "lobby");
    assert_int_equal(client_fixture->restored_count, 0);
    fake_say(&client_fixture->cluster, "lobby", "bob", "new");
    client_fixture_send(client_fixture, "m3");
    CLIENT_FIXTURE_WAIT(client_fixture,
                        client_fixture->result_count == 1 && client_fixture->event_count == 2);
    assert_string_equal(client_fixture->events[0].text,
                        "new"); /* and nothing that was told before */
    assert_int_equal(client_fixture->results[0].request, 4);
    assert_int_equal(client_fixture->cluster.session_count, 1);
}

/* Carried out, but the client did not live to hear of it. */
TEST_F(test_restore__requests_that_were_carried_out)
{
    struct client_fixture *client_fixture = f->client_fixture;
    client_fixture_login(client_fixture);
    judge(f, lose_answer, "Send");
    client_fixture_send_many(client_fixture, "m", 300);
    CLIENT_FIXTURE_WAIT(client_fixture, client_fixture->cluster.message_count == CLIENT_WINDOW);
    kill_client(f);
    judge(f, NULL, NULL);
    start_client(f);
    assert_int_equal(client_fixture->restored_count, 300);
    assert_int_equal(client_fixture->cluster.resent_seen, 0);
    CLIENT_FIXTURE_WAIT(client_fixture, client_fixture->result_count == 300);
    /* One of those that were sent may have ended the server: the next one must know. */
    assert_int_equal(client_fixture->cluster.resent_seen, CLIENT_WINDOW);
    assert_int_equal(client_fixture_count(client_fixture, STATUS_OK), 300);
    client_fixture_check_kept(client_fixture, "m", 300);
}

TEST_F(test_restore__requests_that_were_not_sent)
{
    struct client_fixture *client_fixture = f->client_fixture;
    client_fixture_login(client_fixture);
    fake_server_kill(&client_fixture->servers[0]);
    client_fixture_settle(client_fixture);
    client_fixture_send_many(client_fixture, "m", 10);
    assert_int_equal(
        client_fixture_ask(client_fixture,
                           &(struct client_request){.call = CLIENT_JOIN, .room = "dev", .tag = 11}),
        OK);
    client_fixture_turn(client_fixture);
    for (int life = 0; life < 3; life++) {
        kill_and_start(f);
        assert_int_equal(client_fixture->restored_count, 11);
        client_fixture_settle(client_fixture);
    }
    fake_server_start(&client_fixture->servers[0], &client_fixture->cluster);
    client_fixture->servers[0].master = true;
    CLIENT_FIXTURE_WAIT(client_fixture, client_fixture->result_count == 11);
    client_fixture_check_kept(client_fixture, "m", 10);
    assert_int_equal(client_fixture->cluster.resent_seen, 0);
    assert_int_equal(client_fixture->results[10].call, CLIENT_JOIN);
    assert_int_equal(client_fixture->results[10].status, STATUS_OK);
    struct client_view view;
    client_inspect(client_fixture->client, &view);
    assert_int_equal(view.tag, 11);
}

/* A login that was carried out and not answered takes no second place. */
TEST_F(test_restore__a_login_that_was_not_answered)
{
    struct client_fixture *client_fixture = f->client_fixture;
    judge(f, lose_answer, "Login");
    assert_int_equal(
        client_fixture_ask(client_fixture, &(struct client_request){.call = CLIENT_LOGIN,
                                                                    .name = "ann",
                                                                    .password = "secret",
                                                                    .manner = CLIENT_ACCOUNT_NEW}),
        OK);
    CLIENT_FIXTURE_WAIT(client_fixture, client_fixture->cluster.session_count == 1);
    kill_client(f);
    judge(f, NULL, NULL);
    start_client(f);
    assert_int_equal(
        client_fixture_ask(client_fixture, &(struct client_request){.call = CLIENT_LOGIN,
                                                                    .name = "ann",
                                                                    .password = "secret",
                                                                    .manner = CLIENT_ACCOUNT_NEW}),
        OK);
    CLIENT_FIXTURE_WAIT(client_fixture, client_fixture->result_count == 1);
    assert_int_equal(client_fixture->results[0].status,
                     STATUS_OK); /* the account is its own, too */
    assert_int_equal(client_fixture->cluster.session_count, 1);
    assert_int_equal(client_fixture->cluster.logins_resent_seen,
                     1); /* it may have ended the server */
}

TEST_F(test_restore__no_password_is_kept)
{
    struct client_fixture *client_fixture = f->client_fixture;
    client_fixture_login(client_fixture);
    assert_int_equal(
        client_fixture_ask(client_fixture,
                           &(struct client_request){.call = CLIENT_DELETE, .password = "secret"}),
        OK);
    CLIENT_FIXTURE_WAIT(client_fixture, client_fixture->result_count == 1);
    size_t size;
    char *bytes = read_file(f->path, &size);
    assert_null(memmem(bytes, size, "secret", 6));
    free(bytes);
}

/* A file that was put back would give new requests numbers that old ones have had. */
TEST_F(test_restore__an_old_copy_is_refused)
{
    struct client_fixture *client_fixture = f->client_fixture;
    client_fixture_login(client_fixture);
    client_fixture_send_many(client_fixture, "m", 2);
    CLIENT_FIXTURE_WAIT(client_fixture, client_fixture->result_count == 2);
    client_fixture_settle(client_fixture);
    size_t size;
    char *bytes = read_file(f->path, &size);
    client_fixture_send(client_fixture, "m2");
    CLIENT_FIXTURE_WAIT(client_fixture, client_fixture->result_count == 3);
    kill_client(f);
    write_file(f->path, bytes, size);
    free(bytes);
    start_client(f);
    client_fixture_send(client_fixture, "m3");
    CLIENT_FIXTURE_WAIT(client_fixture, client_fixture->state_failures == 1);
    assert_non_null(strstr(client_fixture->status, "older than its session"));
    client_fixture_settle(client_fixture);
    assert_int_equal(client_fixture->state_failures, 1);
    client_fixture_check_kept(client_fixture, "m", 3);
}

/* Cut anywhere, the file is refused, is as it was once, or is found to be too old: nothing is sent
 * under a number that was used, and nothing twice. */
TEST_F(test_restore__cut_at_every_byte)
{
    struct client_fixture *client_fixture = f->client_fixture;
    client_fixture_login(client_fixture);
    client_fixture_send_many(client_fixture, "m", 3);
    CLIENT_FIXTURE_WAIT(client_fixture, client_fixture->result_count == 3);
    judge(f, lose, "Send");
    client_fixture_send(client_fixture, "m3");
    client_fixture_settle(client_fixture);
    kill_client(f);
    judge(f, NULL, NULL);
    size_t size;
    char *bytes = read_file(f->path, &size);
    size_t refused = 0;
    size_t too_old = 0;
    size_t done = 0;
    for (size_t cut = size; cut > 0; cut -= cut < 7 ? cut : 7) {
        struct client_view view;
        write_file(f->path, bytes, cut);
        client_fixture->state_failures = client_fixture->result_count =
            client_fixture->event_count = 0;
        enum error error = client_fixture_connect_state(client_fixture, 1, f->path);
        client_inspect(client_fixture->client, &view);
        if (error != OK) {
            assert_int_equal(error, ERROR_CORRUPT);
            refused++;
        } else if (view.name != NULL) {
            client_fixture_send(client_fixture, "more");
            CLIENT_FIXTURE_WAIT(client_fixture, client_fixture->state_failures > 0 ||
                                                    client_unfinished(client_fixture->client) == 0);
            too_old += client_fixture->state_failures;
            done += client_fixture->state_failures == 0;
        }
        client_free(client_fixture->client);
        client_fixture->client = NULL;
        for (size_t i = 0; i < client_fixture->cluster.message_count; i++)
            assert_int_equal(client_fixture->cluster.messages[i].request, i + 1);
    }
    free(bytes);
    assert_true(refused > 0 && too_old > 0);
    assert_int_equal(done, 1); /* the whole file: after that every other one is too old */
    assert_int_equal(client_fixture->cluster.message_count, 5);
    assert_string_equal(client_fixture->cluster.messages[3].text, "m3");
    assert_string_equal(client_fixture->cluster.messages[4].text, "more");
}

/* The client learns the id of the session's cluster late. It can still repeat what was acknowledged before. */
TEST_F(test_restore__requests_before_the_cluster_is_known)
{
    struct client_fixture *client_fixture = f->client_fixture;
    client_fixture_login(client_fixture);
    client_fixture_send_many(client_fixture, "m", 3);
    CLIENT_FIXTURE_WAIT(client_fixture, client_fixture->result_count == 3);
    client_fixture_settle(client_fixture);
    size_t infos = client_fixture->cluster.infos_seen;
    client_fixture->cluster.id[3] = 7;
    client_fixture_advance(client_fixture, CLIENT_HEARTBEAT_MS);
    CLIENT_FIXTURE_WAIT(client_fixture, client_fixture->cluster.infos_seen > infos);
    client_fixture_settle(client_fixture);
    kill_client(f);
    fake_forget(&client_fixture->cluster, 0, 0, 0);
    start_client(f);
    client_fixture_send(client_fixture, "m3");
    CLIENT_FIXTURE_WAIT(client_fixture, client_fixture->result_count == 1);
    client_fixture_check_kept(client_fixture, "m", 4);
}

/* Another cluster at the address: the session is not lost to it, nothing is sent, and it is told. */
TEST_F(test_restore__another_cluster)
{
    struct client_fixture *client_fixture = f->client_fixture;
    client_fixture->cluster.id[3] = 7;
    client_free(client_fixture->client);
    start_client(f);
    client_fixture_login(client_fixture);
    client_fixture_settle(client_fixture);
    kill_client(f);
    client_fixture->cluster.id[3] = 8;
    start_client(f);
    client_fixture_send(client_fixture, "m0");
    CLIENT_FIXTURE_WAIT(client_fixture,
                        strstr(client_fixture->status, "belongs to another cluster now"));
    client_fixture_settle(client_fixture);
    assert_int_equal(client_fixture->cluster.message_count, 0);
    assert_int_equal(client_fixture->session_ends, 0);
    kill_client(f);
    client_fixture->cluster.id[3] = 7;
    start_client(f);
    CLIENT_FIXTURE_WAIT(client_fixture, client_fixture->result_count == 1);
    client_fixture_check_kept(client_fixture, "m", 1);
}

static enum fake_action refuse_deletion(void *context, struct fake_server *server,
                                        const char *method, uint64_t number)
{
    server->fail_status = STATUS_PERMISSION_DENIED;
    return strcmp(method, "DeleteAccount") == 0 ? FAKE_FAIL : lose(context, server, method, number);
}

/* A deletion is not in the file, but its number is used up: what waits behind it keeps its place. */
TEST_F(test_restore__requests_behind_a_deletion)
{
    struct client_fixture *client_fixture = f->client_fixture;
    client_fixture_login(client_fixture);
    assert_int_equal(
        client_fixture_ask(client_fixture,
                           &(struct client_request){.call = CLIENT_DELETE, .password = "wrong"}),
        OK);
    client_fixture_send_many(client_fixture, "m", 3);
    judge(f, refuse_deletion, "Send");
    CLIENT_FIXTURE_WAIT(client_fixture, client_fixture->result_count == 1 &&
                                            client_fixture->cluster.sends_seen == 3);
    assert_int_equal(client_fixture->results[0].status, STATUS_PERMISSION_DENIED);
    for (int life = 0; life < 2; life++)
        kill_and_start(f); /* the second reads what the first made anew */
    judge(f, NULL, NULL);
    CLIENT_FIXTURE_WAIT(client_fixture, client_fixture->result_count == 3);
    assert_int_equal(client_fixture_count(client_fixture, STATUS_OK), 3);
    assert_int_equal(client_fixture->cluster.message_count, 3);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(client_fixture->cluster.messages[i].request, i + 2);
}

/* The servers have ended the session: what was certainly not sent goes out in the next one. */
TEST_F(test_restore__a_session_that_is_over)
{
    struct client_fixture *client_fixture = f->client_fixture;
    client_fixture_login(client_fixture);
    judge(f, lose, "Send");
    client_fixture_send(client_fixture, "sent");
    client_fixture_settle(client_fixture);
    fake_server_kill(&client_fixture->servers[0]);
    client_fixture_settle(client_fixture);
    for (size_t i = 0; i < CLIENT_WINDOW; i++)
        client_fixture_send(client_fixture, "later");
    client_fixture_turn(client_fixture);
    kill_client(f);
    client_fixture->cluster.sessions[0].ended = true;
    judge(f, NULL, NULL);
    fake_server_start(&client_fixture->servers[0], &client_fixture->cluster);
    client_fixture->servers[0].master = true;
    start_client(f);
    CLIENT_FIXTURE_WAIT(client_fixture, client_fixture->cluster.heartbeats_seen > 0);
    for (int i = 0; i < 10 && client_fixture->session_ends == 0; i++) {
        client_fixture_advance(client_fixture, 1000); /* halves of a cluster may not know it yet */
        client_fixture_settle(client_fixture);
    }
    assert_int_equal(client_fixture->session_ends, 1);
    assert_int_equal(client_fixture->cluster.message_count, 0);
    CLIENT_FIXTURE_WAIT(client_fixture, client_fixture->result_count == CLIENT_WINDOW + 1);
    for (size_t i = 0; i <= CLIENT_WINDOW; i++)
        assert_int_equal(client_fixture->results[i].status, STATUS_UNAUTHENTICATED);
}

/* Its end was told and is in the file: it is not told again. */
TEST_F(test_restore__after_many_rewrites)
{
    struct client_fixture *client_fixture = f->client_fixture;
    client_fixture_login(client_fixture);
    client_fixture_send_many(client_fixture, "m", 400);
    CLIENT_FIXTURE_WAIT(client_fixture,
                        client_fixture->result_count == 400 && client_fixture->event_count == 400);
    client_fixture_settle(client_fixture);
    for (int life = 0; life < 5; life++)
        kill_and_start(f);
    assert_int_equal(client_fixture->restored_count, 0);
    struct stat found;
    assert_int_equal(stat(f->path, &found), 0);
    assert_true(found.st_size < 400 * 200);
    /* Another half of the cluster takes over that has not heard of the last ones: they are sent
     * again out of the file. */
    fake_forget(&client_fixture->cluster, 300, 0, 300);
    client_fixture_send(client_fixture, "m400");
    CLIENT_FIXTURE_WAIT(client_fixture, client_fixture->result_count == 1);
    client_fixture_check_kept(client_fixture, "m", 401);
    assert_int_equal(client_fixture->cluster.resent_seen, 0); /* they were answered */
}
