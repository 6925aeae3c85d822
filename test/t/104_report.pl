
# sms3300_explain says of each status and reason what it is, and sms_report says the same of the
# same row: also while messages are sent, neither shows a part of what the other says.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use SMS3300;
use Test::More;

my $gateway = new_gateway();
my $node    = new_node('main', conf => "sms3300.worker_idle_timeout = 1h\n");
my $line    = '983000330000';
create_account($node, 'postgres', url => $gateway->url, line => $line);
queue_until($node, 'sent', 'to begin with');
set_setting($node, 'sms3300.enabled', 'off');

# Each case is a row as the extension writes it, and what is said of it. The columns that are
# not given are those of a message of account sms3300 that was finished now.
my $time  = '\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\S*';
my $gone  = 'queue a new message, because the text of this one was removed';
my $again = 'sms3300_resend\(ID\) queues it again';
my @cases = (
	[ { status => 'sent', message_id => 35702617027, sent_line => $line }, "sent at $time as gateway message 35702617027, via line $line" ],
	[ { status => 'sent' }, "sent at $time" ],
	[ { status => 'sent', line => '983000330009', sent_line => $line }, "sent at $time, by fallback: line $line carried it instead of 983000330009" ],
	[ { status => 'sent', sent_line => '983000330008' }, "sent at $time, via line 983000330008 instead of the account's line $line: a fallback, .*" ],
	[ { status => 'sent', type => 2, sent_line => '983000330008' }, "sent at $time, via line 983000330008" ],
	[ { status => 'sent', message => undef }, "sent at $time" ],
	[ { status => 'rejected', api_status => 27, error => 'opted out' }, "rejected at $time: opted out; leave it, or queue a new message by .*" ],
	[ { status => 'rejected', api_status => 33, error => 'opted out', message => undef }, "rejected at $time: opted out; leave it, or .*" ],
	[ { status => 'rejected', api_status => 1, error => 'bad' }, "rejected at $time: bad; correct the number and queue a new message" ],
	[ { status => 'rejected', api_status => 2, error => 'bad' }, "rejected at $time: bad; correct the line; .*" ],
	[ { status => 'rejected', api_status => 14, error => 'bad' }, "rejected at $time: bad; once that is corrected, $again" ],
	[ { status => 'rejected', api_status => 77, error => 'bad' }, "rejected at $time: bad; once that is corrected, $again" ],
	[ { status => 'rejected', error => 'HTTP status 400', message => undef }, "rejected at $time: HTTP status 400; once that is corrected, $gone" ],
	[ { status => 'rejected' }, "rejected at $time: no reason was recorded; once that is corrected, $again" ],
	[ { status => 'failed', attempts => 1, error => 'busy' }, "failed at $time after 1 attempt: busy; $again" ],
	[ { status => 'failed', attempts => 10, error => 'busy', message => undef }, "failed at $time after 10 attempts: busy; $gone" ],
	[ { status => 'unknown', error => 'HTTP status 500' }, "unknown since $time: HTTP status 500; its request began at $time; ask the gateway: .*; otherwise $again" ],
	[ { status => 'unknown', error => 'HTTP status 500', message => undef }, "unknown since $time: HTTP status 500; .*; otherwise $gone" ],
	[ { status => 'expired', error => 'late' }, "expired at $time: late; $again" ],
	[ { status => 'expired', error => 'late', events => '[{"error": "busy"}]' }, "expired at $time: late; the last error was: busy; $again" ],
	[ { status => 'expired', error => 'late', message => undef }, "expired at $time: late; $gone" ],
	[ { status => 'suppressed', error => 'not listed' }, "suppressed at $time: not listed; $again" ],
	[ { status => 'suppressed', error => 'not listed', message => undef }, "suppressed at $time: not listed; $gone" ],
	[ { status => 'cancelled' }, "cancelled at $time; $again" ],
	[ { status => 'cancelled', message => undef }, "cancelled at $time; $gone" ],
	[ { status => 'sending', attempts => 2 }, "being sent since $time, attempt 2" ],
	[ { status => 'sending', attempts => 2, origin => 1 }, "being sent since $time, attempt 2, in the database that this one was copied from: .*" ],
	[ { status => 'queued' }, 'queued: sending is disabled in the whole cluster: sms3300.enabled is off' ],
	[ { status => 'queued', origin => 1 }, 'queued: it was restored or queued in another database and is not sent: .*' ],
);

for my $case (@cases)
{
	my ($given, $pattern) = @$case;
	my $unfinished = $given->{status} =~ /^(?:queued|sending)$/;
	my %row = (mobile => '989123456789', message => 'text', line => undef, type => undef, account => 'sms3300',
		send_before => '2100-01-01', sender => 'postgres', attempts => 1, started_at => 'now',
		finished_at => $unfinished ? undef : 'now', due_at => $unfinished ? 'now' : undef,
		error => undef, events => '[]', api_status => undef, message_id => undef, sent_line => undef, %$given);
	my $origin  = delete $row{origin} ? '1' : 'origin';
	my @columns = sort keys %row;
	my $id = run_sql($node, 'SET session_replication_role = replica; INSERT INTO sms_outbox ('
		  . join(', ', @columns, 'origin') . ') SELECT ' . join(', ', map { quote($row{$_}) . cast($_) } @columns)
		  . ", $origin FROM (SELECT origin FROM sms_outbox ORDER BY id LIMIT 1) AS o RETURNING id");
	my $expected = $pattern =~ s/ID/$id/gr;
	my ($said, $reason) = split /\|/, run_sql($node, "SELECT sms3300_explain(id), reason FROM sms_report WHERE id = $id"), 2;
	my $what = join ', ', map { "$_ " . ($given->{$_} // 'NULL') } sort keys %$given;
	like($said, qr/^$expected$/, "explained: $what");
	is($reason, $given->{status} eq 'queued' ? substr($said, 8) : $given->{error} // '', "reported: $what");
}

# A literal of a column's type.
sub cast
{
	my ($column) = @_;
	return '::sms_status' if $column eq 'status';
	return '::timestamptz' if $column =~ /_at$|_before$/;
	return '::jsonb' if $column eq 'events';
	return '::int' if $column =~ /^(?:type|attempts|api_status)$/;
	return '::bigint' if $column eq 'message_id';
	return '';
}

# While messages are sent, the report is of one moment.
run_sql($node, 'DELETE FROM sms_outbox');
my @ids    = queue($node, 'is sent meanwhile', n => 20);
my $reader = $node->background_psql('postgres', on_error_stop => 1);
$reader->query_safe('BEGIN; DECLARE report CURSOR FOR SELECT status, reason FROM sms_report');
set_setting($node, 'sms3300.enabled', undef);
wait_for_status($node, \@ids, 'sent');
my @rows = split /\n/, $reader->query_safe('FETCH ALL FROM report');
$reader->quit;
is(scalar @rows, 20, 'the report of a moment');
is_deeply([ grep { !/^waiting\|(?:it is|its|the worker|\d+ messages?|no worker|more than) / } @rows ], [],
	'what it says is no part of what is said of another moment');

done_testing();
