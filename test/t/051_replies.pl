
# Malformed replies. Each affects its own row only, and what is stored of it can be read,
# dumped and restored.

use strict;
use warnings;
use utf8;

use PostgreSQL::Test::Utils;
use SMS3300;
use Test::More;

my $gateway = new_gateway();
my $node    = new_node('main', conf => "sms3300.worker_idle_timeout = 1h\n");
create_account($node, 'postgres', url => $gateway->url, line => '983000330000');

# The time-out is the whole request's, however slowly a reply comes.
create_account($node, 'postgres',
	account => 'hasty', url => $gateway->url, line => '983000330000', timeout => '1500ms');

# The most that is kept of a body.
my $limit = 64 * 1024;

# The cases: a directive, the status it leads to, and what holds for its row besides.
my $data  = '"data": {"message_id": 6062, "line": "983000330001"}';
my $json  = "response->'raw' IS NULL";
my $raw   = "response->'raw' IS NOT NULL";
my $whole = "message_id = 6062 AND sent_line = '983000330001'";
my $large = "error LIKE '%too large%' AND octet_length(response->>'raw') = $limit";
my @cases = (

	# How much comes, and how.
	[ "#huge $limit", 'sent', "octet_length(response->>'msg') > $limit - 200" ],
	[ '#huge ' . ($limit + 1), 'unknown', $large ],
	[ '#huge 10000000', 'unknown', $large ],
	[ '#endless',       'unknown', $large ],
	[ '#headers 100',    'sent',    $json ],
	[ '#headers 200000', 'unknown', "http_status = 200 AND error LIKE '%too large%'" ],
	[ '#drip 1', 'sent', $json ],
	[ '#drip 1000 forever', 'unknown', "http_status IS NULL AND error LIKE '%timed out%'", 'hasty' ],
	[ '#garbage', 'unknown', 'http_status IS NULL AND response IS NULL' ],

	# What it is.
	[ '#empty', 'unknown', 'response IS NULL' ],
	[ '#text',  'unknown', "response->>'raw' = 'Service is being updated'" ],
	[ '#html',  'unknown', "response->>'raw' LIKE '<!DOCTYPE html>%'" ],
	[ '#json nothing', 'unknown', "response = '{\"raw\": \"nothing\"}'" ],
	[ '#json -1',      'unknown', "response = '-1'" ],
	[ '#json "-1"',    'unknown', "response = '\"-1\"'" ],
	[ '#json null',    'unknown', "response = 'null'" ],
	[ '#json [-1]',    'unknown', "response = '[-1]'" ],
	[ '#json [{"status": -1}]',    'unknown', $json ],
	[ '#json [{"status": 5}, -1]', 'unknown', $json ],
	[ '#json {"a": {"status": -1}}', 'unknown', $json ],
	[ '#json {"status": -1',      'unknown', $raw ],
	[ '#json {"status": -1} too', 'unknown', $raw ],
	[ '#json {"status": -1}{"status": -1}', 'unknown', $raw ],
	[ '#json \xef\xbb\xbf{"status": -1}',   'sent',    "response = '{\"status\": -1}'" ],
	[ '#nested 60',     'sent',    $json ],
	[ '#nested 30000',  'unknown', $raw ],
	[ '#nested 200000', 'unknown', $large ],

	# Its characters.
	[ '#json {"status": -1, "msg": "\u0000"}', 'sent', "response->>'raw' LIKE '%\\\\u0000%'" ],
	[ '#json {"status": -1, "msg": "\ud83d"}', 'sent', "response->>'raw' LIKE '%\\\\ud83d%'" ],
	[ '#json {"status": -1, "msg": "\ud83d\ude00"}', 'sent', "response->>'msg' = '😀'" ],
	[ '#json {"status": -1, "msg": "\xff"}', 'unknown', "response->>'raw' LIKE '%\"\\\\xff\"%'" ],
	[ '#json {"status": -1, "msg": "\xed\xa0\xbd"}', 'unknown', $raw ],
	[ '#json {"status": -1}\x00', 'unknown', "response->>'raw' LIKE '%}\\\\x00'" ],
	[ '#json \x00',               'unknown', $raw ],

	# The status.
	[ '#json {"msg": "x"}',        'unknown', 'api_status IS NULL' ],
	[ '#json {"status": null}',    'unknown', 'api_status IS NULL' ],
	[ '#json {"status": true}',    'unknown', 'api_status IS NULL' ],
	[ '#json {"status": ""}',      'unknown', 'api_status IS NULL' ],
	[ '#json {"status": "ok"}',    'unknown', 'api_status IS NULL' ],
	[ '#json {"status": [-1]}',    'unknown', 'api_status IS NULL' ],
	[ '#json {"status": {"status": -1}}', 'unknown', 'api_status IS NULL' ],
	[ '#json {"status": -1.5}',    'unknown', 'api_status IS NULL' ],
	[ '#json {"status": -1e400}',  'unknown', 'api_status IS NULL' ],
	[ '#json {"status": -1e999999999}', 'unknown', "api_status IS NULL AND $raw" ],
	[ '#json {"status": -2147483649}',  'unknown', 'api_status IS NULL' ],
	[ '#json {"status": 4294967295}',   'unknown', 'api_status IS NULL' ],
	[ '#json {"Status": -1}',           'unknown', 'api_status IS NULL' ],
	[ '#json {"status": "-1"}',         'sent',    'api_status = -1' ],
	[ '#json {"status": -1, "status": -1}', 'sent',    'api_status = -1' ],
	[ '#json {"status": -1, "status": 14}', 'unknown', 'api_status IS NULL' ],
	[ '#json {"status": false, "status": -1}', 'unknown', 'api_status IS NULL' ],
	[ '#json {"status": -1, "status": null}',  'unknown', 'api_status IS NULL' ],
	[ '#json {"status": {}, "status": -1}',    'unknown', 'api_status IS NULL' ],
	[ '#json {"status": -1, "status": [5]}',   'unknown', 'api_status IS NULL' ],
	[ '#json {"status": 14, "status": -1}', 'unknown', 'api_status IS NULL' ],

	# The data.
	[ qq(#json {$data, "status": -1}),    'sent', $whole ],
	[ qq(#json {"status": -1, $data}),    'sent', $whole ],
	[ '#json {"status": -1, "data": {"message_id": "6062", "line": 983000330001}}', 'sent', $whole ],
	[ '#nodata', 'sent', 'message_id IS NULL AND sent_line IS NULL' ],
	[ '#json {"status": -1}', 'sent', 'message_id IS NULL' ],
	[ '#json {"status": -1, "data": 12}', 'sent', 'message_id IS NULL' ],
	[ '#json {"status": -1, "data": []}', 'sent', 'message_id IS NULL' ],
	[ '#json {"status": -1, "data": [{"message_id": 12}]}', 'sent', 'message_id IS NULL' ],
	[ '#json {"status": -1, "data": {"a": {"message_id": 12}}}', 'sent', 'message_id IS NULL' ],
	[ '#json {"status": -1, "data": {"message_id": 9223372036854775807}}', 'sent',
		'message_id = 9223372036854775807' ],
	[ '#json {"status": -1, "data": {"message_id": 9223372036854775808}}', 'sent',
		"message_id IS NULL AND response->'data'->>'message_id' = '9223372036854775808'" ],
	[ '#json {"status": -1, "data": [1e60000, "e", "\\"9e9999", 1E-400]}', 'sent', $json ],
	[ '#json {"status": -1, "data": [1e60000, 1e6000]}', 'sent', $raw ],
	[ '#json {"status": -1, "data": [' . '1E+4000,' x 20 . '0]}', 'sent', $raw ],
	[ '#json {"status": -1, "data": {"message_id": 1e400}}', 'sent', "message_id IS NULL AND $json" ],
	[ '#json {"status": -1, "data": {"message_id": 1.5, "line": null}}', 'sent', 'message_id IS NULL' ],
	[ '#json {"status": -1, "data": {"line": "' . '9' x 1000 . '"}}', 'sent', 'sent_line IS NULL' ],
);

# Send them all at once, each before a message that is nothing special.
my $worker = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'sms3300 worker'";
run_sql($node, "SELECT sms3300_send('09123456789', 'the first')");
wait_for_end($node);
my $pid = run_sql($node, $worker);

my @values;
for my $case (@cases)
{
	my ($directive, undef, undef, $account) = @$case;
	my $case_values = join ', ', map { quote($_) } '09123456789', $directive, $account // 'sms3300';
	push @values, "($case_values)", "('09123456789', 'ordinary', 'sms3300')";
}
run_sql($node, 'INSERT INTO sms_outbox (mobile, message, account) VALUES ' . join ', ', @values);
wait_for_end($node);

is(run_sql($node, $worker), $pid, 'the worker is the same');
is(count_rows($node, "message = 'ordinary' AND status = 'sent'"),
	scalar @cases, 'what is nothing special is sent');
is($gateway->count->{taken}, 1 + 2 * @cases, 'each message makes one request');
unlike(slurp_file($node->logfile), qr/sms3300:/, 'no account stopped, no transaction failed');

for my $case (@cases)
{
	my ($directive, $status, $condition) = @$case;
	my $found = run_sql($node, <<"END");
SELECT status, attempts, $condition, status = 'sent' OR error LIKE '%may have been sent'
FROM sms_outbox WHERE message = ${\quote($directive)}
END
	is($found, "$status|1|t|t", substr($directive, 0, 80) =~ s/\\/%/gr)
	  or diag run_sql($node, "SELECT * FROM sms_outbox WHERE message = " . quote($directive));
}

# The stored replies survive a dump and a restore.
my $dump = "$PostgreSQL::Test::Utils::tmp_check/outbox.sql";
my $all  = 'SELECT md5(string_agg(o::text, chr(10) ORDER BY id)) FROM sms_outbox o';
$node->command_ok([ 'pg_dump', '-f', $dump, 'postgres' ], 'dumped');
run_sql($node, 'CREATE DATABASE copy');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', 'copy', '-f', $dump ],
	'restored');
is(run_sql($node, $all, 'copy'), run_sql($node, $all), 'all as it was');

$node->stop;
done_testing();
