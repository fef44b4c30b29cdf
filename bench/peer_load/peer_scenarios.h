/* SPDX-License-Identifier: MIT */
/* peer_scenarios.h - the work that a peer system does: the same that chat_load gives to Jackdaw. Each scenario
 * fills a figure. One thread. */
#ifndef JACKDAW_BENCH_PEER_SCENARIOS_H
#define JACKDAW_BENCH_PEER_SCENARIOS_H

#include "crowd.h"
#include "measure.h"

#define PEER_SERVERS_MAX MEASURE_SERVERS_MAX

struct peer_run {
    struct address address;
    struct peer_work work;
    size_t clients; /* that send, that receive, or that are idle */
    size_t depth;   /* requests of each client, or messages, in flight */
    struct measure_times times;
    pid_t servers[PEER_SERVERS_MAX];
    size_t servers_count;
};

/* Each returns OK with *metric filled, or an error with a sentence in why: a lost connection, a wrong or
 * missing answer, a signal (ERROR_CLOSED). */

/* Acknowledged messages per second; the latency is that of a request. Refusals are counted as errors. */
enum error peer_send(const struct peer_run *run, struct metric *metric, struct error_text *why);
/* Deliveries per second to a room; the latency is the time to the last receiver. */
enum error peer_deliver(const struct peer_run *run, struct metric *metric, struct error_text *why);
/* Growth of the first server's resident memory per idle client, in KB, in rooms of 20. */
enum error peer_idle(const struct peer_run *run, struct metric *metric, struct error_text *why);

#endif
