
# The Zabbix template, imported into a real Zabbix: each trigger fires when its problem is there,
# and is quiet again. It is skipped where Zabbix's server, agent and frontend, and PHP, are not
# installed; the environment's ZABBIX_ROOT may say where they were unpacked.

use strict;
use warnings;

use Cwd            qw(abs_path);
use File::Basename qw(dirname);
use HTTP::Tiny;
use IPC::Run qw(start);
use JSON::PP qw(decode_json encode_json);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SMS3300;
use SMS3300::Clock;
use Test::More;

my $root     = $ENV{ZABBIX_ROOT} // '';
my $frontend = "$root/usr/share/zabbix";
my ($php) = grep { -x } ((map { "$_/php" } split /:/, $ENV{PATH}), glob "$root/usr/bin/php[0-9]*");
plan skip_all => 'Zabbix is not installed'
  if !$php || grep { !-e } "$root/usr/sbin/zabbix_server", "$root/usr/sbin/zabbix_agentd", "$frontend/api_jsonrpc.php";

my $gateway = new_gateway();
my $node    = new_shifted_node('main', conf => "sms3300.max_workers = 1\nsms3300.poll_interval = 1s\n");
my $url     = $gateway->url;
my $line    = '983000330000';
create_account($node, 'postgres', url => $url, line => $line, timeout => '1 hour', max_in_flight => 4);
run_sql($node, 'CREATE ROLE zabbix LOGIN IN ROLE pg_monitor');
my $zabbix = new_node('zabbix', conf => "max_connections = 60\n");
my ($host, $port, $work) = ($zabbix->host, $zabbix->port, $zabbix->basedir);
my ($server_port, $agent_port, $web_port) = map { PostgreSQL::Test::Cluster::get_free_port() } 1 .. 3;

# Zabbix's own database.
run_sql($zabbix, 'CREATE ROLE zabbix LOGIN; CREATE DATABASE zabbix OWNER zabbix');
system("zcat $root/usr/share/zabbix-server-pgsql/$_.sql.gz | psql -q -1 -h $host -p $port -U zabbix zabbix >/dev/null") == 0
  or die "could not load $_"
  for qw(schema images data);

# What runs: the server, the agent with the parameters of the template's head, the frontend.
my $template = slurp_file(abs_path(dirname(__FILE__) . '/../../doc/monitoring/zabbix.yaml'));
my $parameters = join '', map { "$_\n" } $template =~ /^# +(UserParameter=.*)/mg;
$parameters =~ s/ psql / psql -h ${\ $node->host } -p ${\ $node->port } /g;
append_to_file("$work/server.conf", <<"END2");
ListenPort=$server_port
LogFile=$work/server.log
PidFile=$work/server.pid
SocketDir=$work
DBHost=$host
DBPort=$port
DBName=zabbix
DBUser=zabbix
AllowUnsupportedDBVersions=1
StartPollers=2
StartPollersUnreachable=1
StartTrappers=1
StartPingers=0
StartDiscoverers=0
StartHTTPPollers=0
StartDBSyncers=1
StartPreprocessors=1
CacheUpdateFrequency=1
HousekeepingFrequency=0
ListenIP=127.0.0.1
END2
append_to_file("$work/agent.conf", <<"END2" . $parameters);
Server=127.0.0.1
ListenIP=127.0.0.1
ListenPort=$agent_port
LogFile=$work/agent.log
PidFile=$work/agent.pid
Timeout=10
END2
append_to_file("$work/zabbix.conf.php", <<"END2");
<?php
\$DB['TYPE'] = 'POSTGRESQL';
\$DB['SERVER'] = '$host';
\$DB['PORT'] = '$port';
\$DB['DATABASE'] = 'zabbix';
\$DB['USER'] = 'zabbix';
\$DB['PASSWORD'] = '';
\$DB['SCHEMA'] = '';
\$DB['ENCRYPTION'] = false;
\$DB['DOUBLE_IEEE754'] = true;
\$ZBX_SERVER = '127.0.0.1';
\$ZBX_SERVER_PORT = '$server_port';
\$ZBX_SERVER_NAME = '';
\$IMAGE_FORMAT_DEFAULT = IMAGE_FORMAT_PNG;
END2
system("cp -r $frontend $work/web") == 0 or die;
system("grep -rl CONFIG_FILE_PATH $work/web --include=*.php | xargs sed -i 's#/etc/zabbix/zabbix.conf.php#$work/zabbix.conf.php#'") == 0 or die;
my @extensions = $root eq '' ? () : map { ('-d', "extension=$_") } grep { -e } map { glob "$root/usr/lib/php/*/$_.so" }
  qw(ctype gettext sockets mbstring bcmath gd dom xml simplexml xmlwriter xmlreader pgsql);
