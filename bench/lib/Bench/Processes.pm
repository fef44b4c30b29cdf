# SPDX-License-Identifier: MIT
# The processes and files of one measurement: servers in the background, programs whose output is read,
# ports of 127.0.0.1 and a temporary folder. `end` ends these processes by their ids and removes the
# folder. Each failure dies with a sentence.
package Bench::Processes;
use strict;
use warnings;
use Cwd ();
use File::Path ();
use File::Temp ();
use IO::Socket::INET;
use POSIX ();
use Time::HiRes qw(sleep time);

my $STOP_SECONDS = 10;    # after SIGTERM; then SIGKILL

# parent: the folder in which the temporary one is made, on the disk to measure.
sub new {
    my ($class, $parent) = @_;
    # InspIRCd looks for relative names in its own folder.
    my $folder = File::Temp::tempdir(
        'peers.XXXXXX',
        DIR => Cwd::abs_path($parent) // die("there is no folder $parent\n"),
        CLEANUP => 0
    );
    return bless {
        folder => $folder,
        pids => [],
        started => 0
    }, $class;
}

# The path of a new folder within the temporary one.
sub folder {
    my ($self, $name) = @_;
    my $path = sprintf '%s/%s.%d', $self->{folder}, $name, ++$self->{started};
    mkdir $path or die "cannot make $path: $!\n";
    return $path;
}

# Writes a file and returns its path.
sub write_file {
    my ($self, $path, $text) = @_;
    open my $file, '>', $path or die "cannot write $path: $!\n";
    print {$file} $text;
    close $file or die "cannot write $path: $!\n";
    return $path;
}

# Draws free ports. Another program could take one before the server does; the server then fails to start.
sub free_ports {
    my ($self, $count) = @_;
    my @sockets = map {
        IO::Socket::INET->new(
            Listen => 1,
            LocalAddr => '127.0.0.1',
            LocalPort => 0,
            Proto => 'tcp'
            )
            or die "no port is free: $!\n"
    } 1 .. $count;
    return map { $_->sockport } @sockets;
}

# Starts a server with its output in LOG. In a group of its own: Ctrl-C is for this script.
sub start {
    my ($self, $log, @command) = @_;
    my $pid = fork() // die "fork: $!\n";
    if (!$pid) {
        POSIX::setpgid(0, 0);
        open STDIN, '<', '/dev/null';
        open STDOUT, '>>', $log;
        open STDERR, '>&', \*STDOUT;
        exec_with_descriptors(@command);
    }
    push @{$self->{pids}}, $pid;
    return $pid;
}

# Each client is a descriptor, so the soft limit becomes the hard one.
sub exec_with_descriptors {
    my (@command) = @_;
    { no warnings 'exec'; exec 'sh', '-c', 'ulimit -n "$(ulimit -H -n)"; exec "$@"', 'sh', @command; }
    POSIX::_exit(127);
}

sub has_ended {
    my ($self, $pid) = @_;
    return 1 if !grep { $_ == $pid } @{$self->{pids}};
    return 0 if waitpid($pid, POSIX::WNOHANG()) == 0;
    $self->forget($pid);
    return 1;
}

sub forget {
    my ($self, $pid) = @_;
    @{$self->{pids}} = grep { $_ != $pid } @{$self->{pids}};
    return;
}

# Waits until the condition returns a true value, and returns it. Dies after so many seconds, or when
# one of the processes ends.
sub wait_for {
    my ($self, $what, $seconds, $pids, $condition) = @_;
    my $end = time + $seconds;
    while (time < $end) {
        my $value = $condition->();
        return $value if $value;
        die "$what: the server has ended\n" if grep { $self->has_ended($_) } @$pids;
        sleep 0.002;
    }
    die "$what: not within $seconds s\n";
}

sub wait_for_port {
    my ($self, $what, $port, @pids) = @_;
    return $self->wait_for("$what listens", 30, \@pids, sub { $self->connect_to($port) });
}

sub connect_to {
    my ($self, $port) = @_;
    return IO::Socket::INET->new(
        PeerAddr => '127.0.0.1',
        PeerPort => $port,
        Proto => 'tcp',
        Timeout => 5
    );
}

# Sends a request and reads until the answer matches, at most 5 s. Returns the text; '' without a match.
sub ask {
    my ($self, $port, $request, $pattern) = @_;
    my $socket = $self->connect_to($port) or return '';
    my ($text, $end) = ('', time + 5);
    print {$socket} $request;
    $socket->flush;
    while (time < $end) {
        my $ready = '';
        vec($ready, fileno $socket, 1) = 1;
        next if !select $ready, undef, undef, 0.1;
        last if !sysread $socket, $text, 65536, length $text;
        return $text if $text =~ $pattern;
    }
    return '';
}

# Runs a program to its end and returns its standard output. Its errors go to ours.
sub run {
    my ($self, $seconds, @command) = @_;
    # Not open '-|': the end of such a handle waits for the program.
    pipe my $output, my $input or die "pipe: $!\n";
    my $pid = fork() // die "fork: $!\n";
    if (!$pid) {
        POSIX::setpgid(0, 0);
        open STDOUT, '>&', $input;
        exec_with_descriptors(@command);
    }
    close $input;
    push @{$self->{pids}}, $pid;
    my ($text, $end) = ('', time + $seconds);
    while (1) {
        my $ready = '';
        vec($ready, fileno $output, 1) = 1;
        die "$command[0]: not within $seconds s\n" if time >= $end;
        next if !select $ready, undef, undef, 0.2;
        last if !sysread $output, $text, 65536, length $text;
    }
    waitpid $pid, 0;
    my $status = $?;
    $self->forget($pid);
    die "@command: failed with status " . ($status >> 8 || $status) . "\n" if $status != 0;
    return $text;
}

# Ends processes: SIGTERM (or another signal), and SIGKILL to those that stay.
sub stop {
    my ($self, @pids) = @_;
    $self->signal('TERM', @pids);
    return;
}

sub signal {
    my ($self, $signal, @pids) = @_;
    my @left = grep { !$self->has_ended($_) } @pids;
    kill $signal, @left;
    my $end = time + $STOP_SECONDS;
    while (@left = grep { !$self->has_ended($_) } @left) {
        kill 'KILL', @left if time > $end;
        sleep 0.02;
    }
    return;
}

sub stop_all {
    my ($self) = @_;
    $self->stop(@{$self->{pids}});
    return;
}

# Ends all processes and removes the folder.
sub end {
    my ($self) = @_;
    $self->stop_all;
    File::Path::remove_tree($self->{folder});
    return;
}

1;
