/* SPDX-License-Identifier: MIT */
#include "rpc/tls_engine.h"

#include <mbedtls/net_sockets.h>
#include <netinet/in.h>
#include <nng/supplemental/tls/engine.h>
#include <poll.h>
#include <psa/crypto.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define RECORD_TYPE_MIN 0x14 /* source: RFC 8446, section 5.1 */
#define RECORD_TYPE_MAX 0x17
#define ALERT_RECORD_BYTES 7 /* of an alert that is not encrypted */

struct tls_endpoint {
    atomic_size_t references; /* the owner's and one for each of nng's configurations */
    pthread_mutex_t mutex;    /* protects all below */
    struct tls_credentials *credentials;
    char *server_name;
    handshake_failed *failed; /* NULL: no listener, or closed */
    void *context;
};

/* ---- credentials ---- */

int tls_random(void *ignored, unsigned char *bytes, size_t size)
{
    (void)ignored;
    while (size > 0) {
        ssize_t got = getrandom(bytes, size, 0);
        if (got < 0)
            continue; /* a signal */
        bytes += got;
        size -= (size_t)got;
    }
    return 0;
}

struct tls_credentials *tls_credentials_new(bool is_server)
{
    struct tls_credentials *credentials = calloc(1, sizeof *credentials);
    if (credentials == NULL)
        return NULL;
    atomic_init(&credentials->references, 1);
    credentials->is_server = is_server;
    mbedtls_ssl_config_init(&credentials->config);
    mbedtls_x509_crt_init(&credentials->certificates);
    mbedtls_pk_init(&credentials->key);
    return credentials;
}

enum error tls_credentials_seal(struct tls_credentials *credentials)
{
    mbedtls_ssl_config *config = &credentials->config;
    int result = psa_crypto_init() == PSA_SUCCESS ? 0 : MBEDTLS_ERR_SSL_HW_ACCEL_FAILED;
    if (result == 0)
        result = mbedtls_ssl_config_defaults(
            config, credentials->is_server ? MBEDTLS_SSL_IS_SERVER : MBEDTLS_SSL_IS_CLIENT,
            MBEDTLS_SSL_TRANSPORT_STREAM, MBEDTLS_SSL_PRESET_DEFAULT);
    if (result != 0)
        return ERROR_INTERNAL;
    mbedtls_ssl_conf_min_tls_version(config, MBEDTLS_SSL_VERSION_TLS1_3);
    mbedtls_ssl_conf_max_tls_version(config, MBEDTLS_SSL_VERSION_TLS1_3);
    mbedtls_ssl_conf_rng(config, tls_random, NULL);
    if (!credentials->is_server) {
        mbedtls_ssl_conf_authmode(config, MBEDTLS_SSL_VERIFY_REQUIRED);
        mbedtls_ssl_conf_ca_chain(config, &credentials->certificates, NULL);
        return OK;
    }
    mbedtls_ssl_conf_authmode(config, MBEDTLS_SSL_VERIFY_NONE);
    result = mbedtls_ssl_conf_own_cert(config, &credentials->certificates, &credentials->key);
    return result == 0 ? OK : ERROR_NO_MEMORY;
}

static struct tls_credentials *hold(struct tls_credentials *credentials)
{
    (void)atomic_fetch_add(&credentials->references, 1);
    return credentials;
}

void tls_credentials_drop(struct tls_credentials *credentials)
{
    if (credentials == NULL || atomic_fetch_sub(&credentials->references, 1) != 1)
        return;
    mbedtls_ssl_config_free(&credentials->config);
    mbedtls_x509_crt_free(&credentials->certificates);
    mbedtls_pk_free(&credentials->key);
    free(credentials);
}

/* ---- endpoints ---- */

static void release(struct tls_endpoint *endpoint)
{
    if (atomic_fetch_sub(&endpoint->references, 1) != 1)
        return;
    tls_credentials_drop(endpoint->credentials);
    (void)pthread_mutex_destroy(&endpoint->mutex);
    free(endpoint->server_name);
    free(endpoint);
}

