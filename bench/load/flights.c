/* SPDX-License-Identifier: MIT */
#include "flights.h"

#include <stdlib.h>

bool flights_init(struct flights *flights, size_t limit, size_t parts, uint64_t first)
{
    size_t size = 1;
    while (size < limit)
        size *= 2;
    *flights = (struct flights){
        .mask = size - 1, .limit = limit, .parts = parts, .next = first, .completed = first};
    flights->items = calloc(size, sizeof *flights->items);
    return flights->items != NULL;
}

void flights_release(struct flights *flights)
{
    free(flights->items);
    flights->items = NULL;
}

bool flights_may_begin(const struct flights *flights)
{
    return flights_open(flights) < flights->limit;
}

void flights_begin(struct flights *flights, uint64_t now_ns)
{
    flights->items[flights->next & flights->mask] =
        (struct flight){.begun_ns = now_ns, .parts = flights->parts};
    flights->next++;
}

bool flights_arrive(struct flights *flights, uint64_t number, uint64_t now_ns,
                    struct measure *measure)
{
    struct flight *flight = &flights->items[number & flights->mask];
    if (number < flights->completed || number >= flights->next || flight->parts == 0)
        return false;
    flight->parts--;
    if (flight->parts == 0)
        measure_latency(measure, flight->begun_ns, now_ns);
    while (flights_open(flights) > 0 &&
           flights->items[flights->completed & flights->mask].parts == 0)
        flights->completed++;
    return true;
}

uint64_t flights_open(const struct flights *flights)
{
    return flights->next - flights->completed;
}
