# SPDX-License-Identifier: MIT
# The systems that bench/peers compares: how each one starts, alone or on three nodes, on free ports of
# 127.0.0.1 and with its data in a temporary folder. A start returns
#   { pids => [...], port => where clients connect }.
package Bench::Systems;
use strict;
use warnings;

my $IRC_CLIENTS = 12000;    # more than any load has

# program: its name in a PATH that includes the folders of daemons. package: Debian's.
our %system = (
    redis => {
        label => 'Redis',
        program => 'redis-server',
        package => 'redis-server',
        nodes => \&redis_nodes,
        single => \&redis_single
    },
    etcd => {
        label => 'etcd',
        program => 'etcd',
        package => 'etcd-server',
        nodes => \&etcd_nodes
    },
    nats => {
        label => 'NATS JetStream',
        program => 'nats-server',
        package => 'nats-server',
        nodes => \&nats_nodes
    },
    inspircd => {
        label => 'InspIRCd',
        program => 'inspircd',
        package => 'inspircd',
        single => \&inspircd_single
    },
    ngircd => {
        label => 'ngIRCd',
        program => 'ngircd',
        package => 'ngircd',
        single => \&ngircd_single
    },
);

# The path of a system's program; undef: it is not installed.
sub path_of {
    my ($name) = @_;
    for my $folder (split(/:/, $ENV{PATH} // ''), '/usr/local/sbin', '/usr/sbin', '/sbin') {
        my $path = "$folder/$system{$name}{program}";
        return $path if -x $path && !-d $path;
    }
    return;
}

# The version that a program prints; "unknown" if it prints none.
sub version_of {
    my ($processes, $path) = @_;
    my $text = eval { $processes->run(20, $path, '--version') } // '';
    return $text =~ /(\d+\.\d+(?:\.\d+)*)/ ? $1 : 'unknown';
}

sub is_root { return $> == 0 }

# ---- Redis ----

sub redis_server {
    my ($processes, $folder, $port, @options) = @_;
    my $pid = $processes->start("$folder/$port.log", path_of('redis'), '--port', $port, '--bind', '127.0.0.1',
        '--dir', $folder, '--save', '', @options);
    $processes->wait_for_port('Redis', $port, $pid);
    return $pid;
}

# Each node appends to its file and flushes the file before it answers.
sub redis_nodes {
    my ($processes) = @_;
    my @ports = $processes->free_ports(3);
    my @pids;
    for my $port (@ports) {
        push @pids,
            redis_server(
            $processes,
            $processes->folder('redis'),
            $port,
            qw(--appendonly yes --appendfsync always),
            qw(--auto-aof-rewrite-percentage 0 --repl-diskless-sync-delay 0),
            $port == $ports[0] ? () : ('--replicaof', "127.0.0.1 $ports[0]")
            );
    }
    $processes->wait_for(
        'Redis has two replicas',
        30,
        \@pids,
        sub {
            my $text = $processes->ask($ports[0], "INFO replication\r\n", qr/repl_backlog_histlen/);
            return (() = $text =~ /state=online/g) == 2;
        }
    );
    return {
        pids => \@pids,
        port => $ports[0]
    };
}

sub redis_single {
    my ($processes) = @_;
    my ($port) = $processes->free_ports(1);
    my $pid = redis_server(
        $processes, $processes->folder('redis'),
        $port,
        qw(--appendonly no --maxclients 10000),
        '--client-output-buffer-limit',
        'pubsub 0 0 0'
    );
    return {
        pids => [$pid],
        port => $port
    };
}

# ---- NATS ----

sub nats_nodes {
    my ($processes) = @_;
    my @ports = $processes->free_ports(6);
    my $routes = join ', ', map {"nats://127.0.0.1:$_"} @ports[3 .. 5];
    my @pids;
    for my $node (0 .. 2) {
        my $folder = $processes->folder('nats');
        my $file = $processes->write_file("$folder/nats.conf", <<"CONF");
server_name: n$node
listen: 127.0.0.1:$ports[$node]
jetstream { store_dir: "$folder" }
cluster { name: bench, listen: 127.0.0.1:$ports[$node + 3], routes: [$routes] }
CONF
        push @pids, $processes->start("$folder/log", path_of('nats'), '-c', $file);
    }
    $processes->wait_for_port('NATS', $_, @pids) for @ports[0 .. 2];
    my $leader = $processes->wait_for('NATS has a stream of three replicas',
        60, \@pids, sub { nats_stream($processes, $ports[0]) });
    return {
        pids => \@pids,
        port => $ports[$leader]
    };
}

# Creates the stream, or finds it, and returns the number of its leader as a string that is true; '': not yet.
sub nats_stream {
    my ($processes, $port) = @_;
    my $stream = '{"name":"ROOM","subjects":["room"],"num_replicas":3,"storage":"file","retention":"limits",'
        . '"max_consumers":-1,"max_msgs":-1,"max_bytes":-1,"max_age":0,"discard":"old"}';
    my $request = "CONNECT {\"verbose\":false,\"lang\":\"perl\",\"version\":\"0\"}\r\nSUB _INBOX.s 1\r\n"
        . sprintf("PUB \$JS.API.STREAM.CREATE.ROOM _INBOX.s %d\r\n%s\r\n", length $stream, $stream);
    my $reply = $processes->ask($port, $request, qr/MSG _INBOX\.s .*\r\n.*\r\n/);
    return $reply =~ /"leader":"n(\d)"/ ? "0$1" : '';
}

# ---- etcd ----

sub etcd_nodes {
    my ($processes) = @_;
    my @ports = $processes->free_ports(6);
    my $cluster = join ',', map {"e$_=http://127.0.0.1:$ports[$_ + 3]"} 0 .. 2;
    my @pids;
    for my $node (0 .. 2) {
        my $folder = $processes->folder('etcd');
        my ($client, $peer) = map {"http://127.0.0.1:$_"} @ports[$node, $node + 3];
        push @pids,
            $processes->start(
            "$folder/log", path_of('etcd'),
            '--name', "e$node",
            '--data-dir', "$folder/data",
            '--listen-client-urls', $client,
            '--advertise-client-urls', $client,
            '--listen-peer-urls', $peer,
            '--initial-advertise-peer-urls', $peer,
            '--initial-cluster', $cluster,
            qw(--initial-cluster-state new), qw(--quota-backend-bytes 8589934592 --log-level error)
            );
    }
    $processes->wait_for_port('etcd', $_, @pids) for @ports[0 .. 2];
    my $leader = $processes->wait_for(
        'etcd has a leader',
        60,
        \@pids,
        sub {
            (grep { etcd_leads($processes, $_) } @ports[0 .. 2])[0];
        }
    );
    return {
        pids => \@pids,
        port => $leader
    };
}

sub etcd_leads {
    my ($processes, $port) = @_;
    my $reply =
        $processes->ask($port,
        "POST /v3/maintenance/status HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\n\r\n{}",
        qr/"leader":"\d+"/);
    my ($own) = $reply =~ /"member_id":"(\d+)"/;
    my ($leader) = $reply =~ /"leader":"(\d+)"/;
    return defined $own && defined $leader && $own eq $leader;
}

# ---- IRC ----

sub inspircd_single {
    my ($processes) = @_;
    my ($port) = $processes->free_ports(1);
    my $folder = $processes->folder('inspircd');
    my $welcome = $processes->write_file("$folder/welcome", "welcome\n");
    my $file = $processes->write_file("$folder/inspircd.conf", <<"CONF");
<server name="irc.bench.local" description="bench" network="Bench" id="11A">
<admin name="bench" nick="bench" email="bench\@localhost">
<bind address="127.0.0.1" port="$port" type="clients">
<connect name="all" allow="*" timeout="60" pingfreq="600" hardsendq="16M" softsendq="16M" recvq="1M"
 threshold="1000000" commandrate="1000000000" fakelag="no" localmax="$IRC_CLIENTS" globalmax="$IRC_CLIENTS"
 maxconnwarn="no" limit="$IRC_CLIENTS" resolvehostnames="no" useident="no" maxchans="20">
<performance somaxconn="1024" softlimit="$IRC_CLIENTS" netbuffersize="10240" quietbursts="yes" clonesonconnect="no">
<files motd="$welcome">
<pid file="$folder/pid">
<options defaultmodes="n">
CONF
    my $pid = $processes->start("$folder/log", path_of('inspircd'), (is_root() ? '--runasroot' : ()),
        '--nofork', '--nopid', '--config', $file);
    $processes->wait_for_port('InspIRCd', $port, $pid);
    return {
        pids => [$pid],
        port => $port
    };
}

sub ngircd_single {
    my ($processes) = @_;
    my ($port) = $processes->free_ports(1);
    my $folder = $processes->folder('ngircd');
    my $user = is_root() ? "ServerUID = irc\nServerGID = irc\n" : '';
    my $file = $processes->write_file("$folder/ngircd.conf", <<"CONF");
[Global]
Name = irc.bench.local
Info = bench
Listen = 127.0.0.1
Ports = $port
MotdPhrase = welcome
${user}[Limits]
MaxConnections = 0
MaxConnectionsIP = 0
MaxJoins = 10
MaxPenaltyTime = 0
PingTimeout = 600
[Options]
DNS = no
Ident = no
PAM = no
CONF
    my $pid = $processes->start("$folder/log", path_of('ngircd'), '-n', '-f', $file);
    $processes->wait_for_port('ngIRCd', $port, $pid);
    return {
        pids => [$pid],
        port => $port
    };
}

1;
