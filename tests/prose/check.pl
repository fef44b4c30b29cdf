#!/usr/bin/env perl
# SPDX-License-Identifier: MIT
# Rejects the sentences that HACKING.md, "How to write prose here", forbids and a program can find:
# a sentence that opens with a pronoun, over 30 words, a banned word, "is told".
# Reads documents, man pages, comments and the sentences in strings of C.
#
# usage: check.pl ROOT            checks what @checked below lists
#        check.pl ROOT FILE...    checks these files of ROOT
# Exit status: 0; 1 after a line for each sentence that has to be rewritten; 2 if the check is used wrongly.
use strict;
use warnings;

# The files that are checked; of .c files the comments and the strings.
my @checked = qw(
    ARCHITECTURE.md HACKING.md README.md docs/*.md bench/README.md man/*.in proto/*.proto src/*/*.h src/*/*.c
);

my $max_words = 30;    # the guide says 25
my $max_exceptions = 20;

# Openings that are no subject, of a sentence and of what follows a colon or semicolon. A question may
# begin with "who" or "what". "It" may follow a colon, where the sentence has named it, and may open a
# fragment that follows a line of code.
my $headless = qr/what|who|whoever|whatever|whichever|nobody|somebody|anybody|everybody|someone|anyone|everyone
    |nothing|something|everything|those|one\ (?:that|who|whose|which)/xi;
my $opening = qr/^(?:$headless|He|They|It|Its|Theirs|Ours|Some|None)\b/;
my $clause_opening = qr/^(?:$headless)\b/;

# Pictures, and words that had a meaning only here; behind "=>" the words to write.
my %banned = (
    'sick' => 'unhealthy', 'deaf' => 'does not answer', 'patience' => 'timeout', 'farewell' => 'shutdown',
    'knocks?' => 'probe', 'gives? up on' => 'time out, cancel', 'reigns?' => 'epoch, is the master',
    'reigning' => 'the master', 'takeovers?' => 'merge, failover', 'handovers?' => 'transfer',
    'hand(?:s|ed)? over' => 'transfer', 'halves' => 'sides of the partition', 'mailrooms?' => 'subscriptions',
    'mailbox(?:es)?' => 'subscription', 'ledgers?' => 'commit log', 'strikes?(?: a .*)? off' => 'remove',
    'struck off' => 'removed', 'lets? in' => 'add, admit', 'lied' => 'a statement of fact', 'heirs?' => 'successor',
    'rosters?' => 'name index', 'gate[sd]?' => 'commit waiter', 'rewound' => 'cursor reset', 'taken over' => 'merged',
    'nobody else' => 'no other server, client', 'somebody' => 'a user, another client', 'whoever' => 'the client that',
);

my $sql = qr/(?:SELECT|INSERT|CREATE|UPDATE|DELETE|ALTER|DROP|PRAGMA|WITH|REPLACE) /;

my ($root, @files) = @ARGV;
fail("usage: check.pl ROOT [FILE...]") unless defined $root;
my $whole = !@files;
if ($whole) {
    @files = map { my @found = glob_of($_); @found ? @found : fail("no file matches $_") } @checked;
}

my @exceptions = read_exceptions("$root/tests/prose/exceptions");
my ($sentences, $bad) = (0, 0);
check_file($_) for @files;

if ($whole) {
    for my $exception (grep { !$_->{used} } @exceptions) {
        print "tests/prose/exceptions: no sentence needs \"$exception->{text}\" any more\n";
        $bad++;
    }
    if (!$sentences) { print "nothing was checked\n"; $bad++ }
}
printf "%d sentences in %d files, %d to rewrite (HACKING.md, \"How to write prose here\")\n",
    $sentences, scalar @files, $bad;
exit($bad ? 1 : 0);

sub fail {
    print STDERR "check.pl: $_[0]\n";
    exit 2;
}

sub glob_of {
    my ($pattern) = @_;
    return map { s/^\Q$root\E\///r } grep { -f } glob("$root/$pattern");
}

# Lines of "a part of the sentence | the reason"; '#' begins a comment.
sub read_exceptions {
    my ($path) = @_;
    open(my $in, '<', $path) or return ();
    my @list;
    while (my $line = <$in>) {
        chomp $line;
        next if $line =~ /^\s*(?:#|$)/;
        my ($text, $reason) = split / \| /, $line, 2;
        fail("$path:$.: an exception needs a reason") unless $reason;
        push @list, { text => $text, used => 0 };
    }
    fail("$path: over $max_exceptions exceptions") if @list > $max_exceptions;
    return @list;
}

sub check_file {
    my ($file) = @_;
    open(my $in, '<', "$root/$file") or fail("cannot read $root/$file: $!");
    my @lines = <$in>;
    chomp @lines;
    my $blocks =
          $file =~ /\.md$/     ? blocks_of_markdown(@lines)
        : $file =~ /\.1\.in$/  ? blocks_of_man(@lines)
        : $file =~ /\.(?:[ch]|proto)$/ ? blocks_of_c(@lines)
        :                        fail("$file is no document and no C");
    for my $block (@$blocks) {
        my ($line, $text) = @$block;
        check_sentence($file, $line, $_) for sentences_of($text);
    }
}

sub sentences_of {
    my ($text) = @_;
    $text =~ s/\s+/ /g;
    $text =~ s/\s$//;
    $text =~ s/\b(e\.g|i\.e|etc|vs|cf|no|sec)\.(?= [^A-Z])/$1/g;
    return grep { /\w/ } split /(?<=[.!?])[)"*\x{201d}]*\s+(?=\S)/, $text;
}

sub check_sentence {
    my ($file, $line, $sentence) = @_;
    $sentences++;
    $sentence =~ s/^[\s*(_-]+//;
    $sentence =~ s/"[^"]{1,60}"/QUOTATION/g;
    my @words = grep { /\w/ } split ' ', $sentence;
    my @why;
    push @why, scalar(@words) . ' words' if @words > $max_words;
    if (@words >= 4 && $sentence !~ /\?$/) {
        push @why, "opens with \"$&\"" if $sentence =~ $opening;
        for my $clause ($sentence =~ /[;:] ([^;:]*)/g) {
            push @why, "a clause opens with \"$&\"" if $clause =~ $clause_opening;
        }
    }
    push @why, "\"$&\"" if $sentence =~ /\b(?:is|are|was|were|be|been|being) told\b/;
    for my $word (keys %banned) {
        push @why, "\"$&\" (write: $banned{$word})" if $sentence =~ /\b$word\b/i;
    }
    return unless @why;
    for my $exception (@exceptions) {
        next if index($sentence, $exception->{text}) < 0;
        $exception->{used} = 1;
        return;
    }
    $bad++;
    printf "%s:%d: %s: %s\n", $file, $line, join(', ', @why), $sentence;
}

# Each returns blocks of [line, text]: paragraphs, items of lists, cells of tables.
sub blocks_of_markdown {
    my (@blocks, $open, $code);
    my $number = 0;
    for (@_) {
        $number++;
        if (/^\s*```/) { $code = !$code; $open = undef; next }
        next if $code;
        my $line = s/`[^`]+`/CODE/gr;
        $line =~ s/\[([^\]]*)\]\([^)]*\)/$1/g;
        if ($line =~ /^\s*$/ || $line =~ /^#/) { $open = undef; next }
        if ($line =~ /^\s*\|/) {
            $open = undef;
            push @blocks, map { [$number, $_] } split /\s*(?<!\\)\|\s*/, $line;
            next;
        }
        if (!$open || $line =~ s/^\s*(?:[-*]|\d+\.)\s+//) { push @blocks, $open = [$number, '']; }
        $open->[1] .= "$line ";
    }
    return \@blocks;
}

