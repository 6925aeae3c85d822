
# Unknown messages are settled by what a person has found out: one by one, and by an export
# of the gateway's panel as doc/unknown.md says.

use strict;
use warnings;
use utf8;

use Encode qw(encode);
use PostgreSQL::Test::Utils;
use SMS3300;
use Test::More;

my $node = new_node('main');
create_account($node, 'postgres', url => 'http://127.0.0.1:1/', line => '983000330000', paused => 'true');
run_sql($node, <<'END');
CREATE ROLE alice LOGIN;
CREATE ROLE auditor LOGIN BYPASSRLS;
GRANT USAGE ON FOREIGN SERVER sms3300 TO alice;
END
queue($node, 'origin', role => 'alice');

# Make finished messages of a status: to a number, begun at a time, which are SQL with n in it.
sub make
{
	my ($status, $n, $mobile, $started_at) = @_;
	return split /\n/, run_sql($node, <<"END");
SET session_replication_role = replica;
INSERT INTO sms_outbox (mobile, message, account, sender, send_before, status, attempts, started_at, finished_at, origin)
SELECT $mobile, 'message ' || n, 'sms3300', 'alice', 'infinity', '$status', 1, $started_at, $started_at + interval '30 s', origin
FROM generate_series(1, $n) AS n, (SELECT origin FROM sms_outbox WHERE message = 'origin') AS o
RETURNING id
END
}

# By hand.
my ($sent, $lost, $seen) = make('unknown', 3, "'989120000000'", 'now()');
is(run_as($node, 'auditor', "SELECT sms3300_resolve($sent, true)"), 42501, 'for those who command the message');
is(run_as($node, 'alice', "SELECT sms3300_resolve($sent, true, 'in the panel')"), 't', 'it was sent');
is(run_as($node, 'alice', "SELECT sms3300_resolve($lost, false, 'not there')"), 't', 'it was not');
is(run_sql($node, "SELECT sms3300_resolve($seen, false)"), 't', 'without a note, by a superuser');
is(run_sql($node, "SELECT sms3300_resolve($sent, false), sms3300_resolve(0, true), sms3300_resolve(NULL, true), sms3300_resolve($sent, NULL)"),
	'f|f||', 'only what is unknown');
is(run_sql($node, "SELECT sms3300_resolve(id, true) FROM sms_outbox WHERE message = 'origin'"), 'f', 'not what is queued');
is(run_as($node, 'alice', "SELECT sms3300_resolve($lost, true, repeat('ب', 1001))"), 22001, 'a long note is refused');
is(run_as($node, 'alice', "SELECT sms3300_resolve($lost, true, repeat('ب', 1000))"), 'f', 'and one of 1000 characters is not');
my $row = sub { return (read_rows($node, "id = $_[0]"))[0] };
is_deeply([ @{ $row->($sent) }{qw(status error)} ], [ 'sent', undef ], 'sent');
is_deeply([ @{ $row->($lost) }{qw(status error)} ], [ 'failed', 'not sent, according to alice: not there' ], 'failed');
is($row->($seen)->{error}, 'not sent, according to postgres', 'failed without a note');
is_deeply([ @{ $row->($lost)->{events}[-1] }{qw(action by note)} ], [qw(resolve alice), 'not there'], 'who and why');
is_deeply([ @{ $row->($seen)->{events}[-1] }{qw(action by note)} ], [qw(resolve postgres), undef], 'who');
is(run_sql($node, "SELECT sms3300_explain($lost) ~ '^failed at .* after 1 attempt: not sent, according to alice: not there; '"), 't', 'explained');
is(run_sql($node, "SELECT sms3300_resend($lost)"), 't', 'what was not sent can be resent');

# The calendar: day 1 of the Jalali year 1403, whose last month has 30 days as 1408's has.
my @months = ((31) x 6, (30) x 5);

# Return the Jalali date so many days after 1403/01/01.
sub jalali
{
	my ($days) = @_;
	my $year = 1403;
	for (;; $year++)
	{
		for my $month (1 .. 12)
		{
			my $length = $months[ $month - 1 ] // ($year == 1403 || $year == 1408 ? 30 : 29);
			return sprintf('%d/%02d/%02d', $year, $month, $days + 1) if $days < $length;
			$days -= $length;
		}
	}
}

# Write a text with Persian digits.
sub persian
{
	my ($text) = @_;
	return $text =~ tr/0-9/۰-۹/r;
}

