#!/usr/bin/perl

# Measure sections, a module each; run.sh has set up what they need.

use strict;
use warnings;

use Bench;

on_connection(
	connect_to('postgres'),
	sub {
		sql("ALTER SYSTEM SET sms3300.worker_idle_timeout = '1d'", 'SELECT pg_reload_conf()');
		for my $section (@ARGV)
		{
			my $module = 'Bench::' . ucfirst $section;
			eval "require $module; 1" or die "no such section: $section\n";
			$module->can('measure')->();
		}
	});