local $ENV{LD_LIBRARY_PATH} = "$root/usr/lib/x86_64-linux-gnu";
my $out = '';
my @agent   = ("$root/usr/sbin/zabbix_agentd", '-f', '-c', "$work/agent.conf");
my @running = map { start($_, '<', \undef, '>&', \$out) } (\@agent,
	[ "$root/usr/sbin/zabbix_server", '-f', '-c', "$work/server.conf" ],
	[ $php, @extensions, '-S', "127.0.0.1:$web_port", '-t', "$work/web" ]);
END { local $?; $_->signal('TERM') for @running; $_->finish for @running; }

# Call Zabbix's API.
my ($http, $token) = (HTTP::Tiny->new(timeout => 30));

sub call
{
	my ($method, $params) = @_;
	my $reply = $http->post("http://127.0.0.1:$web_port/api_jsonrpc.php", {
		headers => { 'Content-Type' => 'application/json-rpc' },
		content => encode_json({ jsonrpc => '2.0', method => $method, params => $params, id => 1,
			$token ? (auth => $token) : () }) });
	my $answer = eval { decode_json($reply->{content}) };
	return if !$answer;
	die "$method: " . encode_json($answer->{error}) . "\n" if $answer->{error};
	return $answer->{result};
}

wait_until(sub { $_->pump_nb for @running; $token = eval { call('user.login', { username => 'Admin', password => 'zabbix' }) } },
	sub { "the frontend: $@ $out" });

# The template, asked each second, and a host with it.
my $fast = $template =~ s/^( +)(history: (?:7d|1h)\n)/$1delay: 1s\n$1$2/mgr;

# Import a template, or change what was imported.
sub import_template
{
	my ($source) = @_;
	my %rule = map { $_ => { createMissing => JSON::PP::true, updateExisting => JSON::PP::true } } qw(templates items triggers);
	return call('configuration.import', { format => 'yaml', source => $source,
		rules => { %rule, groups => { createMissing => JSON::PP::true } } });
}

ok(import_template($fast), 'Zabbix imports the template');
my ($imported) = @{ call('template.get', { output => ['templateid'], filter => { host => ['sms3300 by Zabbix agent'] }, selectTriggers => ['description'] }) };
cmp_ok(scalar @{ $imported->{triggers} }, '>=', 21, 'its triggers');
my ($group) = @{ call('hostgroup.get', { output => ['groupid'], limit => 1 }) };
call('host.create', { host => 'database', groups => [$group], templates => [ { templateid => $imported->{templateid} } ],
	interfaces => [ { type => 1, main => 1, useip => 1, ip => '127.0.0.1', dns => '', port => "$agent_port" } ] });

# Wait until these triggers fire, and no other one.
my %fired;

