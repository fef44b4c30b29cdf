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

static char *folder;
static char state_path[512];

static struct client_fixture *with_state_file(void)
{
    struct client_fixture *f = client_fixture_new(1);
    folder = folder_new();
    (void)snprintf(state_path, sizeof state_path, "%s/state", folder);
    assert_int_equal(client_fixture_connect_state(f, 1, state_path), OK);
    return f;
}

static void end(struct client_fixture *f)
{
    client_fixture_free(f);
    folder_remove(folder);
}

#define STATE_FILE_TEST(name) TEST_OPEN(name, struct client_fixture, with_state_file(), end)

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
static void kill_client(struct client_fixture *f)
{
    size_t size;
    char *bytes = read_file(state_path, &size);
    client_free(f->client);
    f->client = NULL;
    write_file(state_path, bytes, size);
    free(bytes);
}

static void start_client(struct client_fixture *f)
{
    f->result_count = f->event_count = 0;
    f->restored_count = 0;
    assert_int_equal(client_fixture_connect_state(f, 1, state_path), OK);
}

static void kill_and_start(struct client_fixture *f)
{
    kill_client(f);
    start_client(f);
}

STATE_FILE_TEST(test_restore__a_session_without_a_login)
{
    client_fixture_login(f);
    client_fixture_send_many(f, "m", 3);
    client_note(f->client, 17, "lobby");
    CLIENT_FIXTURE_WAIT(f, f->result_count == 3 && f->event_count == 3);
    client_fixture_settle(f);
    kill_and_start(f);
    struct client_view view = client_fixture_view(f);
    assert_string_equal(view.name, "ann");
    assert_int_equal(view.session, f->cluster.sessions[0].id);
    assert_int_equal(view.seq, 3);
    assert_int_equal(view.tag, 17);
    assert_string_equal(view.note, "lobby");
    assert_int_equal(f->restored_count, 0);
    fake_say(&f->cluster, "lobby", "bob", "new");
    client_fixture_send(f, "m3");
    CLIENT_FIXTURE_WAIT(f, f->result_count == 1 && f->event_count == 2);
    assert_string_equal(f->events[0].text, "new"); /* and nothing that was told before */
    assert_int_equal(f->results[0].request, 4);
    assert_int_equal(f->cluster.session_count, 1);
}

/* Carried out, but the client did not live to hear of it. */
STATE_FILE_TEST(test_restore__requests_that_were_carried_out)
{
    client_fixture_login(f);
    fake_order(&f->cluster, "Send", FAKE_LOSE_ANSWER);
    client_fixture_send_many(f, "m", 300);
    CLIENT_FIXTURE_WAIT(f, f->cluster.message_count == CLIENT_WINDOW);
    kill_client(f);
    fake_order(&f->cluster, NULL, FAKE_OBEY);
    start_client(f);
    assert_int_equal(f->restored_count, 300);
    assert_int_equal(f->cluster.resent_seen, 0);
    CLIENT_FIXTURE_WAIT(f, f->result_count == 300);
    /* One of those that were sent may have ended the server: the next one must know. */
    assert_int_equal(f->cluster.resent_seen, CLIENT_WINDOW);
    assert_int_equal(client_fixture_count(f, STATUS_OK), 300);
    client_fixture_check_kept(f, "m", 300);
}

STATE_FILE_TEST(test_restore__requests_that_were_not_sent)
{
    client_fixture_login(f);
    fake_server_kill(&f->servers[0]);
    client_fixture_settle(f);
    client_fixture_send_many(f, "m", 10);
    assert_int_equal(
        client_fixture_ask(f,
                           &(struct client_request){.call = CLIENT_JOIN, .room = "dev", .tag = 11}),
        OK);
    client_fixture_turn(f);
    for (int life = 0; life < 3; life++) {
        kill_and_start(f);
        assert_int_equal(f->restored_count, 11);
        client_fixture_settle(f);
    }
    fake_server_start(&f->servers[0], &f->cluster);
    f->servers[0].master = true;
    CLIENT_FIXTURE_WAIT(f, f->result_count == 11);
    client_fixture_check_kept(f, "m", 10);
    assert_int_equal(f->cluster.resent_seen, 0);
    assert_int_equal(f->results[10].call, CLIENT_JOIN);
    assert_int_equal(f->results[10].status, STATUS_OK);
    assert_int_equal(client_fixture_view(f).tag, 11);
}

