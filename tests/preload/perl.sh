#!/bin/bash
# SPDX-License-Identifier: MIT
# perl -- hashes, sorting, regular expressions, storing, forked children with pipes.
. "$(dirname "$0")/lib.sh"
need perl

scenario() {
    perl -MStorable=freeze,thaw -MDigest::SHA=sha1_hex -e '
        use strict; use warnings;
        my $n = 40000 * $ENV{SCALE};
        my (%h, @a);
        for my $i (0 .. $n - 1) {
            my $s = "record $i: " . join(",", map { ($i * $_) % 977 } 1 .. 12);
            $h{"key" . ($i * 7919 % 1000003)} = { id => $i, text => $s, list => [1 .. $i % 7] };
            push @a, $s;
        }
        select undef, undef, undef, 0.4;
        my @s = sort @a;
        print "sorted ", sha1_hex(join "\n", @s), "\n";
        my $copy = thaw(freeze(\%h));
        undef @s;
        select undef, undef, undef, 0.4;
        my ($sum, $ones) = (0, 0);
        for my $k (sort keys %$copy) {
            $sum += $copy->{$k}{id} + @{ $copy->{$k}{list} };
            $ones++ if $copy->{$k}{text} =~ /(\b1\d\d,).*\g1/;
            die "differs at $k" if $copy->{$k}{text} ne $h{$k}{text};
        }
        print "sum $sum, matches $ones\n";
        for my $c (1 .. 4) {
            my $pid = open(my $in, "-|") // die "fork: $!";
            if (!$pid) {
                my $text = join "|", map { $h{$_}{text} } grep { /$c$/ } sort keys %h;
                print "child $c ", sha1_hex($text), " ", length $text, "\n";
                exit 0;
            }
            print while <$in>;
            close $in or die "child failed: $?";
        }
        delete @h{ grep { $h{$_}{id} % 2 } keys %h };
        open(my $out, ">", "rest") or die;
        print $out "$_ $h{$_}{text}\n" for sort keys %h;
        close $out;
    '
}

compare "$@"
