/* SPDX-License-Identifier: MIT */
#include "peer_scenarios.h"
#include "program.h"

#define ROOM_SIZE 20u /* as chat_load */
#define SETTLE_NS UINT64_C(500000000)
#define TURN_MS 10
#define KILOBYTE 1e3

/* Reads and drops what arrives, for a while. */
static void settle(struct crowd *crowd)
{
    uint64_t end = loop_read_clock(&crowd->loop) + SETTLE_NS;
    while (crowd->loop.now_ns < end && !crowd_has_failed(crowd) && !interrupted())
        loop_turn(&crowd->loop, TURN_MS);
}

enum error peer_idle(const struct peer_run *what, struct metric *metric, struct error_text *why)
{
    struct crowd crowd;
    if (what->servers_count == 0)
        return error_set(why, ERROR_INVALID, "which process? say --server_pid=PID");
    struct memory before = usage_memory(what->servers[0]);
    enum error error = crowd_open(&crowd,
                                  &(struct crowd_options){.address = what->address,
                                                          .work = what->work,
                                                          .count = what->clients,
                                                          .room_size = ROOM_SIZE},
                                  why);
    if (error == OK) {
        settle(&crowd);
        struct memory after = usage_memory(what->servers[0]);
        double grown = (double)after.resident_bytes - (double)before.resident_bytes;
        metric_init(metric, "idle", "KB", grown / KILOBYTE / (double)what->clients);
        metric->columns[COLUMN_ERRORS] = 0;
    }
    if (error == OK && (crowd_has_failed(&crowd) || interrupted()))
        error = error_set(why, ERROR_CLOSED, "%s", crowd.problem.text);
    crowd_close(&crowd);
    return error;
}
