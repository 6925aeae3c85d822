package Bench;

# What the benchmarks share: the server, the gateway, samples by turns, and tables.

use strict;
use warnings;
use utf8;

use DBI;
use Encode     qw(encode);
use Exporter   qw(import);
use HTTP::Tiny;
use List::Util qw(max min);
use POSIX      ();
use Time::HiRes qw(clock_gettime sleep CLOCK_MONOTONIC);

our @EXPORT = qw(
  $db TEXT bare_sample compare cpu_seconds drain_sample lay_down now print_table
  prepare_account send_all set_account sql value wait_until worker_pid
);

# The message that is sent.
use constant TEXT => 'سلام! کد ورود شما: ۱۲۳۴';

our $db = DBI->connect('dbi:Pg:', undef, undef,
	{ RaiseError => 1, PrintWarn => 0, AutoInactiveDestroy => 1 });
$db->do('SET client_min_messages = warning');

# Run statements.
sub sql
{
	$db->do($_) for @_;
	return;
}

# Return the first row of a query, or its only value.
sub value
{
	my @row = $db->selectrow_array(@_ > 1 ? ($_[0], undef, @_[ 1 .. $#_ ]) : $_[0]);
	return wantarray ? @row : $row[0];
}

# Return the seconds of a clock that nobody sets.
sub now
{
	return clock_gettime(CLOCK_MONOTONIC);
}

# Wait until a condition is true, for minutes at most.
sub wait_until
{
	my ($what, $condition) = @_;
	my $deadline = now() + 1800;
	until ($condition->())
	{
		die "waited in vain for $what\n" if now() > $deadline;
		sleep 0.02;
	}
	return;
}

# Make the extension and its account, and have a worker that stays.
sub prepare_account
{
	sql("ALTER SYSTEM SET sms3300.worker_idle_timeout = '1d'", 'SELECT pg_reload_conf()',
		'CREATE EXTENSION sms3300',
		"CREATE SERVER sms3300 FOREIGN DATA WRAPPER sms3300 OPTIONS ("
		  . "url '$ENV{GATEWAY}/instant', line '983000330000', max_in_flight '50', paused 'false')",
		"CREATE USER MAPPING FOR PUBLIC SERVER sms3300 OPTIONS (username 'user', password 'secret')");
	lay_down(1);
	wait_until('the first message', sub { worker_pid() && value('SELECT status FROM sms_outbox') eq 'sent' });
	return;
}

# Set options of the account, which it has already.
sub set_account
{
	my (%option) = @_;
	sql('ALTER SERVER sms3300 OPTIONS (' . join(', ', map { "SET $_ '$option{$_}'" } sort keys %option) . ')');
	return;
}

# Queue a number of messages.
sub lay_down
{
	my ($n) = @_;
	sql(    "INSERT INTO sms_outbox (mobile, message)"
		  . " SELECT '98912' || to_char(i % 10000000, 'FM0000000'), "
		  . $db->quote(encode('UTF-8', TEXT))
		  . " FROM generate_series(1, $n) AS i");
	return;
}

# Return the worker's process.
sub worker_pid
{
	return value("SELECT pid FROM pg_stat_activity WHERE backend_type = 'sms3300 worker'"
		  . ' AND datname = current_database()');
}

# Return the seconds of CPU time that a process has used.
sub cpu_seconds
{
	my ($pid) = @_;
	my @field = split ' ', read_file("/proc/$pid/stat") =~ s/.*\)//sr;
	return ($field[11] + $field[12]) / POSIX::sysconf(POSIX::_SC_CLK_TCK());
}

# Return what is in a file.
sub read_file
{
	my ($name) = @_;
	open my $file, '<', $name or die "could not open $name: $!\n";
	local $/ = undef;
	return <$file>;
}

# Return how many requests nginx has taken, without those of this question.
my $questions = 0;

sub requests_taken
{
	my $reply = HTTP::Tiny->new->get("$ENV{GATEWAY}/status");
	$reply->{success} or die "nginx does not answer: $reply->{content}\n";
	my ($taken) = $reply->{content} =~ /^ \d+ \d+ (\d+)/m;
	return $taken - ++$questions;
}

# Let the account send all that is queued, which is a number of messages, and see
# that each came back right; return the rate and the worker's CPU time for each.
sub send_all
{
	my ($n)    = @_;
	my $pid    = worker_pid();
	my $sent   = 'SELECT sent FROM sms3300_stat_get_account(\'sms3300\')';
	my $target = value($sent) + $n;
	my $taken  = requests_taken();
	my $cpu    = cpu_seconds($pid);
	my ($from) = value('SELECT clock_timestamp()');

	set_account(paused => 'false');
	wait_until('the messages', sub { value($sent) >= $target });
	$cpu = cpu_seconds($pid) - $cpu;
	$taken = requests_taken() - $taken;
	die "nginx took $taken requests for $n messages\n" if $taken != $n;

	my ($right, $replies, $seconds) = value(
		"SELECT count(*), count(DISTINCT response), extract(epoch FROM max(finished_at) - min(started_at))"
		  . " FROM sms_outbox WHERE started_at >= '$from' AND status = 'sent' AND attempts = 1 AND http_status = 200"
		  . " AND api_status = -1 AND sent_line = '983000330000' AND message_id = (response->'data'->>'message_id')::bigint"
		  . " AND error IS NULL AND due_at IS NULL");
	die "$right of $n rows came back right, with $replies replies\n"
	  if $right != $n || $replies != $n;
	return { rate => $n / $seconds, cpu => $cpu / $n * 1e6 };
}

# Queue messages in an empty table and have them sent.
sub drain_sample
{
	my ($n, $in_flight, $path) = @_;
	set_account(paused => 'true', max_in_flight => $in_flight, url => "$ENV{GATEWAY}/$path");
	sql('TRUNCATE sms_outbox');
	lay_down($n);
	sql('CHECKPOINT');
	return send_all($n);
}

# Have the bare program send as many requests with the same body.
sub bare_sample
{
	my ($n, $in_flight, $path) = @_;
	my $text = encode('UTF-8', TEXT) =~ s/([^A-Za-z0-9._~-])/sprintf '%%%02X', ord $1/ger;
	open my $pipe, '-|', $ENV{BARE}, "$ENV{GATEWAY}/$path", $in_flight, $n,
	  "username=user&password=secret&mobile=989120000000&message=$text&line=983000330000"
	  or die "could not start $ENV{BARE}: $!\n";
	my ($answered, $seconds, $cpu) = split ' ', <$pipe>;
	die "$answered of $n requests of the bare program were answered\n" if $answered != $n;
	return { rate => $n / $seconds, cpu => $cpu / $n * 1e6 };
}

# Take samples of several contenders, [name, code], by turns; each returns a hash of
# figures. Return the names in order, each with its samples.
sub compare
{
	my ($rounds, @contenders) = @_;
	my @results = map { [ $_->[0] ] } @contenders;
	for (1 .. $rounds)
	{
		push @{ $results[$_] }, $contenders[$_][1]->() for 0 .. $#contenders;
	}
	return @results;
}

# Return the median of numbers.
sub median
{
	my @sorted = sort { $a <=> $b } @_;
	return ($sorted[ $#sorted / 2 ] + $sorted[ @sorted / 2 ]) / 2;
}

# Print a number with three digits or more.
sub number
{
	my ($n) = @_;
	return sprintf $n < 10 ? '%.2f' : $n < 100 ? '%.1f' : '%.0f', $n;
}

# Print a table of results, a line a contender: for each figure, [key, title], the
# median, the least and the most, and the median of the ratios to the first contender
# of the same round.
sub print_table
{
	my ($title, $figures, @results) = @_;
	binmode STDOUT, ':encoding(UTF-8)';
	printf "\n%s; %d rounds\n%-26s%s\n", $title, $#{ $results[0] }, '',
	  join '', map { sprintf '%12s %-20s%8s', $_->[1], 'min to max', 'ratio' } @$figures;
	my (undef, @base) = @{ $results[0] };
	for my $result (@results)
	{
		my ($name, @samples) = @$result;
		printf '%-26s', $name;
		for my $key (map { $_->[0] } @$figures)
		{
			my @values = map { $_->{$key} } @samples;
			printf '%12s %-20s%8.3f', number(median(@values)),
			  number(min(@values)) . ' to ' . number(max(@values)),
			  median(map { $values[$_] / $base[$_]{$key} } 0 .. $#values);
		}
		print "\n";
	}
	return;
}

1;