my $load = sql_block('doc/unknown.md', 'CREATE FUNCTION from_jalali');
run_sql($node, $load);
my $times = join ', ', map { sprintf("(%d, '%s 03:07')", $_, persian(jalali($_))) } 0 .. 2500;
is(run_sql($node, <<"END"), '2501|0', 'Jalali dates of seven years, in Persian digits');
SELECT count(*), count(*) FILTER (WHERE from_jalali(t) IS DISTINCT FROM
	(date '2024-03-20' + d + time '03:07') AT TIME ZONE 'Asia/Tehran')
FROM (VALUES $times) AS v (d, t)
END
is(run_sql($node, "SELECT count(from_jalali(t)) FROM unnest('{nothing,1405/09/08,\"\"}'::text[]) AS t"), 0, 'what is not a time');

# 200 unknown messages of 1405/09/06 (2026-11-27), and an export of that day: what is in it by number
# and minute, what is not, what cannot be told, and what is from another day.
run_sql($node, 'DELETE FROM sms_outbox WHERE message <> $$origin$$');
my $at = sub { my ($second) = @_; return "timestamptz '2026-11-27 10:00:00 Asia/Tehran' + interval '$second s' + n * interval '1 min'" };
my $number = sub { return "'98912${_[0]}' || lpad(n::text, 6, '0')" };
my @in_panel = make('unknown', 100, $number->(1), $at->(20));
my @absent = make('unknown', 50, $number->(2), $at->(20));
make('sent', 15, $number->(3), $at->(10));
my @both = make('unknown', 15, $number->(3), $at->(50));
make('sent', 15, $number->(4), $at->(10));
my @either = make('unknown', 15, $number->(4), $at->(50));
my @other_day = make('unknown', 20, $number->(5), $at->(20) . " - interval '1 day'");

my $day = jalali(366 + 365 + 251);
is($day, '1405/09/06', 'the day');
my @export = ("09129999999,$day 09:00", "09129999999,$day 20:00");
for my $n (1 .. 100)
{
	my $minute = sprintf '%s %02d:%02d', $day, 10 + int($n / 60), $n % 60;
	my $later = sprintf '%s %02d:%02d', $day, 10 + int(($n + 1) / 60), ($n + 1) % 60;
	push @export, sprintf('09121%06d,%s', $n, $n % 2 ? $minute : $later);
	push @export, (sprintf '+989123%06d,%s', $n, $minute) x 2 if $n <= 15;
	push @export, sprintf('09124%06d,%s', $n, $minute) if $n <= 15;
}
my $file = "$PostgreSQL::Test::Utils::tmp_check/export.csv";
open my $csv, '>', $file or die $!;
print $csv encode('UTF-8', join "\r\n", 'شماره,زمان,متن,خط,وضعیت', map { persian($_) . ',"متن، با ""نقل""",983000330000,ارسال شده' } @export), "\r\n";
close $csv;
my ($copy) = grep { /\\copy/ } sql_blocks('doc/unknown.md', 'no-run');
run_sql($node, $copy =~ s/export\.csv/$file/r);
is(run_sql($node, sql_block('doc/unknown.md', 'with_mobile')),
	join('|', (scalar @export) x 3, run_sql($node, q{SELECT timestamptz '2026-11-27 09:00 Asia/Tehran', timestamptz '2026-11-27 20:00 Asia/Tehran'})),
	'the export is read whole');
my $list = run_sql($node, sql_block('doc/unknown.md', 'CREATE VIEW unknown_beside_panel'));
is(scalar(() = $list =~ /\n/g) + 1, 200, 'all are listed');
is(run_sql($node, sql_block('doc/unknown.md', 'AS settled')), 165, 'what matches is settled');
is(statuses($node, [ @in_panel, @both ]), 'sent 115', 'what is in the panel was sent');
is(statuses($node, \@absent), 'failed 50', 'what is not was not');
is(statuses($node, [ @either, @other_day ]), 'unknown 35', 'the rest is left to a person');
is(run_sql($node, sql_block('doc/unknown.md', 'AS left,')), 'sms3300|35|115|50|17.5', 'how many are left, and which share');
run_sql($node, "UPDATE sms_outbox SET events = jsonb_set(events, '{-1,at}', to_jsonb(now() - interval '1 day')) WHERE id = $absent[0]");
my ($again) = grep { /resend_many/ } sql_blocks('doc/unknown.md', 'no-run');
is(run_sql($node, $again), 49, 'what was not sent is queued again, but for what was settled another day');
run_sql($node, sql_block('doc/unknown.md', 'DROP VIEW'));

$node->stop;
done_testing();