/* A login that was carried out and not answered takes no second place. */
STATE_FILE_TEST(test_restore__a_login_that_was_not_answered)
{
    fake_order(&f->cluster, "Login", FAKE_LOSE_ANSWER);
    client_fixture_ask_login(f, "ann", CLIENT_ACCOUNT_NEW, false);
    CLIENT_FIXTURE_WAIT(f, f->cluster.session_count == 1);
    kill_client(f);
    fake_order(&f->cluster, NULL, FAKE_OBEY);
    start_client(f);
    client_fixture_ask_login(f, "ann", CLIENT_ACCOUNT_NEW, false);
    CLIENT_FIXTURE_WAIT(f, f->result_count == 1);
    assert_int_equal(f->results[0].status, STATUS_OK); /* the account is its own, too */
    assert_int_equal(f->cluster.session_count, 1);
    assert_int_equal(f->cluster.logins_resent_seen, 1); /* it may have ended the server */
}

STATE_FILE_TEST(test_restore__no_password_is_kept)
{
    client_fixture_login(f);
    assert_int_equal(client_fixture_ask(
                         f, &(struct client_request){.call = CLIENT_DELETE, .password = "secret"}),
                     OK);
    CLIENT_FIXTURE_WAIT(f, f->result_count == 1);
    size_t size;
    char *bytes = read_file(state_path, &size);
    assert_null(memmem(bytes, size, "secret", 6));
    free(bytes);
}

/* A file that was put back would give new requests numbers that old ones have had. */
STATE_FILE_TEST(test_restore__an_old_copy_is_refused)
{
    client_fixture_login(f);
    client_fixture_send_through(f, "m", 2);
    client_fixture_settle(f);
    size_t size;
    char *bytes = read_file(state_path, &size);
    client_fixture_send(f, "m2");
    CLIENT_FIXTURE_WAIT(f, f->result_count == 3);
    kill_client(f);
    write_file(state_path, bytes, size);
    free(bytes);
    start_client(f);
    client_fixture_send(f, "m3");
    CLIENT_FIXTURE_WAIT(f, f->state_failures == 1);
    assert_non_null(strstr(f->status, "older than its session"));
    client_fixture_settle(f);
    assert_int_equal(f->state_failures, 1);
    client_fixture_check_kept(f, "m", 3);
}

/* Cut anywhere, the file is refused, is as it was once, or is found to be too old: nothing is sent
 * under a number that was used, and nothing twice. */
STATE_FILE_TEST(test_restore__cut_at_every_byte)
{
    client_fixture_login(f);
    client_fixture_send_through(f, "m", 3);
    fake_order(&f->cluster, "Send", FAKE_LOSE);
    client_fixture_send(f, "m3");
    client_fixture_settle(f);
    kill_client(f);
    fake_order(&f->cluster, NULL, FAKE_OBEY);
    size_t size;
    char *bytes = read_file(state_path, &size);
    size_t refused = 0;
    size_t too_old = 0;
    size_t done = 0;
    for (size_t cut = size; cut > 0; cut -= cut < 7 ? cut : 7) {
        write_file(state_path, bytes, cut);
        f->state_failures = f->result_count = f->event_count = 0;
        enum error error = client_fixture_connect_state(f, 1, state_path);
        if (error != OK) {
            assert_int_equal(error, ERROR_CORRUPT);
            refused++;
        } else if (client_fixture_view(f).name != NULL) {
            client_fixture_send(f, "more");
            CLIENT_FIXTURE_WAIT(f, f->state_failures > 0 || client_unfinished(f->client) == 0);
            too_old += f->state_failures;
            done += f->state_failures == 0;
        }
        client_free(f->client);
        f->client = NULL;
        for (size_t i = 0; i < f->cluster.message_count; i++)
            assert_int_equal(f->cluster.messages[i].request, i + 1);
    }
    free(bytes);
    assert_true(refused > 0 && too_old > 0);
    assert_int_equal(done, 1); /* the whole file: after that every other one is too old */
    assert_int_equal(f->cluster.message_count, 5);
    assert_string_equal(f->cluster.messages[3].text, "m3");
    assert_string_equal(f->cluster.messages[4].text, "more");
}

/* The client learns the id of the session's cluster late. It can still repeat what was acknowledged before. */
STATE_FILE_TEST(test_restore__requests_before_the_cluster_is_known)
{
    client_fixture_login(f);
    client_fixture_send_through(f, "m", 3);
    client_fixture_settle(f);
    size_t infos = f->cluster.infos_seen;
    f->cluster.id[3] = 7;
    client_fixture_advance(f, CLIENT_HEARTBEAT_MS);
    CLIENT_FIXTURE_WAIT(f, f->cluster.infos_seen > infos);
    client_fixture_settle(f);
    kill_client(f);
    fake_forget(&f->cluster, 0, 0, 0);
    start_client(f);
    client_fixture_send(f, "m3");
    CLIENT_FIXTURE_WAIT(f, f->result_count == 1);
    client_fixture_check_kept(f, "m", 4);
}

