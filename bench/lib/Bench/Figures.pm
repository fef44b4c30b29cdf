# SPDX-License-Identifier: MIT
# Measured figures: one value for each round, row and system. Medians, ranges, tables in Markdown, and
# goals, which are ratios of two systems in the same run.
package Bench::Figures;
use strict;
use warnings;
use JSON::PP ();

my $json = JSON::PP->new->canonical;

# echo: a file handle that gets each record as one JSON object per line; undef: none.
sub new {
    my ($class, $echo) = @_;
    return bless {
        values => {},
        echo => $echo
    }, $class;
}

# Keeps a record: { round, row, system, value }, and perhaps others_percent, server_us and fields for the
# file alone. server_us becomes the value of a row "ROW_cpu".
sub add {
    my ($self, $record) = @_;
    my ($row, $system, $index) = (@{$record}{qw(row system)}, $record->{round} - 1);
    $self->{values}{$row}{$system}[$index] = 0 + $record->{value};
    $self->{values}{"${row}_cpu"}{$system}[$index] = 0 + $record->{server_us} if defined $record->{server_us};
    push @{$self->{others}}, $record->{others_percent} if defined $record->{others_percent};
    return if !$self->{echo};
    print {$self->{echo}} $json->encode($record), "\n";
    $self->{echo}->flush;
    return;
}

# Reads what an earlier run wrote. Returns its records of other kinds (those without a row).
sub read_file {
    my ($self, $path) = @_;
    my @others;
    open my $file, '<', $path or die "cannot read $path: $!\n";
    while (my $line = <$file>) {
        my $record = eval { $json->decode($line) } // die "$path line $.: this is no JSON object\n";
        if (defined $record->{row}) { $self->add($record) }
        else { push @others, $record }
    }
    close $file;
    return @others;
}

# Writes a record without a row.
sub note {
    my ($self, $record) = @_;
    print {$self->{echo}} $json->encode($record), "\n" if $self->{echo};
    return;
}

sub values_of {
    my ($self, $row, $system) = @_;
    return grep {defined} @{$self->{values}{$row}{$system} // []};
}

sub median {
    my @sorted = sort { $a <=> $b } @_;
    return if !@sorted;
    return ($sorted[$#sorted / 2] + $sorted[@sorted / 2]) / 2;
}

sub median_of { my ($self, $row, $system) = @_; return median($self->values_of($row, $system)) }

# The least and the most.
sub range {
    my @sorted = sort { $a <=> $b } @_;
    return @sorted[0, -1];
}

# Percent of the processors that other programs used: median, least and most; empty: not known.
sub others {
    my ($self) = @_;
    my @percent = @{$self->{others} // []} or return;
    return (median(@percent), range(@percent));
}

# The ratio of two systems: that of the medians, and the least and most of the rounds that have both.
# Empty: one of them was not measured.
sub ratio {
    my ($self, $row, $system, $other, $other_row) = @_;
    my ($ours, $theirs) = ($self->{values}{$row}{$system}, $self->{values}{$other_row // $row}{$other});
    my @pairs = grep { defined $ours->[$_] && $theirs->[$_] } 0 .. $#{$ours // []};
    return if !@pairs;
    my $ratio = median(map { $ours->[$_] } @pairs) / median(map { $theirs->[$_] } @pairs);
    return ($ratio, range(map { $ours->[$_] / $theirs->[$_] } @pairs));
}

# A number with three significant digits: 1,230,000; 45.6; 0.123.
sub number {
    my ($value) = @_;
    return '-' if !defined $value;
    return '0' if $value == 0;
    my $digits = 2 - int(log(abs $value) / log(10) + (abs $value >= 1 ? 1e-9 : -1));
    return sprintf '%.*f', $digits, $value if $digits > 0;
    return count(int($value / 10**-$digits + 0.5) * 10**-$digits);
}

# A whole number: 1,234,567.
sub count {
    my $text = sprintf '%.0f', $_[0];
    1 while $text =~ s/^(-?\d+)(\d{3})/$1,$2/;
    return $text;
}

sub cell {
    my ($self, $row, $system) = @_;
    my @values = $self->values_of($row, $system);
    return '-' if !@values;
    my $text = number(median(@values));
    return $text if @values == 1;
    my ($least, $most) = map { number($_) } range(@values);
    return $least eq $most ? $text : "$text ($least-$most)";
}

# A table: { title, rows => [{ key, title }], systems => [[name, title], ...] }. Systems without any value are left out.
sub table {
    my ($self, $table) = @_;
    my @systems = grep {
        my $name = $_->[0];
        grep { $self->values_of($_->{key}, $name) } @{$table->{rows}}
    } @{$table->{systems}};
    return '' if !@systems;
    my $text = sprintf "| %s | %s |\n| --- |%s\n", $table->{title}, join(' | ', map { $_->[1] } @systems),
        ' --- |' x @systems;
    for my $row (@{$table->{rows}}) {
        my @cells = map { $self->cell($row->{key}, $_->[0]) } @systems;
        $text .= sprintf "| %s | %s |\n", $row->{title}, join ' | ', @cells if grep { $_ ne '-' } @cells;
    }
    return $text;
}

# Goals: { title, row, system, other, other_row, least => factor | most => factor | below => factor }; without
# `other` the factor is a plain value. A goal whose systems were not measured is left out.
sub goals {
    my ($self, @goals) = @_;
    my $text = "| goal | measured | |\n| --- | --- | --- |\n";
    for my $goal (@goals) {
        my ($value, $low, $high) = $self->measured($goal) or next;
        my $cell = sprintf '%s%s', number($value), $low == $high ? '' : sprintf ' (%s-%s)',
            map { number($_) } $low, $high;
        $text .= sprintf "| %s | %s | %s |\n", $goal->{title}, $cell, met($goal, $value) ? 'met' : 'missed';
    }
    return $text;
}

sub measured {
    my ($self, $goal) = @_;
    return $self->ratio(@{$goal}{qw(row system other other_row)}) if defined $goal->{other};
    my @values = $self->values_of($goal->{row}, $goal->{system}) or return;
    return (median(@values), range(@values));
}

sub met {
    my ($goal, $value) = @_;
    return $value >= $goal->{least} if defined $goal->{least};
    return $value <= $goal->{most} if defined $goal->{most};
    return $value < $goal->{below};
}

1;
