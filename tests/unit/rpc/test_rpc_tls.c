/* SPDX-License-Identifier: MIT */
/* What both sides say of a TLS connection that fails, what is checked before a server listens, and
 * certificates that are exchanged while it runs. */
#include "base/log.h"
#include "probe.h"
#include "rpc/handshake.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_OF(name) TLS_FILES "/" name

#define SAID_BYTES 65536

static int real_stderr;
static int captured;
static char said[SAID_BYTES];

static int capture(void **state)
{
    (void)state;
    log_configure(LOG_INFO, LOG_TEXT);
    captured = memfd_create("stderr", MFD_CLOEXEC);
    real_stderr = dup(STDERR_FILENO);
    assert_true(captured >= 0 && real_stderr >= 0);
    assert_int_equal(fcntl(captured, F_SETFL, O_APPEND), 0);
    assert_true(dup2(captured, STDERR_FILENO) >= 0);
    return 0;
}

static int release(void **state)
{
    (void)state;
    (void)dup2(real_stderr, STDERR_FILENO);
    (void)close(real_stderr);
    (void)close(captured);
    return 0;
}

static bool has_said(const char *text)
{
    ssize_t size = pread(captured, said, sizeof said - 1, 0);
    assert_true(size >= 0);
    said[size] = '\0';
    return strstr(said, text) != NULL;
}

static size_t count_said(const char *text)
{
    size_t count = 0;
    (void)has_said(text);
    for (const char *at = said; (at = strstr(at, text)) != NULL; at += strlen(text))
        count++;
    return count;
}

static struct probe *start(const char *address, const char *certificate, const char *key)
{
    struct rpc_server_options options = {
        .address = parsed(address), .tls_certificate = certificate, .tls_key = key};
    return probe_start(&options);
}

static bool has_problem(const struct client *client, const char *text)
{
    const char *problem = rpc_channel_problem(client->channel);
    return problem != NULL && strstr(problem, text) != NULL;
}

static const struct sentence {
    const char *rule;
    const char *certificate; /* NULL: the server is plain */
    const char *authority;   /* NULL: the client is plain */
    const char *client;      /* what it says */
    const char *server;
} sentences[] = {
    {"other authority", CERTIFICATE, OTHER_AUTHORITY, "not signed by an authority",
     "does not trust the authority"},
    {"other host", FILE_OF("other_host.pem"), AUTHORITY, "for another host name",
     "for another host name"},
    {"expired", FILE_OF("expired.pem"), AUTHORITY, "has expired", "certificate expired"},
    {"not yet valid", FILE_OF("future.pem"), AUTHORITY, "not valid yet", "may not be valid yet"},
    {"client is plain", CERTIFICATE, NULL, "it uses TLS", "does not use TLS and this port does"},
    {"server is plain", NULL, AUTHORITY, "it does not use TLS", "uses TLS and this port does not"},
};

static void expect_sentences(const struct sentence *row)
{
    struct probe *probe = start(row->certificate == NULL ? "127.0.0.1:0" : "tls+tcp://127.0.0.1:0",
                                row->certificate, KEY);
    struct address address = *probe_address(probe);
    address.tls = row->authority != NULL;
    struct client client;
    struct rpc_channel_options options = {.tls_authority = row->authority, .reconnect_max_ms = 50};
    client_open(&client, &address, &options);
    print_message("%s\n", row->rule);
    WAIT_UNTIL(&client, has_problem(&client, row->client));
    WAIT_UNTIL(&client, has_said(row->server));
    assert_true(has_said("rpc connection_failed peer=127.0.0.1 port="));
    assert_int_equal(client.connected, 0);
    client_close(&client);
    probe_stop(probe);
}

TEST_WITH(test_sentence__tells_what_is_wrong, capture, release)
{
    for (size_t i = 0; i < sizeof sentences / sizeof sentences[0]; i++) {
        assert_int_equal(ftruncate(captured, 0), 0);
        expect_sentences(&sentences[i]);
    }
}

TEST_WITH(test_other_program__at_the_server, capture, release)
{
    static const char *const addresses[] = {"127.0.0.1:0", "tls+tcp://127.0.0.1:0"};
    for (size_t i = 0; i < 2; i++) {
        struct probe *probe = start(addresses[i], CERTIFICATE, KEY);
        struct sp_peer peer = probe_connect_peer(probe, 0);
        assert_true(sp_send_bytes(&peer, "GET / HTTP/1.1\r\n", 16));
        WAIT_UNTIL(NULL, count_said("it does not speak Jackdaw's protocol") == i + 1);
        sp_close(&peer);
        probe_stop(probe);
    }
}

