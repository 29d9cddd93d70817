# SPDX-License-Identifier: MIT
# perl_work.pl -- usage: perl_work.pl threads|data|forks SCALE; prints digests.
use strict;
use warnings;
use threads;
use threads::shared;
use Thread::Queue;
use Storable qw(freeze thaw dclone);
use Digest::SHA qw(sha1_hex);
use JSON::PP;
use Encode;

my ($what, $scale) = @ARGV;

sub record {
    my $n = shift;
    return { id => $n, text => "record $n " x ($n % 9 + 1),
        list => [ map { $_ * $n } 0 .. $n % 12 ] };
}

sub records { return map { record($_) } 0 .. shift() - 1 }

sub data {
    my @records = records(30000 * $scale);
    select undef, undef, undef, 0.3;
    my $json = JSON::PP->new->canonical;
    print "json ", sha1_hex($json->encode([ @records[0 .. 3000] ])), "\n";
    print "back ",
        sha1_hex($json->encode($json->decode($json->encode([ @records[0 .. 800] ])))), "\n";
    my $copy = dclone(\@records);
    print "copy ", sha1_hex(join "|", map { $_->{text} } @$copy), "\n";
    my @sorted = sort { $a->{text} cmp $b->{text} || $b->{id} <=> $a->{id} } @$copy;
    print "sorted ", sha1_hex(join ",", map { $_->{id} } @sorted), "\n";
    my $text = join "\n", map { $_->{text} } @records;
    my $n = () = $text =~ /record (\d*7)\b/g;
    (my $new = $text) =~ s/(\d)(\d)/$2$1/g;
    print "regular $n ", sha1_hex($new), "\n";
    my $wide = Encode::decode("UTF-8", Encode::encode("UTF-8", "\x{263a}" . $text));
    print "wide ", length $wide, " ", sha1_hex(Encode::encode("UTF-16", $wide)), "\n";
    my %h = map { $_->{text} => $_ } @records;
    delete @h{ grep { length > 40 } keys %h };
    print "hash ", scalar(keys %h), "\n";
    my $s = "";
    substr($s, int(length($s) / 2), 0) = "part $_;" for 1 .. 20000;
    print "string ", sha1_hex($s), "\n";
}

sub threads_ {
    my @records = records(2500 * $scale);
    my $todo = Thread::Queue->new(0 .. 300 * $scale);
    $todo->end;
    my %sums : shared;
    my @threads = map {
        threads->create(sub {
            while (defined(my $n = $todo->dequeue)) {
                my $r = $records[$n];
                $r->{text} .= sha1_hex($r->{text} x 50);
                lock(%sums);
                $sums{$n} = $r->{text};
            }
        })
    } 1 .. 5;
    $_->join for @threads;
    print "threads ", sha1_hex(join "|", map { $sums{$_} } sort { $a <=> $b } keys %sums), "\n";
    print "parent ", sha1_hex(join "|", map { $_->{text} } @records), "\n";
    my $short = 0;
    $short += threads->create(sub { return length(freeze(\@records)) > 1000 })->join for 1 .. 15;
    print "short $short\n";
}

sub forks {
    my @records = records(20000 * $scale);
    select undef, undef, undef, 0.3;
    for my $c (1 .. 6) {
        my $pid = open(my $in, "-|") // die "fork: $!";
        if (!$pid) {
            $_->{text} .= $c for grep { $_->{id} % 6 == $c - 1 } @records;
            print "child $c ",
                sha1_hex(join "|", map { $_->{text}, @{ $_->{list} } } @records), "\n";
            exit 0;
        }
        print while <$in>;
        close $in or die "child failed: $?";
    }
    print "parent ", sha1_hex(join "|", map { $_->{text} } @records), "\n";
}

{ threads => \&threads_, data => \&data, forks => \&forks }->{$what}->();
