
# What doc/monitoring asks: each query works as a member of pg_monitor, with an empty queue, with
# messages for later only and while the table is locked, and returns no NULL and no negative
# number. The exporters of Debian and promtool take the files, where they are installed.

use strict;
use warnings;

use Cwd            qw(abs_path);
use File::Basename qw(dirname);
use HTTP::Tiny;
use IPC::Run qw(start);
use JSON::PP qw(decode_json);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SMS3300;
use Test::More;

my $folder  = abs_path(dirname(__FILE__) . '/../../doc/monitoring');
my $gateway = new_gateway();
my $node    = new_node('main');
create_account($node, 'postgres', url => $gateway->url, line => '983000330000');
run_sql($node, 'CREATE ROLE prometheus LOGIN IN ROLE pg_monitor');

# Return the queries of a file, which are blocks of text.
sub queries
{
	my ($file) = @_;
	my $text = slurp_file("$folder/$file");
	my @queries;
	push @queries, $2 while $text =~ /^( *)(?:query|14): \|\n((?:\1 +.*\n?)+)/mg;
	return @queries;
}

my %queries = map { $_ => [ queries($_) ] } qw(queries.yaml sql-exporter.yaml sms3300.collector.yml cloudnativepg.yaml pgwatch.yaml);
is(scalar @{ $queries{$_} }, 3, "$_: queries") for sort keys %queries;

# Run each query, and expect numbers where there are rows. While the table is locked, wait for none.
sub good
{
	my ($when) = @_;
	for my $file (sort keys %queries)
	{
		my @bad;
		for my $query (@{ $queries{$file} })
		{
			my $out = run_as($node, 'prometheus', "SET statement_timeout = '20s'; $query");
			push @bad, $out if $out =~ /(?:^|\|)-\d|\|\|(?!0|[1-9])|\|$/m && $query !~ /_problems/ || $out =~ /\A[0-9A-Z]{5}\z/;
		}
		is_deeply(\@bad, [], "$file: $when");
	}
	return;
}

good('an empty queue');
my $later = queue($node, 'later', send_after => \"now() + interval '1 hour'");
good('messages for later only');
my $session = $node->background_psql('postgres', on_error_stop => 1);
$session->query_safe('BEGIN; LOCK TABLE sms_outbox');
good('the table is locked');
$session->query_safe('COMMIT');
$session->quit;