TEST_WITH(test_other_program__at_the_client, capture, release)
{
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in where = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof where;
    assert_int_equal(bind(listener, (struct sockaddr *)&where, size), 0);
    assert_int_equal(listen(listener, 8), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&where, &size), 0);
    struct address address = parsed("127.0.0.1:1");
    address.port = ntohs(where.sin_port);
    struct client client;
    client_open(&client, &address, NULL);
    int peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(peer >= 0);
    assert_int_equal(send(peer, "220 mail.example ESMTP\r\n", 24, MSG_NOSIGNAL), 24);
    WAIT_UNTIL(&client, has_problem(&client, "another program answers there"));
    (void)close(peer);
    (void)close(listener);
    /* Nobody listens: that is another problem, which the channel does not call one. */
    client_close(&client);
}

/* A client that offers TLS 1.2 only. Source of the bytes: RFC 5246, section 7.4.1.2. */
TEST_WITH(test_tls12__refused, capture, release)
{
    struct probe *probe = start("tls+tcp://127.0.0.1:0", CERTIFICATE, KEY);
    uint8_t hello[5 + 4 + 2 + 32 + 1 + 4 + 2 + 2] = {0x16, 3, 1, 0, 47, 1, 0, 0, 43, 3, 3};
    static const uint8_t end[] = {0, 0, 2, 0xC0, 0x2B, 1, 0, 0, 0};
    memcpy(hello + sizeof hello - sizeof end, end, sizeof end);
    struct sp_peer peer = probe_connect_peer(probe, 0);
    assert_true(sp_send_bytes(&peer, hello, sizeof hello));
    WAIT_UNTIL(NULL, has_said("does not offer TLS 1.3"));
    assert_true(sp_wait_closed(&peer, SP_PATIENCE_MS));
    sp_close(&peer);
    probe_stop(probe);
}

static void expect_refused(const char *certificate, const char *key, enum error error,
                           const char *sentence)
{
    struct task_queue *queue;
    struct rpc_server *server;
    struct error_text why = {""};
    assert_int_equal(task_queue_new(&queue), OK);
    struct rpc_server_options options = {.address = parsed("tls+tcp://127.0.0.1:0"),
                                         .queue = queue,
                                         .tls_certificate = certificate,
                                         .tls_key = key};
    assert_int_equal(rpc_server_new(&server, &options, &why), OK);
    assert_int_equal(rpc_server_listen(server, &why), error);
    if (strstr(why.text, sentence) == NULL)
        fail_msg("%s", why.text);
    rpc_server_free(server);
    task_queue_free(queue);
}

TEST_WITH(test_files__refused, capture, release)
{
    expect_refused(CERTIFICATE, FILE_OF("other_server.key"), ERROR_MISMATCH,
                   "other_server.key does not belong to the first certificate in");
    expect_refused(CERTIFICATE, FILE_OF("encrypted.key"), ERROR_INVALID,
                   "encrypted.key is encrypted");
    expect_refused(CERTIFICATE, CERTIFICATE, ERROR_INVALID, "server.pem is no PEM private key");
    expect_refused(KEY, KEY, ERROR_INVALID, "server.key is no file of PEM certificates");
}

static void copy_file(const char *from, const char *to, mode_t mode)
{
    char bytes[8192];
    int in = open(from, O_RDONLY | O_CLOEXEC);
    assert_true(in >= 0);
    ssize_t size = read(in, bytes, sizeof bytes);
    assert_true(size > 0);
    (void)close(in);
    int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(out >= 0);
    assert_int_equal(write(out, bytes, (size_t)size), size);
    assert_int_equal(fchmod(out, mode), 0);
    (void)close(out);
}

struct pair {
    char folder[64];
    char certificate[96];
    char key[96];
};

static void pair_make(struct pair *pair)
{
    (void)snprintf(pair->folder, sizeof pair->folder, "/tmp/jackdaw_tls_XXXXXX");
    assert_non_null(mkdtemp(pair->folder));
    (void)snprintf(pair->certificate, sizeof pair->certificate, "%s/server.pem", pair->folder);
    (void)snprintf(pair->key, sizeof pair->key, "%s/server.key", pair->folder);
}

static void pair_write(const struct pair *pair, const char *certificate, const char *key,
                       mode_t mode)
{
    copy_file(certificate, pair->certificate, 0644);
    copy_file(key, pair->key, mode);
}

static void pair_remove(const struct pair *pair)
{
    (void)unlink(pair->certificate);
    (void)unlink(pair->key);
    (void)rmdir(pair->folder);
}

TEST_WITH(test_files__warnings, capture, release)
{
    struct pair pair;
    pair_make(&pair);
    pair_write(&pair, CERTIFICATE, KEY, 0640);
    probe_stop(start("tls+tcp://127.0.0.1:0", pair.certificate, pair.key));
    assert_false(has_said("warning"));
    pair_write(&pair, FILE_OF("expired.pem"), KEY, 0644);
    probe_stop(start("tls+tcp://127.0.0.1:0", pair.certificate, pair.key));
    assert_int_equal(count_said("rpc certificate_expired file="), 1);
    assert_int_equal(count_said("rpc key_is_readable_by_others file="), 1);
    pair_write(&pair, FILE_OF("future.pem"), KEY, 0600);
    probe_stop(start("tls+tcp://127.0.0.1:0", pair.certificate, pair.key));
    assert_int_equal(count_said("rpc certificate_not_yet_valid file="), 1);
    assert_int_equal(count_said("warning"), 3);
    pair_remove(&pair);
}

