/* SPDX-License-Identifier: MIT */
#include "rpc/handshake.h"

#include "base/clock.h"
#include "base/log_pace.h"

#include <arpa/inet.h>
#include <linux/tcp.h>
#include <mbedtls/error.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

#define TLS_ALERT 0x15 /* types of records; source: RFC 8446, section 5.1 */
#define TLS_HANDSHAKE 0x16

/* ---- sentences ---- */

static const char *const dial_texts[HANDSHAKE_PROBLEMS] = {
    [HANDSHAKE_OK] = "",
    [HANDSHAKE_OTHER_AUTHORITY] =
        "its certificate is not signed by an authority in the file that --tls_ca names",
    [HANDSHAKE_OTHER_HOST] = "its certificate is for another host name than the one dialled",
    [HANDSHAKE_EXPIRED] = "its certificate has expired: renew it on the server",
    [HANDSHAKE_NOT_YET_VALID] =
        "its certificate is not valid yet: compare the clocks of this machine and the server's",
    [HANDSHAKE_NO_COMMON_VERSION] = "it does not offer TLS 1.3, the only version used here",
    [HANDSHAKE_PEER_IS_PLAIN] = "it does not use TLS: leave out tls+tcp://",
    [HANDSHAKE_PEER_USES_TLS] = "it uses TLS: put tls+tcp:// before the address",
    [HANDSHAKE_OTHER_PROGRAM] = "another program answers there, not a Jackdaw server",
    [HANDSHAKE_TLS_FAILED] = "the TLS handshake fails",
};

static const char *const accept_texts[HANDSHAKE_PROBLEMS] = {
    [HANDSHAKE_OK] = "",
    [HANDSHAKE_OTHER_AUTHORITY] =
        "the client does not trust the authority of this server's certificate: compare its "
        "--tls_ca with --tls_cert",
    [HANDSHAKE_OTHER_HOST] = "the client refuses this server's certificate: it is for another host "
                             "name than the one that the client dials",
    [HANDSHAKE_EXPIRED] = "the client finds this server's certificate expired: renew it, then send "
                          "SIGHUP",
    [HANDSHAKE_NOT_YET_VALID] = "the client does not accept this server's certificate: it may not "
                                "be valid yet by the client's clock",
    [HANDSHAKE_NO_COMMON_VERSION] = "the client does not offer TLS 1.3, the only version used here",
    [HANDSHAKE_PEER_IS_PLAIN] =
        "the client does not use TLS and this port does: its address needs tls+tcp://",
    [HANDSHAKE_PEER_USES_TLS] =
        "the client uses TLS and this port does not: leave out tls+tcp:// in its address",
    [HANDSHAKE_OTHER_PROGRAM] = "it does not speak Jackdaw's protocol: another program",
    [HANDSHAKE_TLS_FAILED] = "the TLS handshake fails",
};

static void write_text(const struct handshake_failure *failure, const char *sentence,
                       char text[static HANDSHAKE_TEXT_SIZE])
{
    char detail[96];
    (void)snprintf(text, HANDSHAKE_TEXT_SIZE, "%s", sentence);
    if (failure->problem != HANDSHAKE_TLS_FAILED || failure->tls_error == 0)
        return;
    mbedtls_strerror(failure->tls_error, detail, sizeof detail);
    (void)snprintf(text, HANDSHAKE_TEXT_SIZE, "%s (%s)", sentence, detail);
}

void handshake_dial_text(const struct handshake_failure *failure,
                         char text[static HANDSHAKE_TEXT_SIZE])
{
    write_text(failure, dial_texts[failure->problem], text);
}

void handshake_accept_text(const struct handshake_failure *failure,
                           char text[static HANDSHAKE_TEXT_SIZE])
{
    write_text(failure, accept_texts[failure->problem], text);
}

/* ---- plain connections ---- */

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* protects watches */
static struct handshake_watch *watches;

void handshake_watch(struct handshake_watch *watch)
{
    (void)pthread_mutex_lock(&mutex);
    watch->next = watches;
    watches = watch;
    (void)pthread_mutex_unlock(&mutex);
}

void handshake_forget(struct handshake_watch *watch)
{
    (void)pthread_mutex_lock(&mutex);
    for (struct handshake_watch **link = &watches; *link != NULL; link = &(*link)->next) {
        if (*link == watch) {
            *link = watch->next;
            break;
        }
    }
    (void)pthread_mutex_unlock(&mutex);
}

static uint16_t port_of(const struct sockaddr_storage *address)
{
    if (address->ss_family == AF_INET)
        return ntohs(((const struct sockaddr_in *)address)->sin_port);
    if (address->ss_family == AF_INET6)
        return ntohs(((const struct sockaddr_in6 *)address)->sin6_port);
    return 0;
}

