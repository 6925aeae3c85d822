
# What the recipes do: doc/recipes.md's own statements, in their order. The Persian page has
# the same ones.

use strict;
use warnings;
use utf8;

use Encode qw(decode);
use SMS3300;
use Test::More;

my $gateway = new_gateway();
my $node    = new_node('main');
create_account($node, 'postgres', url => $gateway->url, line => '983000330000');
run_sql($node, <<'END');
CREATE ROLE app LOGIN;
CREATE TABLE customers (id int PRIMARY KEY, name text, mobile text);
INSERT INTO customers VALUES (1, 'سارا', '09123456701'), (2, 'b', '021 3300 3300'),
	(3, 'c', '+98 912 345 6701'), (4, 'd', '09123456704'), (5, 'e', NULL);
CREATE TABLE orders (id int PRIMARY KEY, mobile text, status text);
INSERT INTO orders VALUES (17, '09123456789', 'new'), (18, '021 3300 3300', 'new'), (19, NULL, 'new');
CREATE SCHEMA cron;
CREATE TABLE cron.job (jobname text, schedule text, command text);
CREATE FUNCTION cron.schedule(text, text, text) RETURNS void
	LANGUAGE sql AS 'INSERT INTO cron.job VALUES ($1, $2, $3)';
END

# Run SQL, and return the text that it prints.
sub ask
{
	my ($sql) = @_;
	return decode('UTF-8', run_sql($node, $sql));
}

# Return the messages that have a text, or match it: mobile, status, and how many.
sub messages
{
	my ($pattern) = @_;
	return ask('SELECT mobile, status, count(*) FROM sms_outbox WHERE message LIKE '
		  . quote($pattern) . ' GROUP BY 1, 2 ORDER BY 1, 2');
}

# Return the blocks of SQL in a document, those for the table's owner last.
sub statements
{
	my ($document) = @_;
	return (sql_blocks($document), sql_blocks($document, 'owner'));
}

# Return the blocks of code in a document, in any language.
sub code
{
	my ($document) = @_;
	return [ read_document($document) =~ /^```(\w[^\n]*\n.*?)^```$/gms ];
}