enum error tls_endpoint_new(struct tls_endpoint **out, struct tls_credentials *credentials,
                            const char *server_name, handshake_failed *failed, void *context)
{
    struct tls_endpoint *endpoint = calloc(1, sizeof *endpoint);
    char *name = server_name == NULL ? NULL : strdup(server_name);
    if (endpoint == NULL || (server_name != NULL && name == NULL)) {
        free(name);
        free(endpoint);
        tls_credentials_drop(credentials);
        return ERROR_NO_MEMORY;
    }
    atomic_init(&endpoint->references, 1);
    (void)pthread_mutex_init(&endpoint->mutex, NULL);
    endpoint->credentials = credentials;
    endpoint->server_name = name;
    endpoint->failed = failed;
    endpoint->context = context;
    *out = endpoint;
    return OK;
}

void tls_endpoint_exchange(struct tls_endpoint *endpoint, struct tls_credentials *credentials)
{
    (void)pthread_mutex_lock(&endpoint->mutex);
    struct tls_credentials *old = endpoint->credentials;
    endpoint->credentials = credentials;
    (void)pthread_mutex_unlock(&endpoint->mutex);
    tls_credentials_drop(old);
}

void tls_endpoint_close(struct tls_endpoint *endpoint)
{
    if (endpoint == NULL)
        return;
    (void)pthread_mutex_lock(&endpoint->mutex);
    endpoint->failed = NULL;
    (void)pthread_mutex_unlock(&endpoint->mutex);
    release(endpoint);
}

static struct tls_credentials *current_credentials(struct tls_endpoint *endpoint)
{
    (void)pthread_mutex_lock(&endpoint->mutex);
    struct tls_credentials *credentials = hold(endpoint->credentials);
    (void)pthread_mutex_unlock(&endpoint->mutex);
    return credentials;
}

static void tell(struct tls_endpoint *endpoint, const struct handshake_failure *failure)
{
    (void)pthread_mutex_lock(&endpoint->mutex);
    if (endpoint->failed != NULL)
        endpoint->failed(endpoint->context, failure);
    (void)pthread_mutex_unlock(&endpoint->mutex);
}

/* ---- nng's configurations ---- */

/* nng makes one for each listener and dialler, without an endpoint; tls_endpoint_configure makes
 * the one that replaces it. */
struct nng_tls_engine_config {
    struct tls_endpoint *endpoint;
};

/* The endpoint for which tls_endpoint_configure, on the same thread, makes a configuration. */
static _Thread_local struct tls_endpoint *configured;

static int config_init(nng_tls_engine_config *config, nng_tls_mode mode)
{
    (void)mode;
    config->endpoint = configured;
    if (configured != NULL)
        (void)atomic_fetch_add(&configured->references, 1);
    return 0;
}

static void config_release(nng_tls_engine_config *config)
{
    if (config->endpoint != NULL)
        release(config->endpoint);
}

/* nng sets these by itself; the endpoint decides both. */
static int config_set_name(nng_tls_engine_config *config, const char *name)
{
    (void)config;
    (void)name;
    return 0;
}

static int config_set_mode(nng_tls_engine_config *config, nng_tls_auth_mode mode)
{
    (void)config;
    (void)mode;
    return 0;
}

static int config_set_authorities(nng_tls_engine_config *config, const char *certificates,
                                  const char *revoked)
{
    (void)config;
    (void)certificates;
    (void)revoked;
    return NNG_ENOTSUP;
}

static int config_set_certificate(nng_tls_engine_config *config, const char *certificate,
                                  const char *key, const char *password)
{
    (void)config;
    (void)certificate;
    (void)key;
    (void)password;
    return NNG_ENOTSUP;
}

static int config_set_shared_key(nng_tls_engine_config *config, const char *identity,
                                 const uint8_t *key, size_t size)
{
    (void)config;
    (void)identity;
    (void)key;
    (void)size;
    return NNG_ENOTSUP;
}

static int config_set_version(nng_tls_engine_config *config, nng_tls_version min,
                              nng_tls_version max)
{
    (void)config;
    (void)min;
    (void)max;
    return NNG_ENOTSUP;
}

/* ---- connections; nng holds the connection's lock ---- */

struct nng_tls_engine_conn {
    void *stream;                        /* nng's */
    int descriptor;                      /* of its TCP connection; -1: not known */
    size_t received;                     /* bytes within TLS, counted up to SP_HEADER_BYTES */
    struct tls_endpoint *endpoint;       /* the configuration's, which outlives the connection */
    struct tls_credentials *credentials; /* NULL: not begun */
    mbedtls_ssl_context tls;
    bool has_received;
    unsigned char latest[ALERT_RECORD_BYTES]; /* bytes received until the handshake is done */
    struct handshake_failure failure;
};

