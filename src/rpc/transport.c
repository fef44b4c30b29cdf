/* SPDX-License-Identifier: MIT */
#include "rpc/transport.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define RESOLVER_ERRORS 1000
#define BURST_MESSAGES 256

/* nng adds NNG_ESYSERR to errno, and also to the results of getaddrinfo, which are negative. */
static bool is_resolver_error(int nng_result)
{
    return nng_result < NNG_ESYSERR && nng_result > NNG_ESYSERR - RESOLVER_ERRORS;
}

enum error transport_error(int nng_result)
{
    switch (nng_result) {
    case 0:
        return OK;
    case NNG_ENOMEM:
        return ERROR_NO_MEMORY;
    case NNG_EINVAL:
    case NNG_EADDRINVAL:
    case NNG_ENOTSUP:
        return ERROR_INVALID;
    case NNG_EMSGSIZE:
        return ERROR_TOO_LARGE;
    case NNG_ENOENT:
    case NNG_EUNREACHABLE:
        return ERROR_NOT_FOUND;
    case NNG_ENOFILES:
    case NNG_EAGAIN:
        return ERROR_FULL;
    case NNG_ETIMEDOUT:
        return ERROR_TIMEOUT;
    case NNG_ECANCELED:
    case NNG_EINTR:
        return ERROR_CANCELLED;
    case NNG_ECLOSED:
    case NNG_ECONNSHUT:
    case NNG_ECONNRESET:
    case NNG_ECONNABORTED:
        return ERROR_CLOSED;
    case NNG_ECONNREFUSED:
        return ERROR_REFUSED;
    case NNG_EPERM:
    case NNG_EPEERAUTH:
    case NNG_ECRYPTO:
    case NNG_ENOARG:
        return ERROR_DENIED;
    case NNG_EADDRINUSE:
    case NNG_EBUSY:
        return ERROR_IN_USE;
    case NNG_ENOSPC:
        return ERROR_DISK_FULL;
    case NNG_EPROTO:
        return ERROR_VERSION;
    default:
        if (is_resolver_error(nng_result))
            return ERROR_NOT_FOUND;
        return nng_result >= NNG_ESYSERR ? error_from_errno(nng_result - NNG_ESYSERR)
                                         : ERROR_INTERNAL;
    }
}

const char *transport_problem(int nng_result)
{
    if (is_resolver_error(nng_result))
        return gai_strerror(nng_result - NNG_ESYSERR);
    if (nng_result >= NNG_ESYSERR && nng_result < NNG_ETRANERR)
        return strerror(nng_result - NNG_ESYSERR);
    return nng_strerror(nng_result);
}

/* How a listener for both families sees an IPv4 peer (RFC 4291, section 2.5.5.2). */
static const uint8_t ipv4_in_ipv6[12] = {[10] = 0xff, [11] = 0xff};

static void write_address(nng_pipe pipe, const char *which, char *text, size_t size)
{
    nng_sockaddr address;
    char host[INET6_ADDRSTRLEN] = "?";
    (void)snprintf(text, size, "?");
    if (nng_pipe_get_addr(pipe, which, &address) != 0)
        return;
    if (address.s_family == NNG_AF_INET) {
        (void)inet_ntop(AF_INET, &address.s_in.sa_addr, host, sizeof host);
        (void)snprintf(text, size, "%s:%u", host, (unsigned)ntohs(address.s_in.sa_port));
    } else if (address.s_family == NNG_AF_INET6) {
        const uint8_t *bytes = address.s_in6.sa_addr;
        unsigned port = ntohs(address.s_in6.sa_port);
        if (memcmp(bytes, ipv4_in_ipv6, sizeof ipv4_in_ipv6) == 0) {
            (void)inet_ntop(AF_INET, bytes + sizeof ipv4_in_ipv6, host, sizeof host);
            (void)snprintf(text, size, "%s:%u", host, port);
            return;
        }
        (void)inet_ntop(AF_INET6, bytes, host, sizeof host);
        (void)snprintf(text, size, "[%s]:%u", host, port);
    }
}

void transport_peer_text(nng_pipe pipe, char *text, size_t size)
{
    write_address(pipe, NNG_OPT_REMADDR, text, size);
}

void transport_own_text(nng_pipe pipe, char *text, size_t size)
{
    write_address(pipe, NNG_OPT_LOCADDR, text, size);
}

