#!/usr/bin/perl

# The benchmarks, one function a section; run.sh has set up what they need.

use strict;
use warnings;
use utf8;

use Bench;
use Getopt::Long;

my %option   = (rounds => 5);
my %measure  = (throughput => \&throughput);
my @sections = qw(throughput);

GetOptions(\%option, 'rounds=i') or exit 2;
@sections = @ARGV if @ARGV;
$measure{$_} or die "no such section: $_\n" for @sections;

$| = 1;
prepare_account();
$measure{$_}->() for @sections;

# How many messages a second are sent, and for how much CPU time.
sub throughput
{
	for ([ instant => 50, 'at once' ], [ '50ms' => 100, 'after 50 ms' ])
	{
		my ($path, $in_flight, $when) = @$_;
		my @arguments = (20000, $in_flight, $path);
		print_table(
			"20,000 messages, $in_flight in flight, a gateway that answers $when",
			[ [ rate => 'a second' ], [ cpu => 'CPU us each' ] ],
			compare(
				$option{rounds},
				[ 'bare libcurl program', sub { bare_sample(@arguments) } ],
				[ sms3300                => sub { drain_sample(@arguments) } ]));
	}
	return;
}
