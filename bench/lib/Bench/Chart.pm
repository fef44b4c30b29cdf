# SPDX-License-Identifier: MIT
# Charts as SVG: a grid of panels with bars, or with lines. Colours suit light and dark pages, the
# background is that of the page.
package Bench::Chart;
use strict;
use warnings;
use Bench::Figures ();

my $COLUMNS = 2;
my $PANEL_WIDTH = 430;
my $MARGIN = 14;
my $BAR_HEIGHT = 15;
my $BAR_STEP = 22;
my $LABEL_WIDTH = 110;
my $VALUE_WIDTH = 100;    # to the right of the longest bar
my $RANGE_MOST = 1.5;    # times the largest value; an end beyond it is a number
my $TITLE_HEIGHT = 26;
my $AXIS_HEIGHT = 38;
my $PLOT_HEIGHT = 150;    # of lines
my $LEGEND_STEP = 16;
my $TICKS = 4;

my $STYLE = <<'CSS';
text { font: 12px sans-serif; fill: #1f2328; }
.title { font-weight: bold; }
.axis, .tick { stroke: #8b949e; stroke-width: 1; fill: none; }
.tick { stroke-opacity: 0.35; }
.bar { fill: #8b949e; }
.own { fill: #2f7fd6; }
.range { stroke: #c2570c; stroke-width: 1.5; }
.line0 { stroke: #2f7fd6; stroke-width: 2; fill: none; }
.line1 { stroke: #c2570c; stroke-width: 2; fill: none; stroke-dasharray: 6 3; }
.dot0 { fill: #2f7fd6; }
.dot1 { fill: #c2570c; }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3; } }
CSS

# Panels: { title, unit, bars => [{ label, value, low, high, own }] } or
# { title, unit, x_unit, lines => [{ label, points => [[x, y], ...] }] }. Returns the text of an SVG file.
sub draw {
    my ($description, @panels) = @_;
    my ($top, $body) = (0, '');
    while (my @row = splice @panels, 0, $COLUMNS) {
        my $height = 0;
        for my $column (0 .. $#row) {
            my ($text, $used) = $row[$column]{bars} ? bars($row[$column]) : lines($row[$column]);
            $body .= sprintf qq{<g transform="translate(%d %d)">\n%s</g>\n}, $column * $PANEL_WIDTH, $top,
                $text;
            $height = $used if $used > $height;
        }
        $top += $height + $MARGIN;
    }
    my $width = $COLUMNS * $PANEL_WIDTH;
    return
        qq{<svg xmlns="http://www.w3.org/2000/svg" width="$width" height="$top" viewBox="0 0 $width $top" role="img">\n}
        . sprintf("<title>%s</title>\n<style>\n%s</style>\n%s</svg>\n", escape($description), $STYLE, $body);
}

sub escape {
    my ($text) = @_;
    my %entity = (
        '&' => '&amp;',
        '<' => '&lt;',
        '>' => '&gt;',
        '"' => '&quot;'
    );
    $text =~ s/([&<>"])/$entity{$1}/g;
    return $text;
}

sub text {
    my ($x, $y, $words, $anchor, $class) = @_;
    return sprintf qq{<text x="%.1f" y="%.1f" text-anchor="%s"%s>%s</text>\n}, $x, $y, $anchor // 'start',
        $class ? qq{ class="$class"} : '', escape($words);
}

sub segment {
    my ($class, @points) = @_;
    return sprintf qq{<path class="%s" d="M%s"/>\n}, $class, join 'L', map { sprintf '%.1f %.1f', @$_ } @points;
}

# The step between ticks: 1, 2 or 5 times a power of ten, so that at most TICKS steps reach the most.
sub step_for {
    my ($most) = @_;
    return 1 if $most <= 0;
    my $power = 10**int(log($most / $TICKS) / log(10) - ($most / $TICKS < 1 ? 1 : 0));
    for my $factor (1, 2, 5, 10) {
        return $factor * $power if $factor * $power * $TICKS >= $most;
    }
    return 10 * $power;
}

# A short number for an axis: 0, 250, 20k, 1.5M.
sub short {
    my ($value) = @_;
    return sprintf '%gM', $value / 1e6 if $value >= 1e6;
    return sprintf '%gk', $value / 1e3 if $value >= 1e4;
    return sprintf '%g', $value;
}

sub largest {
    my $most = 0;
    for (@_) { $most = $_ if defined && $_ > $most }
    return $most;
}

sub bars {
    my ($panel) = @_;
    my @bars = @{$panel->{bars}};
    my $width = $PANEL_WIDTH - $LABEL_WIDTH - $VALUE_WIDTH - $MARGIN;
    my $most = most_of(@bars);
    my $step = step_for($most);
    my $scale = $width / $most;
    my $bottom = $TITLE_HEIGHT + $BAR_STEP * @bars;
    my $body = text(0, 15, $panel->{title}, 'start', 'title');

    for (my $tick = 0; $tick <= $most; $tick += $step) {
        my $x = $LABEL_WIDTH + $tick * $scale;
        $body .= segment($tick ? 'tick' : 'axis', [$x, $TITLE_HEIGHT - 3], [$x, $bottom + 4])
            . text($x, $bottom + 17, short($tick), 'middle');
    }
    $body .= segment('axis', [$LABEL_WIDTH, $bottom], [$LABEL_WIDTH + $width, $bottom]);
    $body .= text($LABEL_WIDTH + $width / 2, $bottom + 32, $panel->{unit}, 'middle');
    for my $i (0 .. $#bars) { $body .= bar($bars[$i], $TITLE_HEIGHT + $i * $BAR_STEP, $scale, $most) }
    return ($body, $bottom + $AXIS_HEIGHT);
}

# The end of the axis: one outlier must not make all bars short.
sub most_of {
    my @bars = @_;
    my $value = largest(map { $_->{value} } @bars);
    my $high = largest(map { $_->{high} } @bars);
    $high = $RANGE_MOST * $value if $high > $RANGE_MOST * $value;
    return largest($value, $high) || 1;
}

sub bar {
    my ($bar, $y, $scale, $most) = @_;
    my $middle = $y + $BAR_HEIGHT / 2;
    my $high = $bar->{high} // $bar->{value};
    my $drawn = $high > $most ? $most : $high;
    my $end = $LABEL_WIDTH + largest($bar->{value}, $drawn) * $scale;
    my $text = text($LABEL_WIDTH - 6, $middle + 4, $bar->{label}, 'end');
    $text .= sprintf qq{<rect class="%s" x="%.1f" y="%.1f" width="%.1f" height="%d"/>\n},
        $bar->{own} ? 'own' : 'bar',
        $LABEL_WIDTH, $y, $bar->{value} * $scale, $BAR_HEIGHT;
    if (defined $bar->{low} && $high > $bar->{low}) {
        $text .= segment('range', map { [$LABEL_WIDTH + $_ * $scale, $middle] } $bar->{low}, $drawn);
    }
    my $words = Bench::Figures::number($bar->{value});
    $words .= sprintf ' (to %s)', Bench::Figures::number($high) if $high > $most;
    return $text . text($end + 5, $middle + 4, $words);
}

sub lines {
    my ($panel) = @_;
    my @lines = @{$panel->{lines}};
    my ($left, $width) = (52, $PANEL_WIDTH - 52 - 3 * $MARGIN);
    my $top = $TITLE_HEIGHT + $LEGEND_STEP * @lines + 6;
    my $bottom = $top + $PLOT_HEIGHT;
    my ($x_most, $y_most) = map {
        my $k = $_;
        largest(
            map {
                map { $_->[$k] }
                    @{$_->{points}}
            } @lines
            )
            || 1
    } 0, 1;
    my ($x_scale, $y_scale) = ($width / $x_most, $PLOT_HEIGHT / ($y_most * 1.05));
    my $body = text(0, 15, $panel->{title}, 'start', 'title');
    my ($x_step, $y_step) = (step_for($x_most), step_for($y_most));
    for (my $tick = 0; $tick <= $y_most; $tick += $y_step) {
        my $y = $bottom - $tick * $y_scale;
        $body .= segment($tick ? 'tick' : 'axis', [$left - 4, $y], [$left + $width, $y])
            . text($left - 7, $y + 4, short($tick), 'end');
    }
    for (my $tick = 0; $tick <= $x_most; $tick += $x_step) {
        my $x = $left + $tick * $x_scale;
        $body .=
            segment('axis', [$x, $bottom], [$x, $bottom + 4]) . text($x, $bottom + 17, short($tick), 'middle');
    }
    $body .=
        segment('axis', [$left, $top], [$left, $bottom]) . text($left - 7, $top - 2, $panel->{unit}, 'end');
    $body .= text($left + $width / 2, $bottom + 32, $panel->{x_unit}, 'middle');
    for my $i (0 .. $#lines) {
        my @points = map { [$left + $_->[0] * $x_scale, $bottom - $_->[1] * $y_scale] } @{$lines[$i]{points}};
        my $y = $TITLE_HEIGHT + 6 + $LEGEND_STEP * $i;
        $body .=
            segment("line$i", [$left, $y - 4], [$left + 24, $y - 4]) . text($left + 30, $y, $lines[$i]{label});
        $body .= segment("line$i", @points);
        $body .= sprintf qq{<circle class="dot%d" cx="%.1f" cy="%.1f" r="3"/>\n}, $i, @$_ for @points;
    }
    return ($body, $bottom + $AXIS_HEIGHT);
}

1;