enum error transport_explain_listen(int nng_result, const char *address, struct error_text *why)
{
    enum error error = transport_error(nng_result);
    if (is_resolver_error(nng_result))
        return error_set(why, error,
                         "cannot listen on %s: %s; name an address that this machine has (it may "
                         "have only IPv6, [::]:PORT, or only IPv4, 0.0.0.0:PORT)",
                         address, transport_problem(nng_result));
    switch (error) {
    case ERROR_IN_USE:
        return error_set(why, error,
                         "%s is in use by another process: stop it, or choose another port",
                         address);
    case ERROR_DENIED:
        return error_set(
            why, error, "not permitted to listen on %s: ports below 1024 need privileges", address);
    case ERROR_INVALID:
    case ERROR_NOT_FOUND:
        return error_set(why, error, "cannot listen on %s: this machine has no such address",
                         address);
    default:
        return error_set(why, error, "cannot listen on %s: %s", address,
                         transport_problem(nng_result));
    }
}

size_t transport_listen_hosts(const struct address *address, const char *hosts[LISTEN_HOSTS_MAX])
{
    if (address->host[0] != '\0') {
        hosts[0] = address->host;
        return 1;
    }
    hosts[0] = "::";
    hosts[1] = "0.0.0.0";
    return 2;
}

static bool ipv6_leaves_ipv4_out(void)
{
    char digit = '0';
    int file = open("/proc/sys/net/ipv6/bindv6only", O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return false;
    ssize_t size = read(file, &digit, 1);
    (void)close(file);
    return size == 1 && digit == '1';
}

bool transport_listen_goes_on(enum error error)
{
    if (error == OK)
        return ipv6_leaves_ipv4_out();
    return error != ERROR_IN_USE && error != ERROR_DENIED;
}

uint16_t transport_bound_port(nng_listener listener, uint16_t port)
{
    nng_sockaddr address;
    if (nng_listener_get_addr(listener, NNG_OPT_LOCADDR, &address) != 0)
        return port;
    if (address.s_family == NNG_AF_INET)
        return ntohs(address.s_in.sa_port);
    return address.s_family == NNG_AF_INET6 ? ntohs(address.s_in6.sa_port) : port;
}

bool transport_start_thread(void *(*run)(void *), void *argument)
{
    pthread_t thread;
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int result = pthread_create(&thread, NULL, run, argument);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (result == 0)
        (void)pthread_detach(thread);
    return result == 0;
}

bool transport_send(nng_socket socket, nng_aio *aio, nng_msg *message)
{
    nng_aio_set_msg(aio, message);
    nng_send_aio(socket, aio);
    nng_aio_wait(aio);
    if (nng_aio_result(aio) == 0)
        return true;
    nng_msg_free(message); /* still ours */
    return false;
}

static void on_message(void *argument)
{
    struct receiver *receiver = argument;
    if (nng_aio_result(receiver->aio) != 0)
        return; /* stopped; no other event ends a wait without time limit */
    receiver->take(receiver->context, nng_aio_get_msg(receiver->aio));
    for (int i = 0; i < BURST_MESSAGES; i++) {
        nng_recv_aio(receiver->socket, receiver->poll_aio);
        nng_aio_wait(receiver->poll_aio);
        if (nng_aio_result(receiver->poll_aio) != 0)
            break;
        receiver->take(receiver->context, nng_aio_get_msg(receiver->poll_aio));
    }
    nng_recv_aio(receiver->socket, receiver->aio);
}

enum error transport_receiver_start(struct receiver *receiver, nng_socket socket,
                                    void (*take)(void *context, nng_msg *message), void *context)
{
    receiver->socket = socket;
    receiver->take = take;
    receiver->context = context;
    int result = nng_aio_alloc(&receiver->aio, on_message, receiver);
    if (result == 0)
        result = nng_aio_alloc(&receiver->poll_aio, NULL, NULL);
    if (result != 0)
        return transport_error(result); /* transport_receiver_release frees what there is */
    nng_aio_set_timeout(receiver->poll_aio, NNG_DURATION_ZERO);
    nng_recv_aio(socket, receiver->aio);
    return OK;
}

void transport_receiver_release(struct receiver *receiver)
{
    if (receiver->aio != NULL) {
        nng_aio_stop(receiver->aio);
        nng_aio_free(receiver->aio);
    }
    if (receiver->poll_aio != NULL)
        nng_aio_free(receiver->poll_aio);
    receiver->aio = NULL;
    receiver->poll_aio = NULL;
}
