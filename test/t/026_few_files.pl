
# Descriptors are short: an account whose gateway hangs leaves room to others.

use strict;
use warnings;

use SMS3300;
use Test::More;

my $hanging = new_gateway();
my $healthy = new_gateway();
my $node    = new_node('main', conf => "max_files_per_process = 160\n");
create_account($node, 'postgres', url => $healthy->url, line => '983000330000');
create_account($node, 'postgres', account => 'hanging', url => $hanging->url, line => '983000330000',
	max_in_flight => 1000, timeout => '1 h');

# Return how many requests hang: no more come.
sub hanging
{
	my $taken = $hanging->count->{taken};
	my $free  = run_sql($node, 'SELECT in_flight FROM sms3300_stat_account WHERE account = \'hanging\'');
	return $taken == $free ? $taken : 0;
}

my @hung = queue($node, '#hang', account => 'hanging', n => 300);
my $most;
wait_until(
	sub {
		# What is sent by the other account shows that the worker has claimed all it can.
		queue_until($node, 'sent', 'healthy');
		$most = hanging();
	},
	'requests to hang');
cmp_ok($most, '>', 5,   'an account gets descriptors');
cmp_ok($most, '<', 300, '... and would take more');

my @sent = queue($node, 'sent', n => 100);
wait_for_status($node, \@sent, 'sent');
is(hanging(), $most, 'messages of another one are sent while it holds all that it can');

# A third finds room, too, and one more after that.
for my $name (qw(third fourth))
{
	create_account($node, 'postgres', account => $name, url => $healthy->url, line => '983000330000');
	my @other = queue($node, $name, account => $name, n => 10);
	wait_for_status($node, \@other, 'sent');
}
is(hanging(), $most, 'so are those of others');

$node->stop;
done_testing();