static int send_bytes(void *context, const unsigned char *bytes, size_t size)
{
    nng_tls_engine_conn *conn = context;
    switch (nng_tls_engine_send(conn->stream, bytes, &size)) {
    case 0:
        return (int)size;
    case NNG_EAGAIN:
        return MBEDTLS_ERR_SSL_WANT_WRITE;
    default:
        return MBEDTLS_ERR_NET_SEND_FAILED;
    }
}

/* A peer without TLS learns from an alert that this end uses it. nng's TCP transport reads 8 bytes
 * before it looks at them, hence two alerts. */
static void send_alerts(nng_tls_engine_conn *conn)
{
    static const unsigned char alerts[] = {0x15, 3, 3, 0, 2, 2, 10, 0x15, 3, 3, 0, 2, 2, 10};
    size_t size = sizeof alerts;
    (void)nng_tls_engine_send(conn->stream, alerts, &size);
}

/* The first byte distinguishes TLS from other protocols. */
static bool begins_as_tls(nng_tls_engine_conn *conn, const unsigned char *bytes, size_t size)
{
    if (bytes[0] >= RECORD_TYPE_MIN && bytes[0] <= RECORD_TYPE_MAX)
        return true;
    bool is_plain = bytes[0] == 0 && (size == 1 || bytes[1] == 'S');
    conn->failure.problem = is_plain ? HANDSHAKE_PEER_IS_PLAIN : HANDSHAKE_OTHER_PROGRAM;
    if (conn->credentials->is_server)
        send_alerts(conn);
    return false;
}

static void keep_latest(nng_tls_engine_conn *conn, const unsigned char *bytes, size_t size)
{
    if (size > ALERT_RECORD_BYTES) {
        bytes += size - ALERT_RECORD_BYTES;
        size = ALERT_RECORD_BYTES;
    }
    memmove(conn->latest, conn->latest + size, ALERT_RECORD_BYTES - size);
    memcpy(conn->latest + ALERT_RECORD_BYTES - size, bytes, size);
}

static int receive_bytes(void *context, unsigned char *bytes, size_t size)
{
    nng_tls_engine_conn *conn = context;
    (void)handshake_take_descriptor();
    int result = nng_tls_engine_recv(conn->stream, bytes, &size);
    if (conn->descriptor < 0)
        conn->descriptor = handshake_take_descriptor(); /* nng may have begun to read more */
    switch (result) {
    case 0:
        break;
    case NNG_EAGAIN:
        return MBEDTLS_ERR_SSL_WANT_READ;
    default:
        return MBEDTLS_ERR_NET_RECV_FAILED;
    }
    if (!conn->has_received && size > 0) {
        conn->has_received = true;
        if (!begins_as_tls(conn, bytes, size))
            return MBEDTLS_ERR_NET_RECV_FAILED;
    }
    if (!mbedtls_ssl_is_handshake_over(&conn->tls))
        keep_latest(conn, bytes, size);
    return (int)size;
}

/* nng passes its stream to an engine as a connection. */
static void note_peer(nng_tls_engine_conn *conn)
{
    nng_sockaddr address;
    conn->failure.peer.ss_family = AF_UNSPEC;
    if (nng_stream_get_addr(conn->stream, NNG_OPT_REMADDR, &address) != 0)
        return;
    if (address.s_family == NNG_AF_INET) {
        struct sockaddr_in *peer = (struct sockaddr_in *)&conn->failure.peer;
        peer->sin_family = AF_INET;
        peer->sin_port = address.s_in.sa_port;
        memcpy(&peer->sin_addr, &address.s_in.sa_addr, sizeof peer->sin_addr);
    } else if (address.s_family == NNG_AF_INET6) {
        struct sockaddr_in6 *peer = (struct sockaddr_in6 *)&conn->failure.peer;
        peer->sin6_family = AF_INET6;
        peer->sin6_port = address.s_in6.sa_port;
        memcpy(&peer->sin6_addr, address.s_in6.sa_addr, sizeof peer->sin6_addr);
    }
}

