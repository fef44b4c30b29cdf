/* SPDX-License-Identifier: MIT */
/* child_server.h - servers of this program in child processes, which show what a transport allows with nothing
 * behind it. One thread. */
#ifndef JACKDAW_BENCH_CHILD_SERVER_H
#define JACKDAW_BENCH_CHILD_SERVER_H

#include "base/address.h"
#include "base/error.h"

#include <nng/nng.h>
#include <sys/types.h>

struct child_server {
    pid_t id;
    struct address address;
};

/* Forks; the child runs serve, which calls child_server_tell_port with port_pipe when it listens and does
 * not return. ERROR_INTERNAL: the child ended without that. The caller ends it with
 * child_server_stop; the kernel does if the caller dies. */
enum error child_server_start(struct child_server *server, void (*serve)(int port_pipe),
                              struct error_text *why);
void child_server_stop(const struct child_server *server);

/* In the child: tells the parent a port of 127.0.0.1. Ends the child if the parent has gone. */
void child_server_tell_port(int port_pipe, uint16_t port);

/* In the child: opens a raw REP socket with the server's numbers of threads. Ends the child on errors. */
nng_socket child_server_open_nng(int buffered_messages);
/* Listens on a free port and tells it to the parent; does not return. */
_Noreturn void child_server_run_nng(nng_socket socket, int port_pipe);

#endif
