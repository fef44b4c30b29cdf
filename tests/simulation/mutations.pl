#!/usr/bin/perl
# SPDX-License-Identifier: MIT
# Breaks the code on purpose, one mutation of mutations.txt after the other, and prints the first seed that
# catches each, as a row of the table in docs/simulation.md. Works on a copy of the tree.
#
#   tests/simulation/mutations.pl [PATTERN]      in the top folder; only mutations that match PATTERN
#   SEEDS (default 600), JOBS (default 2), COPY (default build-mutations)
#
# The exit status is 1 if a mutation cannot be made, or survives, or another check catches it.
use strict;
use warnings;

my $pattern = shift // '.';
my $seeds = $ENV{SEEDS} // 600;
my $jobs = $ENV{JOBS} // 2;
$| = 1;
my $copy = $ENV{COPY} // 'build-mutations';
my $chunk = 8 * $jobs;
my $failures = 0;

sub run { system(@_) == 0 or die "@_ failed\n" }

sub slurp {
    open my $in, '<', $_[0] or die "$_[0]: $!\n";
    local $/;
    return <$in>;
}

sub spew {
    open my $out, '>', $_[0] or die "$_[0]: $!\n";
    print $out $_[1];
    close $out or die "$_[0]: $!\n";
}

sub build { return system("cmake --build $copy/build --target simulation_run >$copy/log 2>&1") == 0 }

# The first seed of those that fail, its check and how to replay it.
sub hunt {
    my ($with) = @_;
    for (my $seed = 1; $seed <= $seeds; $seed += $chunk) {
        my $out = `$copy/build/tests/simulation/run --seed $seed --seeds $chunk --jobs $jobs $with 2>&1`;
        my @caught = sort { $a->[0] <=> $b->[0] }
            map { /^(\w+) is broken:.*?replay with: run --seed (\d+) (.*?) --steps/s ? [$2, $1, $3] : () }
            split /^(?=\w+ is broken:)/m, $out;
        return $caught[0] if @caught;
    }
    return undef;
}

chomp(my @sources = `git ls-files src`);
run("rm -rf $copy/src && mkdir -p $copy && git ls-files -z | xargs -0 cp --parents -t $copy");
symlink("$ENV{PWD}/third_party", "$copy/third_party");    # what Git ignores
run("cmake -G Ninja -S $copy -B $copy/build -DCMAKE_BUILD_TYPE=RelWithDebInfo -DBUILD_TESTING=ON >$copy/log");

local $/ = '';
open my $table, '<', 'tests/simulation/mutations.txt' or die "mutations.txt: $!\n";
while (my $entry = <$table>) {
    next if $entry =~ /^#/ || $entry !~ /$pattern/;
    my %field = $entry =~ /^(what|caught|with): *(.*?) *$/mg;
    my %before;
    while ($entry =~ /^edit: (\S+) (.*)$/mg) {
        my ($name, $edit) = ($1, $2);
        my ($file, @others) = map { "$copy/$_" } grep { m{/\Q$name\E$} } @sources;
        die "$field{what}: not one file is $name\n" if !defined $file || @others;
        $before{$file} //= slurp($file);
        local $_ = slurp($file);
        my $count = eval $edit;
        die "$field{what}: $edit: $@" if $@;
        print "$field{what}: $file has nothing to edit\n" and $failures++ if !$count;
        spew($file, $_);
    }
    my $found = build() ? hunt($field{with} // '') : undef;
    print "| $field{what} | ",
        $found ? "$found->[1] | `--seed $found->[0] $found->[2]` |\n" : "survives | see $copy/log |\n";
    $failures++ if !$found || $found->[1] ne $field{caught};
    spew($_, $before{$_}) for keys %before;
}
exit($failures > 0);