static int conn_init(nng_tls_engine_conn *conn, void *stream, nng_tls_engine_config *config)
{
    if (config->endpoint == NULL)
        return NNG_ENOTSUP;
    conn->stream = stream;
    conn->descriptor = -1;
    conn->received = 0;
    conn->endpoint = config->endpoint;
    conn->credentials = current_credentials(conn->endpoint);
    note_peer(conn);
    mbedtls_ssl_init(&conn->tls);
    mbedtls_ssl_set_bio(&conn->tls, conn, send_bytes, receive_bytes, NULL);
    int result = mbedtls_ssl_setup(&conn->tls, &conn->credentials->config);
    if (result == 0 && conn->endpoint->server_name != NULL)
        result = mbedtls_ssl_set_hostname(&conn->tls, conn->endpoint->server_name);
    return result == 0 ? 0 : NNG_ENOMEM;
}

/* nng calls this also for a connection that has not begun, and is all zeros. */
static void conn_release(nng_tls_engine_conn *conn)
{
    if (conn->credentials == NULL)
        return;
    mbedtls_ssl_free(&conn->tls);
    tls_credentials_drop(conn->credentials);
}

static void conn_close(nng_tls_engine_conn *conn)
{
    if (conn->credentials != NULL)
        (void)mbedtls_ssl_close_notify(&conn->tls);
}

static enum handshake_problem of_verification(uint32_t flags)
{
    if ((flags & MBEDTLS_X509_BADCERT_NOT_TRUSTED) != 0)
        return HANDSHAKE_OTHER_AUTHORITY;
    if ((flags & MBEDTLS_X509_BADCERT_CN_MISMATCH) != 0)
        return HANDSHAKE_OTHER_HOST;
    if ((flags & MBEDTLS_X509_BADCERT_EXPIRED) != 0)
        return HANDSHAKE_EXPIRED;
    return (flags & MBEDTLS_X509_BADCERT_FUTURE) != 0 ? HANDSHAKE_NOT_YET_VALID
                                                      : HANDSHAKE_TLS_FAILED;
}

/* Which alert a client sends for which fault is Mbed TLS's choice. */
static enum handshake_problem of_alert(const nng_tls_engine_conn *conn, unsigned char alert)
{
    if (alert == MBEDTLS_SSL_ALERT_MSG_PROTOCOL_VERSION)
        return HANDSHAKE_NO_COMMON_VERSION;
    if (!conn->credentials->is_server)
        return HANDSHAKE_TLS_FAILED;
    switch (alert) {
    case MBEDTLS_SSL_ALERT_MSG_UNKNOWN_CA:
        return HANDSHAKE_OTHER_AUTHORITY;
    case MBEDTLS_SSL_ALERT_MSG_BAD_CERT:
        return HANDSHAKE_OTHER_HOST;
    case MBEDTLS_SSL_ALERT_MSG_CERT_EXPIRED:
        return HANDSHAKE_EXPIRED;
    case MBEDTLS_SSL_ALERT_MSG_CERT_UNKNOWN:
        return HANDSHAKE_NOT_YET_VALID;
    default:
        return HANDSHAKE_TLS_FAILED;
    }
}

/* If a client of Mbed TLS refuses the certificate, it sends the alert unencrypted, and the server
 * takes the alert for a damaged record. */
static bool latest_is_alert(const nng_tls_engine_conn *conn)
{
    static const unsigned char head[] = {0x15, 3, 3, 0, 2, MBEDTLS_SSL_ALERT_LEVEL_FATAL};
    return memcmp(conn->latest, head, sizeof head) == 0;
}

static enum handshake_problem problem_of(const nng_tls_engine_conn *conn, int error)
{
    switch (error) {
    case MBEDTLS_ERR_X509_CERT_VERIFY_FAILED:
        return of_verification(mbedtls_ssl_get_verify_result(&conn->tls));
    case MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE:
        return of_alert(conn, conn->tls.MBEDTLS_PRIVATE(in_msg)[1]);
    case MBEDTLS_ERR_SSL_BAD_PROTOCOL_VERSION:
        return HANDSHAKE_NO_COMMON_VERSION;
    default:
        return latest_is_alert(conn) ? of_alert(conn, conn->latest[ALERT_RECORD_BYTES - 1])
                                     : HANDSHAKE_TLS_FAILED;
    }
}

/* NNG_EPEERAUTH makes a listener go on at once; after any other error nng accepts nothing for
 * 100 ms. */
static int conn_handshake(nng_tls_engine_conn *conn)
{
    int error = mbedtls_ssl_handshake(&conn->tls);
    if (error == 0)
        return 0;
    if (error == MBEDTLS_ERR_SSL_WANT_READ || error == MBEDTLS_ERR_SSL_WANT_WRITE)
        return NNG_EAGAIN;
    if (conn->failure.problem == HANDSHAKE_OK)
        conn->failure.problem = problem_of(conn, error);
    conn->failure.tls_error = error;
    tell(conn->endpoint, &conn->failure);
    return NNG_EPEERAUTH;
}