/* A probe with a pair that a test exchanges. */
static struct probe *start_with_pair(struct pair *pair)
{
    pair_make(pair);
    pair_write(pair, CERTIFICATE, KEY, 0600);
    return start("tls+tcp://127.0.0.1:0", pair->certificate, pair->key);
}

struct reread {
    enum error error;
    struct error_text why;
};

static void reread(struct probe *probe, void *argument)
{
    struct reread *result = argument;
    result->error = rpc_server_reread_tls(probe_server(probe), &result->why);
}

static void expect_no_trust(const struct address *address, const char *authority)
{
    struct client client;
    struct rpc_channel_options options = {.tls_authority = authority};
    client_open(&client, address, &options);
    WAIT_UNTIL(&client, has_problem(&client, "not signed by an authority"));
    client_close(&client);
}

TEST_WITH(test_reread__new_pair_for_new_connections, capture, release)
{
    struct pair pair;
    struct reread result = {.error = OK};
    struct probe *probe = start_with_pair(&pair);
    struct client old;
    struct rpc_channel_options options = {.tls_authority = AUTHORITY};
    client_open(&old, probe_address(probe), &options);
    client_expect_service(&old);

    pair_write(&pair, FILE_OF("other_server.pem"), FILE_OF("other_server.key"), 0600);
    client_expect_service_at(probe_address(probe), AUTHORITY); /* files alone change nothing */
    probe_do(probe, reread, &result);
    assert_int_equal(result.error, OK);
    client_expect_service_at(probe_address(probe), OTHER_AUTHORITY);
    expect_no_trust(probe_address(probe), AUTHORITY);
    client_expect_service(&old);
    assert_int_equal(old.connected, 1);
    assert_int_equal(old.disconnected, 0);

    client_close(&old);
    probe_stop(probe);
    pair_remove(&pair);
}

TEST_WITH(test_reread__bad_pair_is_refused, capture, release)
{
    struct pair pair;
    struct reread result = {.error = OK};
    struct probe *probe = start_with_pair(&pair);
    pair_write(&pair, FILE_OF("other_server.pem"), KEY, 0600);
    probe_do(probe, reread, &result);
    assert_int_equal(result.error, ERROR_MISMATCH);
    assert_non_null(strstr(result.why.text, "does not belong"));
    client_expect_service_at(probe_address(probe), AUTHORITY);
    pair_remove(&pair);
    probe_do(probe, reread, &result);
    assert_int_equal(result.error, ERROR_NOT_FOUND);
    client_expect_service_at(probe_address(probe), AUTHORITY);
    probe_stop(probe);
}

TEST_WITH(test_reread__server_without_tls, capture, release)
{
    struct reread result = {.error = ERROR_INTERNAL};
    struct probe *probe = probe_start(NULL);
    probe_do(probe, reread, &result);
    assert_int_equal(result.error, OK);
    probe_stop(probe);
}

/* A part of a message may be as long as a header, and begin with any byte. */
TEST_WITH(test_other_program__not_in_the_middle, capture, release)
{
    struct probe *probe = probe_start(NULL);
    struct sp_peer peer = probe_open_peer(probe);
    assert_true(sp_send(&peer, 0x80000001u, "abcd", 4)); /* eight bytes with the id */
    assert_true(sp_wait_closed(&peer, PATIENCE_MS));
    sp_close(&peer);
    probe_stop(probe);
    assert_true(has_said("peer_kicked"));
    assert_false(has_said("connection_failed"));
}

static struct handshake_failure failure_of(uint32_t host, enum handshake_problem problem)
{
    struct handshake_failure failure = {.problem = problem};
    struct sockaddr_in *peer = (struct sockaddr_in *)&failure.peer;
    peer->sin_family = AF_INET;
    peer->sin_addr.s_addr = htonl(0xC0000200u + host);
    return failure;
}

TEST_WITH(test_log__one_line_for_a_host_and_reason, capture, release)
{
    const struct handshake_failure plain = failure_of(7, HANDSHAKE_PEER_IS_PLAIN);
    const struct handshake_failure expired = failure_of(7, HANDSHAKE_EXPIRED);
    const struct handshake_failure other = failure_of(8, HANDSHAKE_PEER_IS_PLAIN);
    for (unsigned i = 0; i < 1000; i++)
        handshake_log(2625, &plain);
    assert_int_equal(count_said("peer=192.0.2.7 port=2625 "), 1);
    assert_int_equal(count_said("connection_failed"), 1);
    handshake_log(2625, &expired);
    handshake_log(2625, &other);
    assert_int_equal(count_said("connection_failed"), 3);
}
