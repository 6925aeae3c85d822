
# Passwords in files. The first line is read for each request, and only from a file that
# no one but its owner can access. An invalid file is rejected and delays nothing. The
# password stays in the memory of a process only as long as it is needed.

use strict;
use warnings;

use File::Temp qw(tempdir);
use PostgreSQL::Test::Utils;
use SMS3300;
use Test::More;

my $number  = '09123456789';
my $text    = 'Text of nobody';
my $folder  = tempdir(CLEANUP => 1);
my $file    = "$folder/password";
my %account = (line => '983000330000');
my $gateway = new_gateway();
my $node    = new_node('main', conf => "sms3300.worker_idle_timeout = 1h\n");
create_account($node, 'postgres', %account, url => $gateway->url);
run_sql($node, 'CREATE ROLE plain LOGIN; GRANT USAGE ON FOREIGN SERVER sms3300 TO plain');

# Write the password file again.
sub write_password
{
	my ($content, $mode) = @_;
	unlink $file;
	append_to_file($file, $content);
	chmod $mode // 0600, $file;
	return;
}
write_password("first\n");
run_sql($node, 'CREATE USER MAPPING FOR plain SERVER sms3300 OPTIONS (username \'plain\', password_file '
	  . quote($file) . ')');
sub ask
{
	my ($status, $stdout, $stderr) =
	  $node->psql('postgres', "SET ROLE plain; SELECT sms3300_send_now('$number', '$text')",
		timeout => $PostgreSQL::Test::Utils::timeout_default);
	return $status == 0 ? ($gateway->log)[-1]{fields}{password} : $stderr =~ s/.*?ERROR: [^:]*: (.*?)\n.*/$1/sr;
}
is(ask(), 'first', 'from a file');
for my $good ([ "second\nline\n", 'second' ], [ "crlf\r\n", 'crlf' ], [ 'bare', 'bare' ],
	[ 'x' x 1024, 'x' x 1024 ], [ "blank \n", 'blank ' ])
{
	my ($content, $password) = @$good;
	write_password($content);
	is(ask(), $password, 'read again: ' . substr $password, 0, 10);
}
my @bad = (
	[ sub { write_password('') },                'is empty' ],
	[ sub { write_password("\nsecond\n") },      'is empty' ],
	[ sub { write_password('x' x 1025) },        'too long' ],
	[ sub { write_password('x' x 10_000_000) },  'too long' ],
	[ sub { write_password("a\0b\n") },          'not valid' ],
	[ sub { write_password("\xff\xfe\n") },      'not valid' ],
	(map { my $mode = $_; [ sub { write_password('secret', $mode) }, 'accessible to users other than its owner' ] } 0640, 0620, 0610, 0604, 0602, 0601),
	[ sub { write_password('secret', 0) },       'Permission denied' ],
	[ sub { unlink $file },                      'No such file' ],
	[ sub { symlink $file, $file or die },       'symbolic links' ],
	[ sub { unlink $file; system('mkfifo', $file) }, 'not a regular file' ],
	[ sub { unlink $file; mkdir $file },         'not a regular file' ]);
for my $bad (@bad)
{
	my ($make, $problem) = @$bad;
	$make->();
	like(ask(), qr/$problem/, $problem);
}
my $id = run_sql($node, "SET ROLE plain; SELECT sms3300_send('$number', '$text')");
wait_for_sql($node, 'postgres', "SELECT error LIKE '%not a regular file' FROM sms_outbox WHERE id = $id");

# Long ones, which are found in memory if but a part of a copy is left.
sub long_password
{
	my ($name) = @_;
	return "Unforgettable+$name; " x 40;
}
rmdir $file;
write_password(long_password('linked'));
symlink $file, "$folder/link" or die;
run_sql($node, 'ALTER USER MAPPING FOR plain SERVER sms3300 OPTIONS (SET password_file '
	  . quote("$folder/link") . ')');
wait_for_status($node, $id, 'sent');
is(($gateway->log)[-1]{fields}{password}, long_password('linked'), 'the worker goes on, by a link too');
write_password(long_password('changed') . "\n" . long_password('after'));
$id = run_sql($node, "SET ROLE plain; SELECT sms3300_send('$number', '$text')");
wait_for_status($node, $id, 'sent');
is(($gateway->log)[-1]{fields}{password}, long_password('changed'), 'the password file is read again');

# Nothing of it stays in the memory of a process.
sub forgotten
{
	my ($process, $pid, @names) = @_;
	SKIP:
	{
		my $memory = read_memory($pid) or skip 'the memory of a process cannot be read', 2;
		ok(index($memory, 'sms3300') >= 0, "the memory of $process");
		is_deeply([ grep { index($memory, "Unforgettable+$_") >= 0 || index($memory, "Unforgettable%2B$_") >= 0 } @names ],
			[], 'the memory has no password from a file');
	}
	return;
}
my $worker = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'sms3300 worker' AND datname = '%s'";
forgotten('the worker', run_sql($node, sprintf $worker, 'postgres'), qw(linked changed after));

