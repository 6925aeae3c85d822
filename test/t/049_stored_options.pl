
# Options that were valid when they were stored, and no longer are, as after an upgrade of the
# system: that account is paused and says why, and is no error for the others.

use strict;
use warnings;

use SMS3300;
use Test::More;

my $gateway = new_gateway();
my $node    = new_node('main');
create_account($node, 'postgres', url => $gateway->url, line => '983000330000');
run_sql($node, "CREATE SERVER old FOREIGN DATA WRAPPER sms3300 OPTIONS (url '" . $gateway->url . "', line '983000330000', timezone 'Asia/Tehran');"
	  . " CREATE USER MAPPING FOR PUBLIC SERVER old OPTIONS (username 'user', password 'secret')");
queue_until($node, 'sent', 'to begin with', account => 'old');

# Store a time zone as no ALTER SERVER would.
sub store
{
	my ($zone) = @_;
	return run_sql($node, "UPDATE pg_foreign_server SET srvoptions = ARRAY(SELECT CASE WHEN o LIKE 'timezone=%'"
		  . " THEN 'timezone=$zone' ELSE o END FROM unnest(srvoptions) AS o) WHERE srvname = 'old'");
}

set_setting($node, 'sms3300.enabled', 'off');
my $later = queue($node, 'later', account => 'old');
store('Asia/Gone');
set_setting($node, 'sms3300.enabled', 'on');
queue_until($node, 'sent', 'by another account');
my $why = 'invalid value for option "timezone": "Asia/Gone"';
is(run_sql($node, "SELECT state, reason FROM sms3300_stat_account WHERE account = 'old'"), "paused|$why", 'it is paused, and says why');
is(statuses($node, $later), 'queued 1', 'its message waits');
is(run_sql($node, "SELECT sms3300_explain($later)"), "queued: its account old is paused: $why", 'explained');
is(run_sql($node, 'SELECT problem, detail, hint FROM sms3300_problems'),
	"paused|$why, and messages are due|ALTER SERVER old OPTIONS (SET ...) with a valid value", 'and a problem');
is(run_as($node, 'postgres', "SELECT sms3300_send('09123456789', 'new', account => 'old')"), '22023', 'no message is queued for it');
run_sql($node, "ALTER SERVER old OPTIONS (SET timezone 'Asia/Tehran')");
wait_for_status($node, $later, 'sent');
is(run_sql($node, 'SELECT count(*) FROM sms3300_problems'), 0, 'no problem is left');

$node->stop;
done_testing();
