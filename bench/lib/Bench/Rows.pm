# SPDX-License-Identifier: MIT
# What bench/peers compares: its tables with their rows and systems, and the goals of Jackdaw.
package Bench::Rows;
use strict;
use warnings;
use Bench::Figures ();

our %short_name = (
    jackdaw => 'Jackdaw',
    redis => 'Redis',
    etcd => 'etcd',
    nats => 'NATS',
    inspircd => 'InspIRCd',
    ngircd => 'ngIRCd',
    rep => 'raw REP',
);

# The tables, for Bench::Figures::table. chart: title and unit of the row's panel; a row without one is not drawn.
# size: { receivers, in_flight, idle }.
sub tables {
    my ($size) = @_;
    return (nodes(), room($size), limits());
}

sub nodes {
    return {
        name => 'nodes',
        title => 'three nodes, messages of 100 bytes',
        systems => [
            ['jackdaw', 'Jackdaw, fsync on all three'],
            ['redis', 'Redis, AOF always, WAIT 2'],
            ['etcd', 'etcd'],
            ['nats', 'NATS JetStream R3, no fsync'],
        ],
        rows => [
            {
                key => 'nodes_64x1',
                title => '64 clients, one message each, acked/s',
                chart => ['64 clients, one message each', 'acknowledged messages/s']
            },
            {
                key => 'nodes_64x1_p99',
                title => 'p99 of that, ms',
                chart => ['64 clients, 99th percentile', 'ms (less is better)']
            },
            {
                key => 'nodes_64x1_cpu',
                title => 'processor time of all three for that, us per message'
            },
            {
                key => 'nodes_1x1_p50',
                title => 'one client, p50, ms',
                chart => ['one client, median', 'ms (less is better)']
            },
            {
                key => 'nodes_pipelined',
                title => 'pipelined (64x16; a batch of 64; window 256), acked/s',
                chart => ['pipelined', 'acknowledged messages/s']
            },
            {
                key => 'nodes_pipelined_cpu',
                title => 'processor time of all three for that, us per message'
            },
            {
                key => 'nodes_64x16',
                title => '64 clients, 16 messages each (Redis: in batches), acked/s'
            },
        ]
    };
}

sub room {
    my ($size) = @_;
    my ($receivers, $in_flight, $idle) =
        map { Bench::Figures::count($_) } @{$size}{qw(receivers in_flight idle)};
    return {
        name => 'room',
        title => "one server, a room of $receivers",
        systems => [
            ['jackdaw', 'Jackdaw, durable'],
            ['inspircd', 'InspIRCd'],
            ['ngircd', 'ngIRCd'],
            ['redis', 'Redis pub/sub'],
            ['rep', 'bare nng raw REP'],
        ],
        rows => [
            {
                key => 'room_one',
                title => 'one message at a time, deliveries/s',
                chart => ['one message at a time', 'deliveries/s']
            },
            {
                key => 'room_one_cpu',
                title => 'processor time for that, us per delivery'
            },
            {
                key => 'room_many',
                title => "$in_flight in flight, deliveries/s",
                chart => ["$in_flight messages in flight", 'deliveries/s']
            },
            {
                key => 'room_many_cpu',
                title => 'processor time for that, us per delivery'
            },
            {
                key => 'room_idle',
                title => "KB per idle client (first $idle)",
                chart => ['memory of an idle client', 'KB (less is better)']
            },
        ]
    };
}

sub limits {
    return {
        name => 'limits',
        title => 'limits of the machine',
        systems => [['machine', 'measured']],
        rows => [
            {
                key => 'limit_append',
                title => 'fdatasync of an appended 4 KiB, flushes/s'
            },
            {
                key => 'limit_again',
                title => 'the same in a file of full size, flushes/s'
            },
            {
                key => 'limit_epoll',
                title => 'loopback, plain epoll echo, 64 clients, requests/s'
            },
            {
                key => 'limit_nng',
                title => 'loopback, raw nng echo, 64 clients, requests/s'
            },
        ]
    };
}

# For Bench::Figures::goals.
sub goals {
    my @goals = (
        ['64x1: at least 1.3 times Redis', 'nodes_64x1', 'redis', least => 1.3],
        ['p99 at 64x1: below 2 times Redis', 'nodes_64x1_p99', 'redis', below => 2],
        ['one client, p50: at most 1.0 times Redis', 'nodes_1x1_p50', 'redis', most => 1],
        ['pipelined: at least 2.5 times Redis', 'nodes_pipelined', 'redis', least => 2.5],
        ['pipelined: at least 1.2 times NATS', 'nodes_pipelined', 'nats', least => 1.2],
        ['one message at a time: at least 0.4 times InspIRCd', 'room_one', 'inspircd', least => 0.4],
        ['one message at a time: at least 0.9 times a bare raw REP', 'room_one', 'rep', least => 0.9],
        ['100 in flight: at least 1.0 times InspIRCd', 'room_many', 'inspircd', least => 1],
        ['KB per idle client: below 8', 'room_idle', undef, below => 8],
    );
    return map {
        my ($title, $row, $other, @bound) = @$_;
        {
            title => $title,
            row => $row,
            system => 'jackdaw',
            other => $other,
            @bound
        }
    } @goals;
}

1;