# All files ask for the same, and each column has a metric or is a label.
sub columns
{
	my ($query) = @_;
	return join ' ', grep { $_ ne 'epoch_ns' } map { s/^tag_//r }
	  split /\|/, (split /\n/, ($node->psql('postgres', $query, extra_params => [ '-P', 'tuples_only=off' ]))[1])[0];
}
my %columns = map { my $file = $_; ($file => [ map { columns($_) } @{ $queries{$file} } ]) } keys %queries;
is_deeply($columns{$_}, $columns{'queries.yaml'}, "$_: the columns of queries.yaml") for sort keys %queries;
my $flat = join ' ', @{ $columns{'queries.yaml'} };
for my $file ('queries.yaml', 'cloudnativepg.yaml')
{
	is(join(' ', slurp_file("$folder/$file") =~ /^ +- (\w+): \{usage: /mg), $flat, "$file: each column is described");
}
my $config = slurp_file("$folder/sql-exporter.yaml") =~ s/\blabels: \[(.*)\]/join '', map { "\n - $_\n" } split m{, }, $1/egr;
is(join(' ', $config =~ /^ +- (\w+)$/mg), $flat, 'sql-exporter.yaml: each column is described');
my %collected = map { $_ => 1 } map { split /, / } slurp_file("$folder/sms3300.collector.yml") =~ /(?:key_labels|values): \[(.*)\]/g;
is_deeply([ sort keys %collected ], [ sort keys %{ { map { $_ => 1 } split / /, $flat } } ], 'the collector: each column is described');

# Zabbix has a trigger for each problem of the manual.
my ($manual) = read_document('doc/operations.md') =~ /^### Problems\n(.*?)^### /ms;
is_deeply([ sort(slurp_file("$folder/zabbix.yaml") =~ /expression: 'last\(.*\[(\w+)\]\)>0'/g) ],
	[ sort($manual =~ /^\| `(\w+)` \|/mg) ], 'zabbix.yaml: a trigger for each problem');

# Each metric that an alert uses is one of queries.yaml.
my $said = slurp_file("$folder/queries.yaml");
my %metric;
while ($said =~ /^(sms3300_\w+):\n(.*?)(?=^\w|\z)/msg)
{
	my ($prefix, $body) = ($1, $2);
	$metric{"${prefix}_$_"} = 1 for $body =~ /^ +- (\w+): \{usage: (?:GAUGE|COUNTER)/mg;
}
my @used = map { /\b(sms3300_(?:account|worker|problem)_\w+)/g } grep { !/description:/ } split /\n/, slurp_file("$folder/alerts.yaml");
cmp_ok(scalar @used, '>', 10, 'metrics of the alerts');
is_deeply([ grep { !$metric{$_} } @used ], [], 'each is asked for');
is_deeply([ grep { !$metric{$_} } map { /\bmetric_name: (\w+)/g } slurp_file("$folder/sms3300.collector.yml") ], [],
	'the collector has the same names');

# Grafana tells panels apart by their numbers.
my @panels = map { $_->{id} } @{ decode_json(slurp_file("$folder/dashboard.json"))->{panels} };
is(scalar keys %{ { map { $_ => 1 } @panels } }, scalar @panels, 'each panel of the dashboard has a number of its own');

# psql's variables.
for my $variable (qw(problems queue today))
{
	my $out = run_as($node, 'prometheus', "\\i $folder/sms3300.psql\n:$variable\n");
	unlike($out, qr/^[0-9A-Z]{5}$|ERROR/, "psql: :$variable");
}
like(run_as($node, 'prometheus', "\\i $folder/sms3300.psql\n:queue\n"), qr/^sms3300\|ok\|/, 'psql: the queue');

# Find a program, in the PATH.
sub program
{
	my ($name) = @_;
	my ($path) = grep { -x } map { "$_/$name" } split /:/, $ENV{PATH};
	return $path;
}

SKIP:
{
	my $promtool = program('promtool') or skip 'promtool is not installed', 1;
	chdir $folder or die $!;
	is(system("$promtool check rules alerts.yaml && $promtool test rules alerts_test.yaml"), 0, 'promtool');
}

# Run an exporter, and wait for a metric.
sub exports
{
	my ($command, $port, $pattern, $name) = @_;
	my ($out, $http) = ('', HTTP::Tiny->new(timeout => 10));
	my $handle = start($command, '<', \undef, '>&', \$out);
	my $metrics = '';
	wait_until(sub { $handle->pump_nb; $metrics = $http->get("http://127.0.0.1:$port/metrics")->{content} // ''; $metrics =~ $pattern },
		sub { "the metric of $name: $out" });
	like($metrics, $pattern, $name);
	unlike($metrics, qr/^\w*sms3300\w*(?:\{[^}]*\})? (?:NaN|-)/m, "$name: no NULL, no negative number");
	$handle->kill_kill;
	return;
}

# What the manual says for Nagios: run by its program, or else the query alone.
my ($nagios) = read_document('doc/operations.md') =~ /^    (check_postgres\.pl .*\\\n +.*)$/m;
my ($check)  = $nagios =~ /--query="(.*)"/;
sub nagios
{
	my ($status, $value, $name) = @_;
	is(run_as($node, 'prometheus', $check), $value, "Nagios' query: $name");
	SKIP:
	{
		my $program = program('check_postgres') // program('check_postgres.pl') or skip 'check_postgres is not installed', 1;
		my $command = $nagios =~ s/\\\n//r =~ s/^check_postgres\.pl/$program/r =~ s/--dbname=app/--dbname=postgres --dbuser=prometheus/r;
		my ($out) = run_command([ 'sh', '-c', "$command --host=" . $node->host . ' --port=' . $node->port ]);
		like($out, qr/^POSTGRES_CUSTOM_QUERY $status:/, "Nagios: $name");
	}
	return;
}
nagios('OK', 0, 'all is well');
run_sql($node, "UPDATE sms_outbox SET origin = origin + 1 WHERE id = $later");
nagios('WARNING', 1, 'a warning');
set_setting($node, 'sms3300.armed_file', '/nonexistent/armed');
nagios('CRITICAL', 101, 'something critical');
set_setting($node, 'sms3300.armed_file', undef);
SKIP:
{
	my $exporter = program('prometheus-postgres-exporter') or skip 'prometheus-postgres-exporter is not installed', 2;
	my $port = PostgreSQL::Test::Cluster::get_free_port();
	local $ENV{DATA_SOURCE_NAME} = 'user=prometheus host=' . $node->host . ' port=' . $node->port . ' dbname=postgres sslmode=disable';
	exports([ $exporter, "--web.listen-address=127.0.0.1:$port", '--disable-default-metrics',
			'--disable-settings-metrics', "--extend.query-path=$folder/queries.yaml" ], $port,
		qr/^sms3300_problem_rows\{[^}]*problem="foreign_rows"[^}]*\} 1$/m, 'postgres_exporter');
}
SKIP:
{
	my $exporter = program('prometheus-sql-exporter') or skip 'prometheus-sql-exporter is not installed', 2;
	my $port   = PostgreSQL::Test::Cluster::get_free_port();
	my $config = $node->basedir . '/sql-exporter.yaml';
	my $host   = $node->host =~ s{/}{%2F}gr;
	append_to_file($config, slurp_file("$folder/sql-exporter.yaml") =~
		s{postgres://prometheus\@localhost/app\?sslmode=disable}{postgres://prometheus\@/postgres?host=${\ $node->host }&port=${\ $node->port }&sslmode=disable}r);
	exports([ $exporter, "-web.listen-address=127.0.0.1:$port", "-config.file=$config" ], $port,
		qr/^sql_sms3300_problem\{[^}]*col="rows"[^}]*problem="foreign_rows"[^}]*\} 1$/m, 'sql_exporter');
}

done_testing();