/* Another cluster at the address: the session is not lost to it, nothing is sent, and it is told. */
STATE_FILE_TEST(test_restore__another_cluster)
{
    f->cluster.id[3] = 7;
    client_free(f->client);
    start_client(f);
    client_fixture_login(f);
    client_fixture_settle(f);
    kill_client(f);
    f->cluster.id[3] = 8;
    start_client(f);
    client_fixture_send(f, "m0");
    CLIENT_FIXTURE_WAIT(f, strstr(f->status, "belongs to another cluster now"));
    client_fixture_settle(f);
    assert_int_equal(f->cluster.message_count, 0);
    assert_int_equal(f->session_ends, 0);
    kill_client(f);
    f->cluster.id[3] = 7;
    start_client(f);
    CLIENT_FIXTURE_WAIT(f, f->result_count == 1);
    client_fixture_check_kept(f, "m", 1);
}

static enum fake_action refuse_deletion(void *context, struct fake_server *server,
                                        const char *method, uint64_t number)
{
    (void)context, (void)number;
    server->fail_status = STATUS_PERMISSION_DENIED;
    if (strcmp(method, "DeleteAccount") == 0)
        return FAKE_FAIL;
    return strcmp(method, "Send") == 0 ? FAKE_LOSE : FAKE_OBEY;
}

/* A deletion is not in the file, but its number is used up: what waits behind it keeps its place. */
STATE_FILE_TEST(test_restore__requests_behind_a_deletion)
{
    client_fixture_login(f);
    assert_int_equal(
        client_fixture_ask(f, &(struct client_request){.call = CLIENT_DELETE, .password = "wrong"}),
        OK);
    client_fixture_send_many(f, "m", 3);
    f->cluster.judge = refuse_deletion;
    CLIENT_FIXTURE_WAIT(f, f->result_count == 1 && f->cluster.sends_seen == 3);
    assert_int_equal(f->results[0].status, STATUS_PERMISSION_DENIED);
    for (int life = 0; life < 2; life++)
        kill_and_start(f); /* the second reads what the first made anew */
    f->cluster.judge = NULL;
    CLIENT_FIXTURE_WAIT(f, f->result_count == 3);
    assert_int_equal(client_fixture_count(f, STATUS_OK), 3);
    assert_int_equal(f->cluster.message_count, 3);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(f->cluster.messages[i].request, i + 2);
}

/* The servers have ended the session: what was certainly not sent goes out in the next one. */
STATE_FILE_TEST(test_restore__a_session_that_is_over)
{
    client_fixture_login(f);
    fake_order(&f->cluster, "Send", FAKE_LOSE);
    client_fixture_send(f, "sent");
    client_fixture_settle(f);
    fake_server_kill(&f->servers[0]);
    client_fixture_settle(f);
    for (size_t i = 0; i < CLIENT_WINDOW; i++)
        client_fixture_send(f, "later");
    client_fixture_turn(f);
    kill_client(f);
    f->cluster.sessions[0].ended = true;
    fake_order(&f->cluster, NULL, FAKE_OBEY);
    fake_server_start(&f->servers[0], &f->cluster);
    f->servers[0].master = true;
    start_client(f);
    CLIENT_FIXTURE_WAIT(f, f->cluster.heartbeats_seen > 0);
    for (int i = 0; i < 10 && f->session_ends == 0; i++) {
        client_fixture_advance(f, 1000); /* halves of a cluster may not know it yet */
        client_fixture_settle(f);
    }
    assert_int_equal(f->session_ends, 1);
    assert_int_equal(f->cluster.message_count, 0);
    CLIENT_FIXTURE_WAIT(f, f->result_count == CLIENT_WINDOW + 1);
    for (size_t i = 0; i <= CLIENT_WINDOW; i++)
        assert_int_equal(f->results[i].status, STATUS_UNAUTHENTICATED);
}

/* Its end was told and is in the file: it is not told again. */
STATE_FILE_TEST(test_restore__after_many_rewrites)
{
    client_fixture_login(f);
    client_fixture_send_many(f, "m", 400);
    CLIENT_FIXTURE_WAIT(f, f->result_count == 400 && f->event_count == 400);
    client_fixture_settle(f);
    for (int life = 0; life < 5; life++)
        kill_and_start(f);
    assert_int_equal(f->restored_count, 0);
    struct stat found;
    assert_int_equal(stat(state_path, &found), 0);
    assert_true(found.st_size < 400 * 200);
    /* Another half of the cluster takes over that has not heard of the last ones: they are sent
     * again out of the file. */
    fake_forget(&f->cluster, 300, 0, 300);
    client_fixture_send(f, "m400");
    CLIENT_FIXTURE_WAIT(f, f->result_count == 1);
    client_fixture_check_kept(f, "m", 401);
    assert_int_equal(f->cluster.resent_seen, 0); /* they were answered */
}
