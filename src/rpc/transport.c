/* SPDX-License-Identifier: MIT */
#include "rpc/transport.h"

#include <arpa/inet.h>
#include <stdio.h>

#define BURST_MESSAGES 256

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
        return nng_result >= NNG_ESYSERR ? ERROR_IO : ERROR_INTERNAL;
    }
}

void transport_peer_text(nng_pipe pipe, char *text, size_t size)
{
    nng_sockaddr address;
    char host[INET6_ADDRSTRLEN] = "?";
    (void)snprintf(text, size, "?");
    if (nng_pipe_get_addr(pipe, NNG_OPT_REMADDR, &address) != 0)
        return;
    if (address.s_family == NNG_AF_INET) {
        (void)inet_ntop(AF_INET, &address.s_in.sa_addr, host, sizeof host);
        (void)snprintf(text, size, "%s:%u", host, (unsigned)ntohs(address.s_in.sa_port));
    } else if (address.s_family == NNG_AF_INET6) {
        (void)inet_ntop(AF_INET6, &address.s_in6.sa_addr, host, sizeof host);
        (void)snprintf(text, size, "[%s]:%u", host, (unsigned)ntohs(address.s_in6.sa_port));
    }
}

static void on_message(void *argument)
{
    struct receiver *receiver = argument;
    if (nng_aio_result(receiver->aio) != 0)
        return; /* stopped; nothing else ends a wait without time limit */
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

enum error receiver_start(struct receiver *receiver, nng_socket socket,
                          void (*take)(void *context, nng_msg *message), void *context)
{
    receiver->socket = socket;
    receiver->take = take;
    receiver->context = context;
    int result = nng_aio_alloc(&receiver->aio, on_message, receiver);
    if (result == 0)
        result = nng_aio_alloc(&receiver->poll_aio, NULL, NULL);
    if (result != 0)
        return transport_error(result); /* receiver_release frees what there is */
    nng_aio_set_timeout(receiver->poll_aio, NNG_DURATION_ZERO);
    nng_recv_aio(socket, receiver->aio);
    return OK;
}

void receiver_release(struct receiver *receiver)
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