# Run the recipe that has a text in it, with its accounts at the test gateway.
sub recipe
{
	my ($part) = @_;
	my ($recipe, @more) = grep { index($_, $part) >= 0 } statements('doc/recipes.md');
	die "not one recipe has: $part\n" if !defined $recipe || @more;
	return run_sql($node, $recipe
		  =~ s/(DATA WRAPPER sms3300\s+OPTIONS \()/$1url '${\ $gateway->url }', /gr);
}

# A code comes once in a window, and not late.
recipe('ADD birthday');
is(recipe('send_code'), 't', 'a code is sent');
is(run_sql($node, "BEGIN; SELECT send_code('09123456780', '1'), send_code('+98 912 345 6780', '2'); COMMIT"),
	't|f', 'one code in a window');
is(ask("SELECT DISTINCT priority, send_before - created_at FROM sms_outbox WHERE message LIKE 'کد%'"),
	'9|00:02:00', 'with priority, for two minutes');
recipe('CREATE SERVER codes');
ask("SELECT sms3300_send('09123456789', 'code', account => 'codes')");

# One account's limit for each number, beside what other accounts send to it.
my $guest = '09123456702';
queue_until($node, 'sent', 'other account', mobile => $guest);
recipe('max_per_mobile');
queue($node, 'limited', account => 'codes', mobile => $guest, n => 4);
wait_for_end($node);
is(messages('limited'), "98${\ substr $guest, 1}|sent|3\n98${\ substr $guest, 1}|suppressed|1", 'the fourth code to a number is suppressed');
is(recipe('AS latest') =~ s/\|[^|]*\z//r, "98${\ substr $guest, 1}|1", 'and is seen');

# An order tells each status once, and a bad number changes nothing for the order.
recipe('tell_status');
run_sql($node, <<'END');
UPDATE orders SET status = 'paid';
UPDATE orders SET status = 'new';
UPDATE orders SET status = 'paid';
UPDATE orders SET status = 'sent';
END
is(ask("SELECT message, metadata->>'order' FROM sms_outbox WHERE metadata ? 'order' ORDER BY id"),
	"سفارش 17: پرداخت شد|17\nسفارش 17: ارسال شد|17", 'each status is told once');
is(ask("SELECT count(*) FROM orders WHERE status = 'sent'"), 3, 'orders with bad numbers go on');

# A reminder is for the evening before, in Tehran, and follows the appointment.
recipe('FUNCTION remind');
my $reminder = "SELECT send_after AT TIME ZONE 'Asia/Tehran', status, message FROM sms_outbox"
  . " WHERE dedup_key LIKE 'appointment%' ORDER BY id";
run_sql($node, <<'END');
INSERT INTO appointments VALUES (1, '09123456789', '2041-05-20 09:30 Asia/Tehran'),
	(2, '09123456789', now() + interval '1 minute'), (3, 'none', '2041-05-20 09:30 Asia/Tehran');
END
is(ask($reminder), '2041-05-19 18:00:00|queued|یادآوری: نوبت شما فردا ساعت 09:30 است.',
	'a reminder for the evening before');
run_sql($node, "UPDATE appointments SET starts_at = '2041-05-21 00:15 Asia/Tehran'");
is(ask("$reminder LIMIT 2"), <<'END' =~ s/\n\z//r, 'it moves with the appointment');
2041-05-19 18:00:00|cancelled|یادآوری: نوبت شما فردا ساعت 09:30 است.
2041-05-20 18:00:00|queued|یادآوری: نوبت شما فردا ساعت 00:15 است.
END
run_sql($node, 'DELETE FROM appointments');
unlike(ask($reminder), qr/queued/, 'and is cancelled with it');

# Birthdays, as the job would greet, twice.
recipe('cron.schedule');
run_sql($node, "UPDATE customers SET birthday = (now() AT TIME ZONE 'Asia/Tehran')::date - interval '10 years' WHERE id < 3");
my ($job) = ask('SELECT schedule, command FROM cron.job') =~ /\A30 6 \* \* \*\|(.*)\z/;
run_sql($node, $job) for 1, 2;
is(ask("SELECT count(*), min(message) FROM sms_outbox WHERE dedup_key LIKE 'birthday%'"),
	'1|سارا عزیز، تولدت مبارک!', 'a birthday is greeted once');

# A campaign: the pilot, then all of them, each number once.
recipe('CREATE SERVER campaign');
my $pilot = sql_block('doc/recipes.md', 'LIMIT 100');
run_sql($node, $pilot =~ s/LIMIT 100/LIMIT 1/r);
wait_for_end($node);
is(messages('جشنواره%'), '989123456701|sent|1', 'the pilot is sent');
run_sql($node, $pilot =~ s/LIMIT 100//r);
wait_for_end($node);
is(messages('جشنواره%'), "989123456701|sent|1\n989123456704|sent|1", 'then the others');
is(recipe('time_left'), '2|0|100|00:00:00', 'how far it is');
queue($node, 'stop', account => 'campaign', metadata => '{"campaign": "autumn-1405"}',
	send_after => \"now() + interval '1 hour'");
is(recipe('sms3300_cancel_many'), 1, 'it is stopped');

# By day only.
recipe("hours '08:00-21:00'");
my $night = queue($node, 'night', account => 'campaign', send_after => \"now() + interval '1 day'");
like(ask("SELECT sms3300_explain($night)"), qr/^queued: /, 'an account with hours takes messages');
run_sql($node, "SELECT sms3300_cancel($night)");

# An offer is not sent twice.
recipe('"kind": "offer"') for 1, 2;
is(messages('فقط امروز%') =~ s/\|\w+\|/|/gr, "989123456701|1\n989123456704|1", 'an offer, once in seven days');
recipe('sms_outbox_mobile');

# An opted-out recipient gets nothing, by a line of the entry or by any.
recipe('by telephone');
queue_until($node, 'suppressed', 'opted out', mobile => $_) for '09123456780', '09351234560';

# A text without a value for a variable is an error.
recipe('CREATE TABLE texts');
is(messages('سارا عزیز، صورت%') =~ s/\|.*//r, '989123456789', 'a text is filled');
like(run_as($node, 'postgres', q{SELECT fill('invoice', '{"name": "{number}", "number": null}')}),
	qr/^22004/, 'a missing variable is an error');
like(run_as($node, 'postgres', q{SELECT fill('none', '{}')}), qr/^P0002/, 'and so is a missing text');
is(ask(q{SELECT fill('invoice', '{"name": "{number}", "number": 1, "amount": 2}')}),
	'{number} عزیز، صورت‌حساب 1 به مبلغ 2 تومان آماده است.', 'a value is not filled itself');

# Finance: parts by line and month, in either calendar.
wait_for_end($node);
run_sql($node, "ALTER TABLE sms_outbox DISABLE TRIGGER USER;"
	  . " UPDATE sms_outbox SET finished_at = CASE id % 2 WHEN 0 THEN '2026-04-20 12:00 Asia/Tehran'::timestamptz"
	  . " ELSE '2027-03-20 23:59 Asia/Tehran' END WHERE status = 'sent';"
	  . " ALTER TABLE sms_outbox ENABLE TRIGGER USER");
my $sent = ask("SELECT sum(parts) FILTER (WHERE id % 2 = 0), sum(parts) FILTER (WHERE id % 2 = 1)"
	  . " FROM sms_outbox WHERE status = 'sent'");
is(join('|', map { (split /\|/)[3] } split /\n/, recipe('parts_unknown')), $sent, 'parts by month');
like(recipe('2027-03-21'), qr/\A1\|983000330000\|\d+\|\d+\n12\|983000330000\|\d+\|\d+\z/, 'parts by Persian month');

# Unknown messages are settled by what the panel shows.
my @unknown = map { queue_until($node, 'unknown', '#http 500') } 1 .. 3;
is(recipe('message FROM sms_outbox WHERE status') =~ s/\|.*//gr, join("\n", @unknown), 'which messages are unknown');
my $settle = sql_block('doc/recipes.md', 'sms3300_resolve(17');
$settle =~ s/\b${\ (17 + $_) }\b/$unknown[$_]/ for 0 .. 2;
is(run_sql($node, $settle), "t\nt\nt", 'each is settled');
wait_for_sql($node, 'postgres', "SELECT jsonb_array_length(events) FROM sms_outbox WHERE id = $unknown[1] AND finished_at IS NOT NULL", 3);
is(ask("SELECT status, events -> -1 ->> 'note' FROM sms_outbox WHERE id IN ($unknown[0], $unknown[2]) ORDER BY id"),
	"sent|in the panel\nfailed|not in the panel, and too late now", 'with the reason');
run_sql($node, "SELECT sms3300_resolve($unknown[1], false)");

# The application is told.
recipe("notify 'sms'");
my $id = queue($node, 'told', send_after => \"now() + interval '1 hour'");
like(run_sql($node, "LISTEN sms; SELECT sms3300_cancel($id); SELECT 1"),
	qr/\[\{"id": $id, "status": "cancelled"\}\]/, 'the application is told of the end');

# Only some numbers get a text.
recipe('deliver_only');
my $other = queue_until($node, 'suppressed', 'staging', mobile => '09120000000');
ok($other, 'others get none');
mark($node);

is_deeply(code('doc/recipes.fa.md'), code('doc/recipes.md'), 'the Persian page has the same code');
$node->stop;
done_testing();
