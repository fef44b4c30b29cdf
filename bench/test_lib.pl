#!/usr/bin/env perl
# SPDX-License-Identifier: MIT
# The parts of bench/peers and bench/growth: figures, charts, processes, and what both print from a file.
# usage: test_lib.pl
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Bench::Chart;
use Bench::Figures;
use Bench::Processes;
use Bench::Systems;
use File::Temp ();
use Test::More;

my $folder = File::Temp::tempdir(CLEANUP => 1);
$SIG{__WARN__} = sub { fail("a warning: @_") };

sub figures_of {
    my (%rows) = @_;
    my $figures = Bench::Figures->new;
    for my $row (sort keys %rows) {
        for my $system (sort keys %{$rows{$row}}) {
            my $round = 0;
            $figures->add({round => ++$round, row => $row, system => $system, value => $_})
                for @{$rows{$row}{$system}};
        }
    }
    return $figures;
}

sub write_file {
    my ($name, $text) = @_;
    open my $file, '>', "$folder/$name" or die "$name: $!\n";
    print {$file} $text;
    close $file;
    return "$folder/$name";
}

sub output_of { my $text = qx{@_ 2>&1}; return ($? >> 8, $text) }

# Each tag is closed in its turn.
sub is_well_formed {
    my ($text) = @_;
    my @open;
    while ($text =~ m{<(/?)(\w+)[^<>]*?(/?)>}g) {
        if ($1) { return 0 if !@open || pop @open ne $2 }
        elsif (!$3) { push @open, $2 }
    }
    return !@open;
}

# ---- figures ----

is join(' ', map { Bench::Figures::number($_) } 0, 0.0512, 0.123, 1, 41.6, 99.96, 123.4, 1234, 999600, 1e7),
    '0 0.0512 0.123 1.00 41.6 100.0 123 1,230 1,000,000 10,000,000', 'numbers have three digits';
is Bench::Figures::number(undef), '-', 'no number';
is Bench::Figures::median(5, 1, 3, 100), 4, 'the median of an even count';

my $figures = figures_of(
    a => {
        ours => [100, 300, 200],
        theirs => [200, 200, 100]
    },
    b => {ours => [7]}
);
is $figures->cell('a', 'ours'), '200 (100-300)', 'a median with its range';
is $figures->cell('b', 'ours'), '7.00', 'one round has no range';
is $figures->cell('b', 'theirs'), '-', 'a system without this row';
is_deeply [$figures->ratio('a', 'ours', 'theirs')], [1, 0.5, 2],
    'the ratio of the medians, the range of the rounds';
is_deeply [$figures->ratio('b', 'ours', 'theirs')], [], 'no ratio to what was not measured';

$figures->add({round => 1, row => 'c', system => 'x', value => 1, others_percent => $_}) for 10, 30, 20;
is_deeply [$figures->others], [20, 10, 30], 'what other programs used';
is_deeply [Bench::Figures->new->others], [], 'which may be unknown';
$figures->add({round => 2, row => 'e', system => 'x', value => 1, server_us => 7.5});
is_deeply [$figures->values_of('e_cpu', 'x')], [7.5], 'processor time is a row';

my %table = (
    title => 'things',
    rows => [
        {
            key => 'a',
            title => 'A'
        },
        {
            key => 'b',
            title => 'B'
        },
        {
            key => 'c',
            title => 'C'
        }
    ],
    systems => [['ours', 'Ours'], ['theirs', 'Theirs'], ['none', 'None']]
);
is $figures->table(\%table), <<'TEXT', 'a table leaves out systems and rows without figures';
| things | Ours | Theirs |
| --- | --- | --- |
| A | 200 (100-300) | 200 (100-200) |
| B | 7.00 | - |
TEXT

my @goals = (
    {
        title => 'at least',
        row => 'a',
        system => 'ours',
        other => 'theirs',
        least => 1
    },
    {
        title => 'below',
        row => 'a',
        system => 'ours',
        other => 'theirs',
        below => 1
    },
    {
        title => 'at most',
        row => 'b',
        system => 'ours',
        most => 7
    },
    {
        title => 'absent',
        row => 'c',
        system => 'ours',
        most => 7
    },
);
is $figures->goals(@goals), <<'TEXT', 'goals are met or missed, or not measured';
| goal | measured | |
| --- | --- | --- |
| at least | 1.00 (0.500-2.00) | met |
| below | 1.00 (0.500-2.00) | missed |
| at most | 7.00 | met |
TEXT

