package Bench::Accounts;

# What 1,000 accounts cost beside the one that sends, and how fast they send together: in two
# databases, each with its worker.

use strict;
use warnings;

use Bench;
use Time::HiRes qw(sleep);

# How many accounts there are beside the usual one.
use constant ACCOUNTS => 1000;

# Take all samples and print them.
sub measure
{
	in_database(one_account => sub {
		my $one = connection();
		in_database(many_accounts => sub { measure_beside($one) });
	});
	return;
}

# Make the accounts, which send to the usual gateway.
sub make_accounts
{
	sql(sprintf <<~'SQL', ACCOUNTS, "$ENV{GATEWAY}/instant");
		DO $$ BEGIN
			FOR i IN 1 .. %d LOOP
				EXECUTE format('CREATE SERVER account_%%s FOREIGN DATA WRAPPER sms3300'
					' OPTIONS (url %%L, line %%L, max_in_flight %%L)', i, '%s', '983000330000', '50');
				EXECUTE format('CREATE USER MAPPING FOR PUBLIC SERVER account_%%s'
					' OPTIONS (username %%L, password %%L)', i, 'user', 'secret');
			END LOOP;
		END $$
		SQL
	return;
}

# Compare the database of one account with the one that is worked on.
sub measure_beside
{
	my ($one) = @_;
	my $n       = scaled(20000);
	my $each    = scaled(10);
	my $singles = scaled(50);
	my $many    = ACCOUNTS;
	make_accounts();

	my ($alone, $beside) = compare(
		[ '1 account'                 => sub { on_connection($one, sub { drain_sample($n, 50, 'instant') }) } ],
		[ "$many more, which are idle" => sub { drain_sample($n, 50, 'instant') } ]);
	print_table("$n messages of an account, 50 in flight",
		[ [ rate => 'a second' ], [ cpu => 'CPU us each' ], [ memory => 'private MB' ] ], $alone, $beside);
	print_figure('rate with idle accounts against that without', ratio(rate => $beside, $alone), least => 0.90);

	($alone, $beside) = compare(
		[ '1 account'                 => sub { on_connection($one, sub { single_sample($singles) }) } ],
		[ "$many more, which are idle" => sub { single_sample($singles) } ]);
	print_table("A message every 0.1 s, $singles of them", [ [ cpu => 'CPU us each' ] ], $alone, $beside);
	print_figure('CPU time with idle accounts against that without', ratio(cpu => $beside, $alone), most => 1.10);

	($alone, $beside) = compare(
		[ '1 account'      => sub { on_connection($one, sub { insert_sample("'sms3300'", $many * $each) }) } ],
		[ "$many accounts" => sub { insert_sample("'account_' || (i % $many + 1)", $many * $each) } ]);
	print_table("@{[ $many * $each ]} messages, $each of each account",
		[ [ rate => 'a second' ], [ cpu => 'CPU us each' ], [ memory => 'private MB' ] ], $alone, $beside);
	print_figure('rate of all against that of one', ratio(rate => $beside, $alone), least => 0.50);
	return;
}

# Send messages one by one.
sub single_sample
{
	my ($n) = @_;
	set_account(paused => 'false', url => "$ENV{GATEWAY}/instant");
	wait_until('the queue', sub { value('SELECT count(*) FROM sms_outbox WHERE finished_at IS NULL') == 0 });
	my $pid = worker_pid();
	my $cpu = 0;
	for my $i (0 .. $n)
	{
		$cpu = running_seconds($pid) if $i == 1;	# after one that wakes it
		lay_down(1);
		wait_until('a message', sub { value('SELECT count(*) FROM sms_outbox WHERE finished_at IS NULL') == 0 });
		sleep 0.1;
	}
	return { cpu => (running_seconds($pid) - $cpu) / $n * 1e6 };
}

# Send messages that are queued by one statement, of the account that an expression gives.
sub insert_sample
{
	my ($account, $n) = @_;
	sql('TRUNCATE sms_outbox', 'CHECKPOINT');
	my $pid   = worker_pid();
	my $taken = requests_taken();
	my $cpu   = cpu_seconds($pid);
	sql("INSERT INTO sms_outbox (mobile, message, account) SELECT '98912' || to_char(i, 'FM0000000'), "
		  . encoded_text() . ", $account FROM generate_series(1, $n) AS i");
	wait_until('the messages', sub { value("SELECT count(*) FROM sms_outbox WHERE status = 'sent'") >= $n });
	$cpu   = cpu_seconds($pid) - $cpu;
	$taken = requests_taken() - $taken;
	die "nginx took $taken requests for $n messages\n" if $taken != $n;
	my $seconds = value('SELECT extract(epoch FROM max(finished_at) - min(started_at)) FROM sms_outbox');
	return { rate => $n / $seconds, cpu => $cpu / $n * 1e6, memory => private_memory($pid) };
}

1;
