#!/usr/bin/perl

# Measure sections, a module each; run.sh has set up what they need.

use strict;
use warnings;

use Bench;
use POSIX ();

on_connection(
	connect_to('postgres'),
	sub {
		print_machine();
		sql("ALTER SYSTEM SET sms3300.worker_idle_timeout = '1d'", 'SELECT pg_reload_conf()');
		for my $section (@ARGV)
		{
			my $module = 'Bench::' . ucfirst $section;
			eval "require $module; 1" or die "no such section: $section\n";
			$module->can('measure')->();
		}
	});

# Say where the figures come from, and how busy the machine is already.
sub print_machine
{
	my @cpus = read_file('/proc/cpuinfo') =~ /^model name\s*: (.*)/mg;
	my ($load) = split ' ', read_file('/proc/loadavg');
	printf "%d x %s, Linux %s, PostgreSQL %s; load %s at the start\n", scalar @cpus, $cpus[0] // 'CPU',
	  (POSIX::uname())[2], value('SHOW server_version'), $load;
	return;
}
