/* SPDX-License-Identifier: MIT */
/* settings.h - what the command line says about the cluster. Values only; any thread. */
#ifndef JACKDAW_CLUSTER_SETTINGS_H
#define JACKDAW_CLUSTER_SETTINGS_H

#include "base/address.h"
#include "base/options.h"
#include "replication/replica.h"

#include <stdbool.h>
#include <stdint.h>

struct cluster_settings {
    uint32_t id; /* of this server, 1..65535 */
    bool
        is_first; /* without data this server founds a cluster if it finds none; else it joins one */
    struct address internal_address;
    struct option_address feed_address; /* not given: host of the internal address, any port */
    struct option_addresses masters;    /* internal addresses of members, without this server's own;
                                           at most REPLICA_SEEDS_MAX, ports not 0 */
    const char *advertise_host;         /* NULL: advertise_find chooses */
    uint64_t log_keep;                  /* deltas that the log keeps in any case */
    uint64_t log_keep_bytes;   /* that it keeps for members that lack them; 1 MiB to 1 TiB */
    uint32_t founding_wait_ms; /* 0: a cluster is founded at once */
    enum replica_policy durability;
    uint32_t ack_timeout_ms; /* at least ping_timeout_ms */
    uint32_t ping_interval_ms;
    uint32_t
        ping_timeout_min_ms;  /* of the learned limit; one above ping_timeout_ms counts as that */
    uint32_t ping_timeout_ms; /* at least 2 * ping_interval_ms */
    uint32_t disk_timeout_min_ms; /* the same of the disk */
    uint32_t disk_timeout_ms;
};

/* Returns for how long a master may be silent in any case, in ms. */
static inline uint32_t cluster_settings_silence_ms(const struct cluster_settings *settings)
{
    return settings->ping_timeout_min_ms < settings->ping_timeout_ms ? settings->ping_timeout_min_ms
                                                                     : settings->ping_timeout_ms;
}

#endif