sub blocks_of_man {
    my (@blocks, $open);
    my $number = 0;
    my $verbatim = 0;
    for (@_) {
        $number++;
        $verbatim = 1 if /^\.(?:nf|SH SYNOPSIS)/;
        $verbatim = 0 if /^\.fi/ || (/^\.SH/ && !/SYNOPSIS/);
        next if $verbatim;
        next if /^['.]\\"/;
        if (/^\.(?:PP|TP|TQ|SH|SS|RS|RE|br|TS|TE|TH|fi)/ || /^\d\t/) { $open = undef; next unless /\t/ }
        my $line = s/^\.[A-Z]+ //r;
        $line =~ s/\\f.|"//g;
        $line =~ s/\\//g;
        push @blocks, $open = [$number, ''] unless $open;
        $open->[1] .= "$line ";
    }
    return \@blocks;
}

# Comments, and strings with at least five words; strings next to each other are one.
sub blocks_of_c {
    my $text = join "\n", @_;
    my (@blocks, @string);
    my $line = 1;
    my $end_string = sub {
        push @blocks, [@string] if @string && $string[1] !~ /^\s*$sql/ && 5 <= (() = $string[1] =~ /[A-Za-z]{2,}(?:[ .,;:]|$)/g);
        @string = ();
    };
    while ($text =~ m{\G(?:/\*(.*?)\*/|//([^\n]*(?:\n[ \t]*//[^\n]*)*)|"((?:[^"\\\n]|\\.)*)"|('(?:[^'\\\n]|\\.)*')|(\s+)|(.))}gs) {
        my $from = $line;
        $line += ($& =~ tr/\n//);
        if (defined $3) {
            @string = ($from, '') unless @string;
            $string[1] .= $3 =~ s/\\n/ /gr =~ s/\\//gr;
            next;
        }
        next if defined $5;
        next if defined $6 && @string && $6 =~ /\w/;    # "%" PRIu64 " more"
        $end_string->();
        push @blocks, blocks_of_comment($from, $1 // $2) if defined $1 || defined $2;
    }
    $end_string->();
    return \@blocks;
}

sub blocks_of_comment {
    my ($number, $text) = @_;
    my (@blocks, $open);
    for my $line (split /\n/, $text) {
        my $at = $number++;
        $line =~ s{^\s*(?:\*|//)? ?}{};
        $line =~ s/\s+$//;
        if ($line =~ /^\s*$/ || $line =~ /SPDX|^\s*-{3,}/) { $open = undef; next }
        # Drawings, tables and code.
        if ($line =~ /^ {4,}|^ {2,}\S.*\S {2,}\S/ || ($line =~ /[-=]{3,}|[|>^].*[|>^]|->/ && $line !~ /\w \w+ \w+ \w+ \w/)) {
            $open = undef;
            next;
        }
        if (!$open || $line =~ s/^\s*(?:[-*]|\d+\.)\s+//) { push @blocks, $open = [$at, '']; }
        $open->[1] .= "$line ";
    }
    return @blocks;
}
