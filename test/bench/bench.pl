#!/usr/bin/perl

# The benchmarks, a module each; run.sh has set up what they need.

use strict;
use warnings;

use Bench;
use Getopt::Long;

my @sections = qw(throughput peers latency idle memory growth snapshot bloat queueing many);

GetOptions(\%option, 'rounds=i', 'scale=f') && $option{rounds} > 0 && $option{scale} > 0
  or exit 2;
for my $section (@ARGV)
{
	die "no such section: $section\n" if !grep { $_ eq $section } @sections;
}

on_connection(
	connect_to('postgres'),
	sub {
		sql("ALTER SYSTEM SET sms3300.worker_idle_timeout = '1d'", 'SELECT pg_reload_conf()');
		for my $section (@ARGV ? @ARGV : @sections)
		{
			my $module = 'Bench::' . ucfirst $section;
			eval "require $module; 1" or die $@;
			$module->can('measure')->();
		}
	});
