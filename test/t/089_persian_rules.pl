
# The examples that README.fa.md has of an account's rules, as they are there: a code at
# night, greetings on Nowruz, and recipients who answered «لغو ۱۱».

use strict;
use warnings;
use utf8;

use SMS3300;
use SMS3300::Clock;
use Test::More;

my $gateway = new_gateway();
my $node    = new_shifted_node('main', conf => "sms3300.worker_idle_timeout = 1h\ntimezone = 'UTC'\n");
create_account($node, 'postgres', url => $gateway->url, line => '983000330000');

# Run the only example with a text in it.
sub example
{
	my ($part) = @_;
	my ($block, @more) = grep { index($_, $part) >= 0 } sql_blocks('README.fa.md', 'no-run');
	die "README.fa.md does not have exactly one example with: $part\n" if !defined $block || @more;
	return run_sql($node, $block);
}

# At night only what is urgent is sent, and not late.
set_time($node, '2027-03-19 23:30:00 Asia/Tehran');
my $otp = example('482915');
wait_for_status($node, $otp, 'sent');
my $news = queue($node, 'at night');
like(run_sql($node, "SELECT sms3300_explain($news)"), qr/outside the hours .*, 08:00-22:00 in Asia\/Tehran/, 'other messages wait');
is(run_sql($node, "SELECT send_before - created_at FROM sms_outbox WHERE id = $otp"), '00:02:00', 'a code is for two minutes');
set_time($node, '2027-03-20 07:59:58 Asia/Tehran');
wait_for_status($node, $news, 'sent');
is(run_sql($node, "SELECT started_at >= '2027-03-20 08:00 Asia/Tehran' FROM sms_outbox WHERE id = $news"), 't', 'until the opening');

# Greetings: each number once, on the morning of Nowruz, none after ten at night, and no third
# message to a number.
run_sql($node, <<'END');
CREATE TABLE subscribers (mobile text);
INSERT INTO subscribers VALUES ('09121110001'), ('+98 912 111 0001'), ('۰۹۱۲۱۱۱۰۰۰۲'), ('09121110003'), ('021 3300 3300')
END
example('nowruz-1406');
set_time($node, '2027-03-21 07:59:57 Asia/Tehran');
is(run_sql($node, q{SELECT DISTINCT send_before AT TIME ZONE 'Asia/Tehran' FROM sms_outbox WHERE dedup_key LIKE 'nowruz-1406 %'}),
	'2027-03-21 22:00:00', 'no greeting goes after ten at night');
queue_until($node, 'sent', [ 'a', 'b' ], mobile => '09121110003', priority => 9);
wait_for_statuses($node, 'نوروز مبارک!', 'sent 2, suppressed 1');
is(run_sql($node, q{SELECT min(started_at) >= '2027-03-21 08:00 Asia/Tehran' FROM sms_outbox WHERE dedup_key LIKE 'nowruz-1406 %' AND status = 'sent'}),
	't', 'greetings go on the morning of Nowruz');
is(run_sql($node, q{SELECT mobile, status FROM sms_outbox WHERE dedup_key LIKE 'nowruz-1406 %' ORDER BY mobile}),
	"989121110001|sent\n989121110002|sent\n989121110003|suppressed", 'each number once, and no third message to a number');

# Who has answered «لغو ۱۱» is refused once, and is then left alone, but for a fallback.
is(example('record_opt_outs'), '', 'nobody has opted out yet');
queue_until($node, 'rejected', '#status 33', mobile => '09121110004');
queue_until($node, 'suppressed', 'no more', mobile => '09121110004');
queue_until($node, 'sent', 'by another way', mobile => '09121110004', type => 1);
is(run_sql($node, 'SELECT mobile, line, reason, by FROM sms_opt_out'), '989121110004|983000330000|33|gateway', 'the line is recorded');

done_testing();