# ---- charts ----

my $chart = Bench::Chart::draw(
    'A & B',
    {
        title => 'bars <1>',
        unit => 'messages/s',
        bars => [
            {
                label => 'ours',
                value => 1500,
                low => 1000,
                high => 2000,
                own => 1
            },
            {
                label => 'theirs',
                value => 750
            }
        ]
    },
    {
        title => 'lines',
        unit => 'ms',
        x_unit => 'messages',
        lines => [{label => 'l', points => [[0, 10], [1e7, 20]]}]
    }
);
ok is_well_formed($chart), 'a chart is well-formed';
ok !is_well_formed('<g><text></g></text>'), 'what is not is found';
like $chart, qr/bars &lt;1&gt;/, 'text is escaped';
like $chart, qr/>$_</, "the chart says $_" for ('messages/s', 'ms', 'messages', '1,500', '10M', 'ours');
like $chart, qr/prefers-color-scheme: dark/, 'text has a colour for dark pages';
like Bench::Chart::draw(
    '',
    {
        title => '',
        unit => '',
        bars => [{label => '', value => 2, low => 1, high => 9}]
    }
    ),
    qr/>2.00 \(to 9.00\)</, 'an outlier is a number';
my ($own, $other) = $chart =~ /class="(?:own|bar)" [^>]*width="([\d.]+)"/g;
cmp_ok abs($own - 2 * $other), '<', 0.2, 'bars are as long as their values';
is join(' ', map { Bench::Chart::step_for($_) } 0.3, 1, 4, 5, 100, 3.2e6), '0.1 0.5 1 2 50 1000000',
    'at most four steps to the end';

# ---- processes ----

chdir $folder or die "$folder: $!\n";
my $processes = Bench::Processes->new('.');
chdir '/';
my $temporary = $processes->{folder};
like $temporary, qr{^/}, 'servers get whole paths';
my $pid = $processes->start("$temporary/log", 'sleep', '600');
ok kill(0, $pid), 'a server runs';
is $processes->run(20, 'echo', 'said'), "said\n", 'the output of a program';
ok !eval { $processes->run(20, 'false'); 1 }, 'a failure dies';
like $@, qr/false: failed with status 1/, 'and names the program';
ok !eval { $processes->run(0.1, 'sleep', '600'); 1 }, 'a program has a limited time';
my $gone = $processes->start("$temporary/log", 'true');
ok !eval {
    $processes->wait_for('thing', 20, [$gone], sub {0});
    1;
}, 'nothing waits for a server that has ended';
like $@, qr/thing: the server has ended/, 'and says so';
my %ports = map { $_ => 1 } $processes->free_ports(5);
is scalar(keys %ports), 5, 'ports differ';
$processes->end;
ok !kill(0, $pid), 'the end stops the server';
ok !-e $temporary, 'the end removes the folder';

# ---- what the scripts print ----

my $peers = "$^X $FindBin::Bin/peers";
my $kept = write_file(
    'peers.jsonl',
    join '',
    map {"$_\n"}
        '{"run":"peers","date":"2000-01-02","processors":2,"kernel":"6.1","load_average":"0.1","rounds":1,"measured_ms":5,"versions":{"redis":"7"}}',
    '{"round":1,"row":"nodes_64x1","system":"jackdaw","value":2600}',
    '{"round":1,"row":"nodes_64x1","system":"redis","value":1000}',
    '{"round":1,"row":"room_one","system":"jackdaw","value":50}',
    '{"round":1,"row":"room_one","system":"inspircd","value":200}'
);
my ($status, $text) = output_of($peers, "--from=$kept", "--svg=$folder");
is $status, 0, 'peers prints from a file';
like $text, qr/^\| 64 clients, one message each, acked\/s \| 2,600 \| 1,000 \|$/m, 'a row';
like $text, qr/^\| 64x1: at least 1.3 times Redis \| 2.60 \| met \|$/m, 'a goal that was met';
like $text, qr/^\| one message at a time: at least 0.4 times InspIRCd \| 0.250 \| missed \|$/m,
    'a goal that was missed';
