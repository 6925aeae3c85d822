package Bench::Growth;

# Throughput in a table with a long history and a long queue of messages that cannot be
# sent yet, beside that in an empty one.

use strict;
use warnings;

use Bench;

# Take all samples and print them.
sub measure
{
	in_database(
		growth_empty => sub {
			my $empty = connection();
			in_database(growth => sub { measure_in_database($empty) });
		});
	return;
}

sub measure_in_database
{
	my ($empty) = @_;
	my $n = scaled(20000);
	my ($finished, $scheduled, $paused) = map { scaled($_) } 10000000, 1000000, 1000000;

	lay_down_history($finished);
	lay_down_later($scheduled, 'sms3300', "now() + interval '1 day'");
	sql("CREATE SERVER other FOREIGN DATA WRAPPER sms3300 OPTIONS (line '983000330000', paused 'true')");
	lay_down_later($paused, 'other', 'now()');
	sql('VACUUM ANALYZE sms_outbox');

	my ($without, $with) = compare(
		[ 'empty table', sub { on_connection($empty, sub { drain_sample($n, 50, 'instant') }) } ],
		[ 'grown table', sub { send_all($n, begin_messages($n, 50, 'instant')) } ]);
	print_table(
		"$n messages, 50 in flight, beside $finished finished, $scheduled for tomorrow and $paused of a paused account",
		[ [ rate => 'a second' ], [ cpu => 'CPU us each' ], [ memory => 'private MB' ] ],
		$without, $with);
	print_figure("rate against the empty table's", ratio(rate => $with, $without), least => 0.90);
	print_figure('CPU time a message likewise', ratio(cpu => $with, $without));
	return;
}

# Lay down messages without triggers, as they would be: columns and values, over "i".
sub lay_down_rows
{
	my ($n, %column) = @_;
	my ($origin, $expression) = (value('SELECT origin FROM sms_outbox LIMIT 1'));
	%column = (
		mobile     => "'98912' || to_char(i % 10000000, 'FM0000000')",
		message    => encoded_text(),
		send_after => 'created_at',
		sender     => 'current_user',
		origin     => $origin,
		%column);
	my @names = sort keys %column;
	sql('SET session_replication_role = replica',
		    'INSERT INTO sms_outbox (' . join(', ', @names) . ')'
		  . ' SELECT ' . join(', ', map { $column{$_} } @names)
		  . " FROM generate_series(1, $n) AS i, LATERAL (SELECT $column{created_at} AS created_at) AS t",
		'RESET session_replication_role');
	return;
}

# Lay down messages that were sent, one a second until an hour ago.
sub lay_down_history
{
	my ($n) = @_;
	lay_down_rows(
		$n,
		account     => "'sms3300'",
		created_at  => "now() - interval '1 hour' - ($n - i) * interval '1 second'",
		send_before => "created_at + interval '1 day'",
		status      => "'sent'",
		attempts    => 1,
		started_at  => "created_at + interval '1 ms'",
		finished_at => "created_at + interval '60 ms'",
		http_status => 200,
		api_status  => -1,
		message_id  => 'i',
		sent_line   => "'983000330000'",
		response    => "jsonb_build_object('status', -1, 'msg', 'success', 'data',"
		  . " jsonb_build_object('message_id', i, 'line', 983000330000, 'connection', i % 50))");
	return;
}

# Lay down messages of an account that are queued, due from a time on.
sub lay_down_later
{
	my ($n, $account, $due_at) = @_;
	lay_down_rows(
		$n,
		account     => "'$account'",
		created_at  => 'now()',
		due_at      => "$due_at + i * interval '1 ms'",
		send_after  => "$due_at + i * interval '1 ms'",
		send_before => "$due_at + interval '2 days'");
	return;
}

1;
