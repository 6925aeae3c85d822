
# sms3300.armed_file: a server without that file sends nothing, and so neither does a
# physical copy of one that has it.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use SMS3300;
use Test::More;

my $file    = PostgreSQL::Test::Utils::tempdir() . '/armed';
my $gateway = new_gateway();
my $node    = new_node('main', init => [ allows_streaming => 1 ], conf => <<"END");
sms3300.armed_file = '$file'
sms3300.poll_interval = 1s
sms3300.worker_idle_timeout = 1h
END
create_account($node, 'postgres', url => $gateway->url, line => '983000330000', timeout => '1 hour');

my $missing = qr/the file that sms3300\.armed_file names does not exist/;
my $told    = qr/no messages are sent in database "postgres" because the file "\Q$file\E" does not exist/;

# Return how often the server has logged that it is not armed.
sub tells
{
	my ($server) = @_;
	return scalar(() = slurp_file($server->logfile) =~ /because the file ".*" does not exist/g);
}

# Without the file.
my $first = queue($node, 'first');
wait_for_log($node, $told);
like(run_sql($node, "SELECT sms3300_explain($first)"), qr/^queued: nothing is sent from this server, because $missing$/,
	'explained while the file is missing');
like(run_sql($node, 'SELECT state, reason FROM sms3300_stat_account'), qr/^paused\|$missing$/,
	'the account is paused while the file is missing');
my (undef, undef, $error) = $node->psql('postgres',
	"\\set VERBOSITY verbose\nSELECT sms3300_send_now('09123456789', 'now')");
like($error, qr/55000: a rule of account "sms3300" forbids the message: $missing/, 'send_now is refused without the file');
symlink('/nonexistent/file', $file) or die "$file: $!";
run_sql($node, 'SELECT pg_reload_conf()');
queue($node, 'second');
is(statuses($node, [ $first ]), 'queued 1', 'a message waits for the file');
is($gateway->count->{taken}, 0, 'nothing left without the file, nor with a link to nothing');

# It goes on by itself when the file is there, and stops when it is gone.
unlink $file;
append_to_file($file, '');
wait_for_status($node, $first, 'sent');
wait_for_end($node);
is(tells($node), 1, 'logged once, however often it looked');
unlink $file;
wait_for_sql($node, 'postgres', "SELECT state FROM sms3300_stat_account", 'paused');
my $offset = -s $node->logfile;
my $third  = queue($node, 'third', send_after => \"now() + interval '1 s'");
wait_for_sql($node, 'postgres', "SELECT due_at < clock_timestamp() FROM sms_outbox WHERE id = $third");
append_to_file($file, '');
wait_for_status($node, $third, 'sent');

# A copy has all of the server but the file. It knows its messages and sends none.
$gateway->mode('#http 503 retry-after=3600', 1);
my $fourth = queue_until_taken($node, $gateway, 'fourth');
wait_for_sql($node, 'postgres', "SELECT state FROM sms3300_stat_account", 'stopped');
$node->backup('copy');
$node->stop;
my $taken = $gateway->count->{taken};
my $copy  = PostgreSQL::Test::Cluster->new('copy');
$copy->init_from_backup($node, 'copy');
$copy->append_conf('postgresql.conf', "sms3300.armed_file = '$file.copy'\n");
$copy->start;
my $copied = queue($copy, 'queued in the copy');
wait_for_log($copy, qr/because the file "\Q$file.copy\E" does not exist/);
is(statuses($copy, [ $fourth, $copied ]), 'queued 2', 'the messages of a copy wait');
is($gateway->count->{taken}, $taken, 'a copy without the file sends nothing');
append_to_file("$file.copy", '');
wait_for_status($copy, [ $fourth, $copied ], 'sent');
$copy->stop;

# The path.
$node->start;
for my $bad ('armed', './armed', '../armed')
{
	my (undef, undef, $problem) = $node->psql('postgres', "ALTER SYSTEM SET sms3300.armed_file = '$bad'");
	like($problem, qr/invalid value for parameter "sms3300.armed_file": "\Q$bad\E"/, "$bad is refused");
}
run_sql($node, 'CREATE ROLE app LOGIN');
is(run_as($node, 'app', 'SHOW sms3300.armed_file'), '42501', 'the path is not for everybody');

done_testing();
