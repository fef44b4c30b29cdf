#!/usr/bin/env perl
# SPDX-License-Identifier: MIT
# Compares two builds of chat_load and of the server beside each.
#
#   bench/compare.pl PAIRS OLD/chat_load NEW/chat_load [OPTION of chat_load...]
#
# Runs both PAIRS times, in turn, and changes their order from pair to pair. For each figure the script
# prints the medians, and the median of NEW / OLD over the pairs with an interval that contains the true
# median in at least 95% of cases (sign test: order statistics of the ratios; at least 6 pairs).
# "cpu" is the user and system time of the servers for one operation. Errors of chat_load end the script.
use strict;
use warnings;

my ($pairs, $old, $new, @options) = @ARGV;
die "usage: bench/compare.pl PAIRS OLD/chat_load NEW/chat_load [OPTION...]\n"
    if !defined $new || $pairs !~ /^\d+$/ || $pairs < 1;

my (@order, %runs);    # "figure\tkind" in the order of the output; its values of each program
for my $pair (1 .. $pairs) {
    my @programs = $pair % 2 ? ('old', 'new') : ('new', 'old');
    for my $which (@programs) {
        print STDERR "pair $pair of $pairs: $which\n";
        run($which, $which eq 'old' ? $old : $new);
    }
}
printf "%-26s %-6s %12s %12s %7s  %s\n", 'figure', '', 'old', 'new', 'new/old', '95% interval';
report($_) for @order;

sub run {
    my ($which, $program) = @_;
    open my $output, '-|', $program, '--json', @options or die "$program: $!\n";
    while (my $line = <$output>) {
        my ($figure) = $line =~ /"figure":"([^"]*)"/ or next;
        keep($which, "$figure\tvalue", $1) if $line =~ /"value":([\d.]+)/;
        keep($which, "$figure\tcpu", $1) if $line =~ /"server_us":([\d.]+)/;
    }
    close $output or die "$program failed\n";
}

sub keep {
    my ($which, $key, $value) = @_;
    push @order, $key if !$runs{$key};
    push @{ $runs{$key}{$which} }, $value;
}

sub report {
    my ($key) = @_;
    my ($figure, $kind) = split /\t/, $key;
    my ($before, $after) = @{ $runs{$key} }{qw(old new)};
    return if !$before || !$after || @$before != @$after || grep { !($_ > 0) } @$before;
    my @ratios = sort { $a <=> $b } map { $after->[$_] / $before->[$_] } 0 .. $#$before;
    my $outside = outside(scalar @ratios);
    my $interval = $outside < 0 ? '-' : sprintf '%.3f-%.3f', $ratios[$outside], $ratios[-1 - $outside];
    printf "%-26s %-6s %12.1f %12.1f %7.3f  %s\n", $figure, $kind, median(@$before), median(@$after),
        median(@ratios), $interval;
}

sub median {
    my @sorted = sort { $a <=> $b } @_;
    return ($sorted[$#sorted / 2] + $sorted[@sorted / 2]) / 2;
}

# How many of n sorted values may lie outside at each end; -1: even all values are not enough.
sub outside {
    my ($n) = @_;
    my ($count, $probability, $below) = (-1, 2**-$n, 2**-$n);
    while (2 * $below <= 0.05) {
        $count++;
        $probability *= ($n - $count) / ($count + 1);
        $below += $probability;
    }
    return $count;
}
