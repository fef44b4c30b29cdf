/* SPDX-License-Identifier: MIT */
#include "child_server.h"

#include "rpc/protocol.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <nng/protocol/reqrep0/rep.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

void child_server_stop(const struct child_server *server)
{
    (void)kill(server->id, SIGKILL);
    (void)waitpid(server->id, NULL, 0);
}

enum error child_server_start(struct child_server *server, void (*serve)(int port_pipe),
                              struct error_text *why)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return error_set(why, error_from_errno(errno), "pipe: %s", strerror(errno));
    *server = (struct child_server){.address.host = "127.0.0.1"};
    (void)fflush(NULL);
    server->id = fork();
    if (server->id == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)setpgid(0, 0); /* Ctrl-C is for the parent */
        serve(ends[1]);
        _exit(0);
    }
    (void)close(ends[1]);
    bool started = server->id > 0 && read(ends[0], &server->address.port, sizeof(uint16_t)) ==
                                         (ssize_t)sizeof(uint16_t);
    (void)close(ends[0]);
    if (started)
        return OK;
    if (server->id > 0)
        child_server_stop(server);
    return error_set(why, ERROR_INTERNAL, "the child's server did not start");
}

void child_server_tell_port(int port_pipe, uint16_t port)
{
    if (write(port_pipe, &port, sizeof port) != (ssize_t)sizeof port)
        _exit(1);
}

nng_socket child_server_open_nng(int buffered_messages)
{
    nng_socket socket;
    rpc_init();
    if (nng_rep0_open_raw(&socket) != 0)
        _exit(1);
    (void)nng_socket_set_int(socket, NNG_OPT_SENDBUF, buffered_messages);
    (void)nng_socket_set_int(socket, NNG_OPT_RECVBUF, buffered_messages);
    return socket;
}

_Noreturn void child_server_run_nng(nng_socket socket, int port_pipe)
{
    nng_listener listener;
    nng_sockaddr address;
    if (nng_listener_create(&listener, socket, "tcp://127.0.0.1:0") != 0 ||
        nng_listener_start(listener, 0) != 0 ||
        nng_listener_get_addr(listener, NNG_OPT_LOCADDR, &address) != 0)
        _exit(1);
    child_server_tell_port(port_pipe, ntohs(address.s_in.sa_port));
    for (;;)
        (void)pause();
}