static int result_of(int size_or_error, size_t *size)
{
    if (size_or_error > 0) {
        *size = (size_t)size_or_error;
        return 0;
    }
    switch (size_or_error) {
    case MBEDTLS_ERR_SSL_WANT_READ:
    case MBEDTLS_ERR_SSL_WANT_WRITE:
        return NNG_EAGAIN;
    case MBEDTLS_ERR_SSL_ALLOC_FAILED:
        return NNG_ENOMEM;
    default:
        return NNG_ECONNSHUT; /* 0 and PEER_CLOSE_NOTIFY: the peer has ended; other results end it, too */
    }
}

/* nng reads ahead. If it reads the end of the connection while no operation waits for bytes, it shuts
 * the connection down and tells nobody. During the handshake of SP nothing else would find that out: not
 * even nng's time limit ends the receive. Later the error could meet a send in nng's race
 * (connections.h), so peer.c looks for it. */
static bool has_ended_early(const nng_tls_engine_conn *conn)
{
    struct pollfd item = {.fd = conn->descriptor};
    return conn->received < SP_HEADER_BYTES && poll(&item, 1, 0) == 1 &&
           (item.revents & POLLHUP) != 0;
}

static int conn_receive(nng_tls_engine_conn *conn, uint8_t *bytes, size_t *size)
{
    int result;
    do
        result = mbedtls_ssl_read(&conn->tls, bytes, *size);
    while (result == MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET); /* not used here */
    if (result > 0 && conn->received < SP_HEADER_BYTES)
        conn->received += (size_t)result;
    result = result_of(result, size);
    return result == NNG_EAGAIN && has_ended_early(conn) ? NNG_ECONNSHUT : result;
}

static int conn_send(nng_tls_engine_conn *conn, const uint8_t *bytes, size_t *size)
{
    return result_of(mbedtls_ssl_write(&conn->tls, bytes, *size), size);
}

static bool conn_is_verified(nng_tls_engine_conn *conn)
{
    return mbedtls_ssl_get_verify_result(&conn->tls) == 0;
}

/* No code of Jackdaw calls these functions. */
static char *conn_peer_name(nng_tls_engine_conn *conn)
{
    (void)conn;
    return NULL;
}

static char **conn_peer_names(nng_tls_engine_conn *conn)
{
    (void)conn;
    return NULL;
}

/* ---- registering ---- */

static nng_tls_engine_config_ops config_ops = {
    .size = sizeof(nng_tls_engine_config),
    .init = config_init,
    .fini = config_release,
    .server = config_set_name,
    .auth = config_set_mode,
    .ca_chain = config_set_authorities,
    .own_cert = config_set_certificate,
    .psk = config_set_shared_key,
    .version = config_set_version,
};

static nng_tls_engine_conn_ops conn_ops = {
    .size = sizeof(nng_tls_engine_conn),
    .init = conn_init,
    .fini = conn_release,
    .close = conn_close,
    .handshake = conn_handshake,
    .recv = conn_receive,
    .send = conn_send,
    .verified = conn_is_verified,
    .peer_cn = conn_peer_name,
    .peer_alt_names = conn_peer_names,
};

static const nng_tls_engine engine = {
    .version = NNG_TLS_ENGINE_VERSION,
    .config_ops = &config_ops,
    .conn_ops = &conn_ops,
    .name = "jackdaw",
    .description = "Mbed TLS, TLS 1.3 only",
};

static pthread_once_t registered = PTHREAD_ONCE_INIT;
static int register_result;

static void register_engine(void)
{
    (void)nng_tls_engine_name(); /* starts nng, which registers its own engine first */
    register_result = nng_tls_engine_register(&engine);
}

int tls_endpoint_configure(struct tls_endpoint *endpoint, nng_tls_config **out)
{
    (void)pthread_once(&registered, register_engine);
    if (register_result != 0)
        return register_result;
    configured = endpoint;
    int result = nng_tls_config_alloc(out, endpoint->server_name == NULL ? NNG_TLS_MODE_SERVER
                                                                         : NNG_TLS_MODE_CLIENT);
    configured = NULL;
    return result;
}
