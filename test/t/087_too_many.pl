
# A gateway that takes a limited number of messages a second and answers 429 beyond: the
# account comes back slowly, settles near what is allowed, and the log is not flooded.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use SMS3300;
use Test::More;

my $gateway = new_gateway();
my $node    = new_node('main', conf => "sms3300.worker_idle_timeout = 1h\n");
create_account($node, 'postgres', url => $gateway->url, line => '983000330000');
$gateway->mode('#limit 5');
my $offset = -s $node->logfile;
my @ids    = queue($node, 'hello', n => 150);
wait_for_status($node, \@ids, 'sent');

# The first refusals are how it learns.
my @status   = map { $_->{answer}{http} } $gateway->log;
my $accepted = 0;
shift @status while @status && $accepted < 30 && ($accepted += $status[0] == 200) < 30;
my $refused = grep { $_ == 429 } @status;
$accepted = grep { $_ == 200 } @status;
cmp_ok($accepted, '>', 100, 'most messages are sent after it has learnt');
# On an idle machine it is fewer than one for ten. How evenly requests arrive depends on the machine.
cmp_ok($refused, '<', $accepted / 3, 'far fewer are refused than accepted');
note("$refused refused, $accepted accepted");
my $told = () = slurp_file($node->logfile, $offset) =~ /account "sms3300" (?:stopped|is sending again)/g;
cmp_ok($told, '<', 6, 'what lasts is not logged all the time');
is(run_sql($node, "SELECT DISTINCT attempts FROM sms_outbox"), 1, 'refusals do not count');

$node->stop;
done_testing();