sub fires
{
	my (@expected) = @_;
	my $expected = join ', ', sort @expected;
	@fired{@expected} = ();
	my $firing   = 'nothing yet';
	wait_until(
		sub {
			$_->pump_nb for @running;
			$firing = join ', ', sort map { $_->{description} =~ s/^sms3300: //r }
			  @{ call('trigger.get', { output => ['description'], only_true => 1, host => 'database', filter => { value => 1 } }) };
			return $firing eq $expected;
		},
		sub { "the triggers '$expected', but '$firing' fire\n" . join '', map { -e "$work/$_.log" ? slurp_file("$work/$_.log") : '' } qw(server agent) });
	return is($firing, $expected, $expected eq '' ? 'all is quiet' : "fires: $expected");
}

# Items are asked for before anything fires.
wait_until(sub { $_->pump_nb for @running; my ($item) = @{ call('item.get', { output => ['lastvalue'], host => 'database', filter => { key_ => 'sms3300.problem[overdue]' } }) };
	$item && $item->{lastvalue} eq '0' && call('item.get', { output => ['lastclock'], host => 'database', filter => { key_ => 'sms3300.problem[overdue]' } })->[0]{lastclock} > 0 },
	sub { "values\n" . join '', map { -e "$work/$_.log" ? slurp_file("$work/$_.log") : '' } qw(server agent) });
fires();

my $later   = \"now() + interval '2 hours'";

$gateway->mode('#status 14 no');
my $id = queue($node, 'stopped', send_before => \"now() + interval '9 min'");
fires('account_stopped', 'expiring');
$gateway->mode('');
run_sql($node, q{SELECT sms3300_retry('sms3300')});
fires();

alter_account($node, paused => 'true');
my $expired = queue_until($node, 'expired', 'late', send_before => \"clock_timestamp() + interval '2 s'");
queue($node, 'paused');
fires('expired_messages', 'paused');
set_setting($node, 'sms3300.enabled', 'off');
fires('disabled', 'expired_messages', 'paused');
set_setting($node, 'sms3300.enabled', undef);
alter_account($node, paused => undef);
run_sql($node, "SELECT sms3300_resend($expired)");
fires();

queue_until($node, 'unknown', '#http 500');
$id = queue($node, 'elsewhere', send_after => $later);
run_sql($node, "UPDATE sms_outbox SET origin = origin + 1 WHERE id = $id");
fires('foreign_rows', 'unknown_messages');
run_sql($node, "SELECT sms3300_adopt(); SELECT sms3300_cancel($id); SELECT sms3300_resolve(id, true) FROM sms_outbox WHERE status = 'unknown'");
fires();

my $armed = "$work/armed";
set_setting($node, 'sms3300.armed_file', $armed);
fires('not_armed');
append_to_file($armed, '');
fires();

my $session = $node->background_psql('postgres', on_error_stop => 1);
$session->query_safe('BEGIN; LOCK TABLE sms_outbox');
pass_time(11);
fires('table_locked');
$session->query_safe('COMMIT');
$session->quit;
fires();

queue_until_taken($node, $gateway, '#hold', n => 4);
queue($node, 'behind');
pass_time(301);
fires('overdue');
$gateway->release;
alter_account($node, max_in_flight => 8);
fires();

($session, undef, $id) = lock_by($node, 'SELECT FROM sms_outbox WHERE id = %id FOR UPDATE', 'a locked row');
wait_for_sql($node, 'postgres', q{SELECT state FROM sms3300_stat_worker WHERE datname = 'postgres'}, 'blocked');
pass_time(11);
fires('row_locked');
unlock($session);
fires();

# What is missing, refused or used up.
run_sql($node, q{CREATE ROLE bob LOGIN; GRANT USAGE ON FOREIGN SERVER sms3300 TO bob;
	CREATE USER MAPPING FOR bob SERVER sms3300 OPTIONS (username 'bob', password 'wrong')});
run_as($node, 'bob', q{SELECT sms3300_send('09123456789', '#status 18 bad ' || n) FROM generate_series(1, 2) AS n});
fires('mapping_stopped');
run_sql($node, q{SELECT sms3300_cancel_many(array_agg(id)) FROM sms_outbox WHERE sender = 'bob' AND status = 'queued'});
run_sql($node, 'DROP USER MAPPING FOR bob SERVER sms3300');
queue_until($node, 'sent', 'another one');
fires();
alter_account($node, max_parts_per_day => 1);
queue($node, 'one too many', n => 2);
fires('budget_reached');
alter_account($node, max_parts_per_day => undef);
fires();
run_sql($node, "CREATE SERVER other FOREIGN DATA WRAPPER sms3300 OPTIONS (line '$line', url '$url', paused 'true');"
	  . q{ CREATE USER MAPPING FOR CURRENT_USER SERVER other OPTIONS (username 'u', password 'p')});
$id = queue($node, 'orphan', account => 'other');
fires('paused');
run_sql($node, q{DROP USER MAPPING FOR CURRENT_USER SERVER other});
alter_account($node, account => 'other', paused => undef);
fires('no_mapping');
run_sql($node, 'DROP SERVER other');
fires('no_account');
run_sql($node, "SELECT sms3300_cancel($id)");
fires();

# What came and is not understood, or not recorded.
run_sql($node, 'ALTER TABLE sms_outbox ADD CONSTRAINT odd CHECK (message <> $$odd$$ OR message_id IS NULL)');
queue($node, 'odd');
fires('result_not_recorded');
run_sql($node, 'ALTER TABLE sms_outbox DROP CONSTRAINT odd');
fires();
alter_account($node, delivery => 'on', delivery_checks => '500ms', delivery_interval => '0');
$gateway->states(shape => 'html');
queue_until($node, 'sent', 'delivered?');
fires('delivery_not_understood');
$gateway->states(shape => 'items', default => 1);
alter_account($node, delivery_checks => '600ms');
queue_until($node, 'sent', 'delivered!');
fires();

# No worker, and a library that is too old.
run_sql($node, 'CREATE DATABASE busy');
create_account($node, 'busy', url => $url, line => $line, timeout => '1 hour');
run_sql($node, q{SELECT pg_terminate_backend(pid) FROM sms3300_stat_worker WHERE datname = 'postgres'});
queue_until_taken($node, $gateway, '#hold', database => 'busy');
queue($node, 'no worker');
pass_time(61);
fires('no_worker');
$gateway->release;
fires();
run_sql($node, q{UPDATE pg_extension SET extversion = '99.0' WHERE extname = 'sms3300'});
fires('newer_extension');
run_sql($node, q{UPDATE pg_extension SET extversion = (SELECT default_version FROM pg_available_extensions WHERE name = 'sms3300') WHERE extname = 'sms3300'});
fires();

# The library is not there.
$node->adjust_conf('postgresql.conf', 'shared_preload_libraries', undef);
restart_shifted($node);
fires('not_preloaded');
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'sms3300'");
restart_shifted($node);
fires();

# A server that tells nothing, but for what psql says of it. This trigger waits for 30 s, not for 10 min.
import_template($fast =~ s/,10m\)=1/,30s)=1/r);
$node->stop;
fires('nothing is known');
start_shifted($node);
fires();
is_deeply([ sort keys %fired ], [ sort map { $_->{description} =~ s/^sms3300: //r } @{ $imported->{triggers} } ],
	'each trigger has fired');

done_testing();
