package Bench::Options;

# What an account's options cost while its messages are sent: its rules, the delivery states
# that are to be asked for later, and NOTIFY. Each is compared with the same account without,
# round by round.

use strict;
use warnings;

use Bench;
use DBI;

# So many numbers get all messages, so that a list can have each of them; so many others have
# opted out.
use constant { NUMBERS => 1000, OPTED_OUT => 100_000 };

# Take all samples and print them.
sub measure
{
	in_database(options => \&measure_in_database);
	return;
}

sub measure_in_database
{
	my $n = scaled(20000);
	local $option{numbers} = NUMBERS;
	my %rules = (
		hours             => '00:00-24:00',
		deliver_only      => join(',', map { sprintf '98912%07d', $_ } 0 .. NUMBERS - 1),
		max_per_mobile    => '1000/1min',
		max_parts_per_day => 1_000_000_000,
		rate              => 1_000_000,
		record_opt_outs   => 'true');
	my $listener = connect_to('options');
	$listener->do('LISTEN sms');

	my ($plain, $rules, $delivery, $notify) = compare(
		[ 'none of them' => sub { sample($n) } ],
		[ 'all rules'    => sub { ruled(sub { sample($n, %rules) }) } ],
		[ delivery       => sub { sample($n, delivery => 'on', delivery_url => "$Bench::gateway/states") } ],
		[ 'notify, one session listens' => sub { my $sample = sample($n, notify => 'sms'); 1 while $listener->pg_notifies; $sample } ]);
	print_table("$n messages, 50 in flight, a gateway that answers at once",
		[ [ rate => 'a second' ], [ cpu => 'CPU us each' ] ], $plain, $rules, $delivery, $notify);
	for ([ 'all rules', $rules, 0.95 ], [ delivery => $delivery, 0.90 ], [ notify => $notify ])
	{
		my ($name, $samples, $least) = @$_;
		print_figure("rate with $name against that without", ratio(rate => $samples, $plain), defined $least ? (least => $least) : ());
		print_figure("CPU time with $name against that without", ratio(cpu => $samples, $plain));
	}
	$listener->disconnect;
	return;
}

# Take a sample of an account that has more options meanwhile.
sub sample
{
	my ($n, %more) = @_;
	change(ADD => map { "$_ '$more{$_}'" } sort keys %more);
	my $pid    = worker_pid();
	my $before = running_seconds($pid);
	my $sample = drain_sample($n, 50, 'instant');
	$sample->{cpu} = (running_seconds($pid) - $before) / $n * 1e6;
	change(DROP => sort keys %more);
	return $sample;
}

# Alter the account, if there is anything to alter.
sub change
{
	my ($word, @options) = @_;
	sql('ALTER SERVER sms3300 OPTIONS (' . join(', ', map { "$word $_" } @options) . ')') if @options;
	return;
}

# Do something while the server has a file that has to be there, and many have opted out.
sub ruled
{
	my ($code) = @_;
	sql("INSERT INTO sms_opt_out (mobile) SELECT '98935' || to_char(i, 'FM0000000') FROM generate_series(1, @{[ OPTED_OUT ]}) AS i");
	sql("ALTER SYSTEM SET sms3300.armed_file = '${\ value('SHOW data_directory')}/PG_VERSION'", 'SELECT pg_reload_conf()');
	my $sample = $code->();
	sql('ALTER SYSTEM RESET sms3300.armed_file', 'SELECT pg_reload_conf()', 'TRUNCATE sms_opt_out');
	return $sample;
}

1;
