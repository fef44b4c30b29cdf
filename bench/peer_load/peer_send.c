/* SPDX-License-Identifier: MIT */
#include "peer_scenarios.h"
#include "program.h"

#include <stdio.h>
#include <stdlib.h>

#define TURN_MS 10

struct send_run {
    struct crowd crowd;
    struct measure measure;
    size_t depth;
    uint64_t *begun_ns; /* of each client's slots; 0: free */
    size_t open;
    uint64_t number; /* of the last message */
};

static void send_next(struct send_run *run, struct peer *peer, size_t slot)
{
    char text[PEER_TEXT_BYTES_MAX + 1];
    peer_write_text(text, run->crowd.work.text_bytes, ++run->number);
    if (!run->crowd.work.protocol->send(peer, slot, text)) {
        crowd_fail(&run->crowd, "out of memory");
        return;
    }
    run->begun_ns[peer->index * run->depth + slot] = run->crowd.loop.now_ns;
    run->open++;
}

static void on_event(void *context, struct peer *peer, const struct peer_event *event)
{
    struct send_run *run = context;
    uint64_t *begun_ns = NULL;
    if (event->slot < run->depth)
        begun_ns = &run->begun_ns[peer->index * run->depth + event->slot];
    if (event->kind == PEER_REFUSED)
        run->measure.errors++;
    if (begun_ns == NULL || *begun_ns == 0) {
        crowd_fail(&run->crowd, "client %zu: an answer without a request", peer->index);
        return;
    }
    if (event->kind == PEER_ACKNOWLEDGED) {
        measure_latency(&run->measure, *begun_ns, run->crowd.loop.now_ns);
        measure_count(&run->measure, run->crowd.work.batch);
    }
    *begun_ns = 0;
    run->open--;
    if (run->measure.phase < PHASE_DRAINING)
        send_next(run, peer, event->slot);
}

static void drive(struct send_run *run)
{
    struct crowd *crowd = &run->crowd;
    for (size_t i = 0; i < crowd->count; i++)
        for (size_t slot = 0; slot < run->depth; slot++)
            send_next(run, &crowd->peers[i], slot);
    while (measure_step(&run->measure, crowd->loop.now_ns) != PHASE_OVER &&
           !crowd_has_failed(crowd)) {
        loop_turn(&crowd->loop, TURN_MS);
        if (run->measure.phase == PHASE_DRAINING && run->open == 0)
            break;
    }
    if (run->open > 0 && !interrupted())
        crowd_fail(crowd, "%zu requests were never answered", run->open);
}

enum error peer_send(const struct peer_run *what, struct metric *metric, struct error_text *why)
{
    struct send_run run = {.depth = what->depth};
    run.begun_ns = calloc(what->clients * what->depth, sizeof *run.begun_ns);
    enum error error = crowd_open(
        &run.crowd,
        &(struct crowd_options){
            .address = what->address, .work = what->work, .count = what->clients, .room_size = 1},
        why);
    if (error == OK && run.begun_ns == NULL)
        error = error_set(why, ERROR_NO_MEMORY, "out of memory");
    if (error == OK) {
        run.crowd.on_event = on_event;
        run.crowd.context = &run;
        measure_begin(&run.measure, &what->times, 0, loop_read_clock(&run.crowd.loop));
        for (size_t i = 0; i < what->servers_count; i++)
            measure_add_server(&run.measure, what->servers[i]);
        drive(&run);
        measure_metric(&run.measure, "send", "messages/s", metric);
    }
    if (error == OK && (crowd_has_failed(&run.crowd) || interrupted()))
        error = error_set(why, ERROR_CLOSED, "%s", run.crowd.problem.text);
    crowd_close(&run.crowd);
    free(run.begun_ns);
    return error;
}