like $text, qr/2000-01-02, 2 processors, Linux 6.1/, 'the machine';

for my $name (qw(peers_nodes peers_room)) {
    open my $file, '<', "$folder/$name.svg" or die "$name.svg: $!\n";
    ok is_well_formed(join '', <$file>), "$name.svg is well-formed";
}
($status, $text) = output_of($peers, '--from=' . write_file('broken', "{\n"));
isnt $status, 0, 'a broken file is refused';
like $text, qr/broken line 1: this is no JSON object/, 'with its line';
($status, $text) = output_of($peers, '--systems=none', "--folder=$folder");
like $text, qr/there is no system none: take some of jackdaw, etcd/, 'an unknown system is refused';

# Stand-ins for the programs: chat_load prints every figure that the table of a room needs, or fails.
sub make_build {
    my ($chat_load) = @_;
    my $build = File::Temp::tempdir(DIR => $folder);
    my %script = (
        server => 'echo jackdaw-server 1.2.3',
        peer_load => 'exit 1',
        chat_load => $chat_load
    );
    for my $name (keys %script) {
        open my $file, '>', "$build/$name" or die "$name: $!\n";
        print {$file} "#!/bin/sh\n$script{$name}\n";
        close $file;
        chmod 0755, "$build/$name";
    }
    return $build;
}

my $work = File::Temp::tempdir(DIR => $folder);
my @room = ("--folder=$work", '--systems=jackdaw', '--tables=room', '--rounds=2');
my $figure = 0;
my $said = join '',
    map { sprintf "echo '{\"figure\":\"%s\",\"value\":%d,\"others_percent\":5}'\n", $_, ++$figure }
    'deliver lockstep', 'deliver pipelined', 'idle client', 'limit nng replies 100x1';
($status, $text) = output_of($peers, '--build=' . make_build($said), @room);
is $status, 0, 'peers measures';
like $text, qr/^\| one message at a time, deliveries\/s \| 1.00 \| 4.00 \|$/m, 'what chat_load says';
like $text, qr/^Versions: jackdaw 1.2.3.$/m, 'with its version';
($status, $text) = output_of($peers, '--build=' . make_build('exit 3'), @room);
is $status, 1, 'a failure is no success';
like $text, qr/jackdaw has no value in this round: .* failed with status 3$/m, 'the failure has a sentence';
like $text, qr/^round 2 of 2: room, jackdaw$/m, 'and the run goes on';
is_deeply [glob "$work/*"], [], 'no folder stays behind';

{
    local $Bench::Systems::system{ngircd}{program} = 'no-such-program';
    is Bench::Systems::path_of('ngircd'), undef, 'a system that is not installed';
}

my $growth = "$^X $FindBin::Bin/growth";
$kept = write_file(
    'growth.jsonl',
    join '',
    map {"$_\n"} '{"run":"growth","messages":[0,1000],"accounts":9,"rooms":3,"idle_clients":4}',
    (map {qq({"round":1,"row":"start","system":"$_","value":20})} 0, 1000),
    '{"round":1,"row":"send_1x1","system":"empty","value":1}',
    '{"round":1,"row":"send_1x1","system":"full","value":1.2}',
    '{"round":1,"row":"send_64x1","system":"empty","value":100}',
    '{"round":1,"row":"send_64x1","system":"full","value":91}'
);
($status, $text) = output_of($growth, "--from=$kept", "--svg=$folder");
is $status, 0, 'growth prints from a file';
like $text, qr/^\| start after a clean end, ms \| 20.0 \| 20.0 \|$/m, 'the starts';
like $text, qr/^\| one client, p50, ms \| 1.00 \| 1.20 \| 1.20 \(1.20-1.20\) \| missed \|$/m,
    'more latency is worse';
like $text, qr/^\| 64 clients, one message each.* \| met \|$/m, 'a rate within 10%';
open my $svg, '<', "$folder/growth.svg" or die "growth.svg: $!\n";
ok is_well_formed(join '', <$svg>), 'growth.svg is well-formed';

done_testing();
