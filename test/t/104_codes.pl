
# No credit and a wrong password look different: the reason, the log and sms3300_explain name
# the code, its meaning and the gateway's own words, without what identifies anyone.

use strict;
use warnings;
use utf8;

use Encode qw(decode);
use PostgreSQL::Test::Utils;
use SMS3300;
use Test::More;

my $gateway = new_gateway();
my $node    = new_node('main');
create_account($node, 'postgres', url => $gateway->url, line => '983000330000',
	username => 'acme-company', password => 'top secret');

# Return what a query returns, as characters.
sub ask
{
	return decode('UTF-8', run_sql($node, shift));
}

# Stop the account by a refusal, and expect its reason everywhere; then let it send.
sub stops
{
	my ($code, $words, $reason, $what) = @_;
	my $offset = -s $node->logfile;
	$gateway->mode("#status $code $words");
	my $id = queue($node, 'a text for one reader');
	wait_for_sql($node, 'postgres', q{SELECT state = 'stopped' FROM sms3300_stat_account});
	is(ask('SELECT reason FROM sms3300_stat_account'), $reason, "$what: the reason");
	wait_until(sub { ask("SELECT sms3300_explain($id)") =~ /has stopped/ }, 'stopped and explained');
	like(ask("SELECT sms3300_explain($id)"), qr/has stopped: \Q$reason\E; /, "$what: explained");
	like(decode('UTF-8', slurp_file($node->logfile, $offset)),
		qr/LOG:  sms3300: account "sms3300" stopped: \Q$reason\E\n/, "$what: logged");
	$gateway->mode('');
	run_sql($node, q{ALTER SERVER sms3300 OPTIONS (ADD rate '100'); ALTER SERVER sms3300 OPTIONS (DROP rate)});
	wait_for_status($node, $id, 'sent');
	return;
}

stops(14, 'اعتبار شما کافی نیست',
	'the gateway answered with status 14 (not enough credit): اعتبار شما کافی نیست', 'no credit');
stops(18, 'login failed',
	'the gateway answered with status 18 (wrong user name or password): login failed',
	'a wrong password');
stops(14, 'balance of 09123456789 is 0, code 12345',
	'the gateway answered with status 14 (not enough credit): balance of *** is 0, code 12345',
	'a number is masked');
stops(14, 'موجودی ۰۹۱۲۳۴۵۶۷۸۹ و ٠٩١٢٣٤٥٦٧٨٩ صفر است، کد ۱۴',
	'the gateway answered with status 14 (not enough credit): موجودی *** و *** صفر است، کد ۱۴',
	'a number of Persian or Arabic digits is masked');
stops(14, 'for 0912 345 6789, 0912-345-6789, 0912.345.67.89 or ０９１２３４５６７８９: 12 345-6, 1234 - 5678',
	'the gateway answered with status 14 (not enough credit): for ***, ***, *** or ***: 12 345-6, 1234 - 5678',
	'a number with separators, or of full-width digits, is masked');
stops(19, 'top secret is wrong',
	'the gateway answered with status 19 (login refused): *** is wrong', 'the password is masked');
stops(16, 'acme-company is inactive',
	'the gateway answered with status 16 (account inactive)', 'words with the user name are left out');
stops(17, 'expired: a text for one reader',
	'the gateway answered with status 17 (account expired)', 'words with the text are left out');
my $long = 'پیام ' x 60;
stops(22, $long,
	'the gateway answered with status 22 (web service not enabled): ' . substr($long, 0, 66),
	'long words are cut between two characters');

# A code that nothing is known of: the words alone.
alter_account($node, account_codes => '14, 16-19, 22, 29, 77');
stops(77, 'new rules', 'the gateway answered with status 77: new rules', 'an unknown code');

# A message's own fault: what to do depends on it.
my %remedy = (
	'27 انصراف' => qr/ \(recipient opted out\): انصراف; leave it, or queue a new message by a route with a fallback/,
	'33 x'      => qr/ \(recipient opted out of this line\): x; leave it, or queue a new message/,
	'1 x'       => qr/ \(invalid recipient\): x; correct the number and queue a new message$/,
);
for my $answer (sort keys %remedy)
{
	my $id   = queue_until($node, 'rejected', "#status $answer");
	my $line = ask("SELECT sms3300_explain($id)");
	my ($code) = split ' ', $answer;
	like($line, $remedy{$answer}, "explained: $code");
	unlike($line, qr/resend|once that is corrected/, "not to be resent: $code");
}
alter_account($node, refused_codes => '1, 27, 33, 78');
my $id = queue_until($node, 'rejected', '#status 78 no');
like(ask("SELECT sms3300_explain($id)"),
	qr/answered with status 78: no; once that is corrected, sms3300_resend\($id\) queues it again/,
	'an unknown code: the words alone');

done_testing();
