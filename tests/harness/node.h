/* SPDX-License-Identifier: MIT */
/* node.h - a server as its own process, which can be killed and started again: same folder, same
 * ports. The first start lets the kernel pick the ports. One thread. */
#ifndef JACKDAW_TESTS_NODE_H
#define JACKDAW_TESTS_NODE_H

#include "base/address.h"
#include "harness/process.h"
#include "harness/sp_peer.h"

#define NODE_OPTIONS_MAX 40
#define NODE_STOP_MS \
    30000 /* a server that is asked to stop does within: less than any timeout of a connection */

/* Set the first members, the others are the node's. */
struct node {
    struct process_group *group;
    unsigned id;
    const char *program;                   /* NULL: the server of this build */
    const char *role;                      /* NULL: "master" */
    const char *data_dir;                  /* NULL: a folder of the stage */
    const char *options[NODE_OPTIONS_MAX]; /* beyond the usual ones; ends with NULL */
    void (*prepare)(void *context);        /* see struct process_options */
    void *context;                         /* for prepare */
    const char *injection;                 /* see node_inject */

    struct process *process; /* the last one started */
    unsigned starts;
    char clients[ADDRESS_TEXT_SIZE]; /* where it listens: known since the first start */
    char internal[ADDRESS_TEXT_SIZE];
};

/* Starts the server, without waiting for it to be ready. */
void node_launch(struct node *node);

/* Whether the server that was launched has said that it is ready; where it listens is known then. */
bool node_is_ready(struct node *node);

/* Waits until the server that was launched is ready; fails the test if it ends instead. */
void node_wait_ready(struct node *node);

/* Both. */
void node_start(struct node *node);

/* Whether system calls can be made to fail here. */
bool node_can_inject(struct process_group *group);

/* The server's next start is under a tracer that makes its system calls fail, kill it, or take
 * long: "fdatasync:error=EIO:when=40..60", in the words of strace's option inject. Borrowed; NULL:
 * an ordinary start again. Calls are counted for each thread by itself; the one that starts the
 * server is the one that writes the database. */
void node_inject(struct node *node, const char *injection);

/* The address that clients are given, in parts. */
struct address node_address(const struct node *node);

/* Connects to that address by hand; fails the test if the server does not take the connection. */
struct sp_peer node_open_peer(const struct node *node);

/* kill -9. */
void node_kill(struct node *node);

/* SIGTERM; waits for the end, and returns the exit status. */
int node_stop(struct node *node);

#endif
