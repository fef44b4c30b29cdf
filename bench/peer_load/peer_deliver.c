/* SPDX-License-Identifier: MIT */
#include "flights.h"
#include "peer_scenarios.h"
#include "program.h"

#include <inttypes.h>
#include <stdlib.h>

#define TURN_MS 10
#define FIRST_NUMBER 1u

struct deliver_run {
    struct crowd crowd; /* the last client sends */
    struct measure measure;
    struct flights flights;
    uint64_t *expected; /* by receiver: number of the next message */
};

static void send_more(struct deliver_run *run)
{
    struct crowd *crowd = &run->crowd;
    char text[PEER_TEXT_BYTES_MAX + 1];
    while (run->measure.phase < PHASE_DRAINING && flights_may_begin(&run->flights) &&
           !crowd_has_failed(crowd)) {
        peer_write_text(text, crowd->work.text_bytes, run->flights.next);
        if (!crowd->work.protocol->send(&crowd->peers[crowd->count - 1], 0, text))
            crowd_fail(crowd, "out of memory");
        flights_begin(&run->flights, crowd->loop.now_ns);
    }
}

static void on_event(void *context, struct peer *peer, const struct peer_event *event)
{
    struct deliver_run *run = context;
    if (event->kind != PEER_MESSAGE) {
        crowd_fail(&run->crowd, "client %zu: a message was refused", peer->index);
        return;
    }
    uint64_t number = peer_read_number(event->text);
    if (!peer->receives || number != run->expected[peer->index] ||
        !flights_arrive(&run->flights, number, run->crowd.loop.now_ns, &run->measure)) {
        crowd_fail(&run->crowd, "receiver %zu: message %" PRIu64 " is not the one that follows",
                   peer->index, number);
        return;
    }
    run->expected[peer->index]++;
    measure_count(&run->measure, 1);
    send_more(run);
}

static void drive(struct deliver_run *run)
{
    struct crowd *crowd = &run->crowd;
    send_more(run);
    while (measure_step(&run->measure, crowd->loop.now_ns) != PHASE_OVER &&
           !crowd_has_failed(crowd)) {
        loop_turn(&crowd->loop, TURN_MS);
        if (run->measure.phase == PHASE_DRAINING && flights_open(&run->flights) == 0)
            break;
    }
    if (flights_open(&run->flights) > 0 && !interrupted())
        crowd_fail(crowd, "%" PRIu64 " messages did not reach all receivers",
                   flights_open(&run->flights));
}

static bool prepare(struct deliver_run *run, const struct peer_run *what)
{
    run->crowd.on_event = on_event;
    run->crowd.context = run;
    run->expected = calloc(run->crowd.count, sizeof *run->expected);
    for (size_t i = 0; run->expected != NULL && i < run->crowd.count; i++)
        run->expected[i] = FIRST_NUMBER;
    return flights_init(&run->flights, what->depth, what->clients, FIRST_NUMBER) &&
           run->expected != NULL;
}

enum error peer_deliver(const struct peer_run *what, struct metric *metric, struct error_text *why)
{
    struct deliver_run run = {.expected = NULL};
    size_t count = what->clients + 1;
    enum error error = crowd_open(&run.crowd,
                                  &(struct crowd_options){.address = what->address,
                                                          .work = what->work,
                                                          .count = count,
                                                          .room_size = count,
                                                          .has_sender = true},
                                  why);
    if (error == OK && !prepare(&run, what))
        error = error_set(why, ERROR_NO_MEMORY, "out of memory");
    if (error == OK) {
        measure_begin(&run.measure, &what->times, what->servers_count > 0 ? what->servers[0] : 0,
                      loop_read_clock(&run.crowd.loop));
        drive(&run);
        measure_metric(&run.measure, "deliver", "deliveries/s", metric);
    }
    if (error == OK && (crowd_has_failed(&run.crowd) || interrupted()))
        error = error_set(why, ERROR_CLOSED, "%s", run.crowd.problem.text);
    crowd_close(&run.crowd);
    flights_release(&run.flights);
    free(run.expected);
    return error;
}