# Nor in that of a session that called sms3300_send_now or sms3300_explain.
my $session = $node->background_psql('postgres');
$session->query_safe("SET ROLE plain; SELECT sms3300_send_now('$number', '$text')");
is(($gateway->log)[-1]{fields}{password}, long_password('changed'), 'a session sends with it');
forgotten('the session', $session->query_safe('SELECT pg_backend_pid()'), 'changed');
$session->quit;
my $later = run_sql($node, "SET ROLE plain; SELECT sms3300_send('$number', '$text', send_after => 'tomorrow')");
for my $file ([ 'explained', '', qr/is scheduled for/ ], [ 'refused', "\n", qr/is empty/ ])
{
	my ($name, $before, $answer) = @$file;
	write_password($before . long_password($name));
	$session = $node->background_psql('postgres');
	like($session->query_safe("SET ROLE plain; SELECT sms3300_explain($later)"), $answer, "a session that has $name");
	forgotten('the session', $session->query_safe('SELECT pg_backend_pid()'), $name);
	$session->quit;
}

# A transfer that fails.
write_password(long_password('failed'));
$gateway->stop;
$id = run_sql($node, "SET ROLE plain; SELECT sms3300_send('$number', '$text')");
wait_for_sql($node, 'postgres', "SELECT events <> '[]' FROM sms_outbox WHERE id = $id");
forgotten('the worker, after a failure', run_sql($node, sprintf $worker, 'postgres'), 'failed');
run_sql($node, "ALTER SERVER sms3300 OPTIONS (ADD paused 'true')");
$gateway->start;

# A message that is claimed, but not sent because the worker is to end. That comes while a
# trigger waits in the claim; it waits once more when the message is queued again.
write_password(long_password('stopped'));
run_sql($node, <<'END');
CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM set_config('lock_timeout', '0', false);
	PERFORM pg_advisory_lock(CASE NEW.status WHEN 'sending' THEN 1 ELSE 2 END);
	RETURN NEW;
EXCEPTION WHEN query_canceled THEN
	RETURN NEW;
END $$;
CREATE TRIGGER wait BEFORE UPDATE ON sms_outbox FOR EACH ROW EXECUTE FUNCTION wait();
END
my $locker = $node->background_psql('postgres');
$locker->query_safe('SELECT pg_advisory_lock(1), pg_advisory_lock(2)');
my $waiting = q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = %d AND NOT granted};
my $pid = run_sql($node, sprintf $worker, 'postgres');
run_sql($node, "ALTER SERVER sms3300 OPTIONS (SET paused 'false')");
wait_for_sql($node, 'postgres', sprintf($waiting, 1), 1);
run_sql($node, "SELECT pg_terminate_backend($pid)");
wait_for_sql($node, 'postgres', sprintf($waiting, 2), 1);
forgotten('a worker that was stopped', $pid, 'stopped');
run_sql($node, 'DROP FUNCTION wait() CASCADE') if $locker->quit;
wait_for_status($node, $id, 'sent');
is(($gateway->log)[-1]{fields}{password}, long_password('stopped'), 'a message is sent by the next worker');

# In another encoding than the gateway's, a password is converted.
run_sql($node, q{CREATE DATABASE latin1 TEMPLATE template0 ENCODING 'LATIN1'});
write_password("\xE9" . long_password('converted'));
create_account($node, 'latin1', %account, url => $gateway->url, password_file => $file);
$id = run_sql($node, "SELECT sms3300_send('$number', '$text')", 'latin1');
wait_for_status($node, $id, 'sent', 'latin1');
is(($gateway->log)[-1]{fields}{password}, "\xE9" . long_password('converted'), 'a password that is converted');
forgotten('its worker', run_sql($node, sprintf($worker, 'latin1')), 'converted');

# Read the private memory of a process; false if that is not allowed. What is mapped in
# gigabytes is no memory in use, but room for a sanitizer's notes on all that could be.
sub read_memory
{
	my ($pid) = @_;
	open my $maps, '<', "/proc/$pid/maps" or return;
	open my $mem, '<:raw', "/proc/$pid/mem" or return;
	my $memory = '';
	while (<$maps>)
	{
		no warnings 'portable';
		my ($from, $to) = map { hex } /^([0-9a-f]+)-([0-9a-f]+) rw.p / or next;
		next if $to - $from >= 2**30;
		sysseek $mem, $from, 0 or next;
		sysread $mem, $memory, $to - $from, length $memory;
	}
	return $memory;
}

$node->stop;
done_testing();