/* A listener for both families sees an IPv4 peer as ::ffff:a.b.c.d (RFC 4291, section 2.5.5.2). */
static void host_of(const struct sockaddr_storage *address, char text[static INET6_ADDRSTRLEN])
{
    text[0] = '\0';
    if (address->ss_family == AF_INET) {
        (void)inet_ntop(AF_INET, &((const struct sockaddr_in *)address)->sin_addr, text,
                        INET6_ADDRSTRLEN);
    } else if (address->ss_family == AF_INET6) {
        const struct in6_addr *v6 = &((const struct sockaddr_in6 *)address)->sin6_addr;
        bool is_v4 = IN6_IS_ADDR_V4MAPPED(v6);
        (void)inet_ntop(is_v4 ? AF_INET : AF_INET6, is_v4 ? &v6->s6_addr[12] : v6->s6_addr, text,
                        INET6_ADDRSTRLEN);
    }
}

/* A host name may stand for any address. */
static bool may_be_host(const char *host, const struct sockaddr_storage *address)
{
    struct in_addr v4;
    struct in6_addr v6;
    if (inet_pton(AF_INET, host, &v4) == 1)
        return address->ss_family == AF_INET &&
               memcmp(&v4, &((const struct sockaddr_in *)address)->sin_addr, sizeof v4) == 0;
    if (inet_pton(AF_INET6, host, &v6) == 1)
        return address->ss_family == AF_INET6 &&
               memcmp(&v6, &((const struct sockaddr_in6 *)address)->sin6_addr, sizeof v6) == 0;
    return true;
}

static bool concerns(const struct handshake_watch *watch, const struct sockaddr_storage *local,
                     const struct sockaddr_storage *peer)
{
    if (watch->listens)
        return port_of(local) == watch->address->port;
    return port_of(peer) == watch->address->port && may_be_host(watch->address->host, peer);
}

static void report(int descriptor, const uint8_t *bytes)
{
    struct handshake_failure failure = {.problem = HANDSHAKE_OTHER_PROGRAM};
    struct sockaddr_storage local = {.ss_family = AF_UNSPEC};
    socklen_t peer_size = sizeof failure.peer;
    socklen_t local_size = sizeof local;
    if (getpeername(descriptor, (struct sockaddr *)&failure.peer, &peer_size) != 0 ||
        getsockname(descriptor, (struct sockaddr *)&local, &local_size) != 0)
        return;
    if (bytes[0] == TLS_HANDSHAKE || bytes[0] == TLS_ALERT)
        failure.problem = HANDSHAKE_PEER_USES_TLS;
    (void)pthread_mutex_lock(&mutex);
    for (struct handshake_watch *watch = watches; watch != NULL; watch = watch->next)
        if (concerns(watch, &local, &failure.peer))
            watch->failed(watch->context, &failure);
    (void)pthread_mutex_unlock(&mutex);
}

/* Whether what was read are the first bytes of the connection: a part of a message may be as long as a
 * header. The descriptor is asked for what is unread first, since more may arrive meanwhile. */
static bool is_beginning(int descriptor, size_t size)
{
    int unread = 0;
    struct tcp_info info = {.tcpi_bytes_received = 0};
    socklen_t info_size = sizeof info;
    return ioctl(descriptor, FIONREAD, &unread) == 0 &&
           getsockopt(descriptor, IPPROTO_TCP, TCP_INFO, &info, &info_size) == 0 &&
           info.tcpi_bytes_received <= size + (size_t)unread;
}

static _Thread_local int read_descriptor = -1;

int handshake_take_descriptor(void)
{
    int descriptor = read_descriptor;
    read_descriptor = -1;
    return descriptor;
}

/* nng's TCP transport reads each header, and each length, with one readv of 8 bytes. Both begin
 * with a zero byte. The linker puts this function before the C library's (--wrap=readv), because
 * nng closes a connection that begins otherwise without telling whose it was. nng does not tell a TLS
 * engine the descriptor of its connection, either. With an nng that is a shared library this function
 * is not called. The sentences are then missing, and tls_engine.c does not see ends that nng
 * overlooks during a handshake. */
ssize_t __real_readv(int descriptor, const struct iovec *parts,
                     int count); /* NOLINT: the linker's */
ssize_t __wrap_readv(int descriptor, const struct iovec *parts, int count); /* NOLINT */
ssize_t __wrap_readv(int descriptor, const struct iovec *parts, int count)
{
    ssize_t size = __real_readv(descriptor, parts, count);
    read_descriptor = descriptor;
    if (size > 0 && count == 1 && parts[0].iov_len == SP_HEADER_BYTES &&
        *(const uint8_t *)parts[0].iov_base != 0 && is_beginning(descriptor, (size_t)size))
        report(descriptor, parts[0].iov_base);
    return size;
}

/* ---- the log ---- */

void handshake_log(uint16_t port, const struct handshake_failure *failure)
{
    char host[INET6_ADDRSTRLEN];
    char reason[HANDSHAKE_TEXT_SIZE];
    char key[INET6_ADDRSTRLEN + HANDSHAKE_TEXT_SIZE + 8];
    host_of(&failure->peer, host);
    handshake_accept_text(failure, reason);
    (void)snprintf(key, sizeof key, "%s %u %s", host, (unsigned)port, reason);
    log_warning_paced(key, "rpc", "connection_failed", log_string("peer", host),
                      log_number("port", port), log_string("reason", reason));
}
