package Bench;

# What the benchmarks share: the server, the gateway, samples by turns, and tables.

use strict;
use warnings;
use utf8;

use DBI;
use Encode     qw(encode);
use Exporter   qw(import);
use HTTP::Tiny;
use List::Util qw(max min sum0);
use POSIX      ();
use Time::HiRes qw(clock_gettime sleep CLOCK_MONOTONIC);

our @EXPORT = qw(
  %option TEXT bare_sample begin_messages cpu_seconds compare connection connect_to drain_sample
  encoded_text form in_database lay_down make_equal_table median now number on_connection on_gateway
  percentile print_figure print_table private_memory ratio read_file requests_taken running_seconds scaled
  send_all server_cpu_seconds set_account sql value wait_until worker_pid
);

# The message that is sent.
use constant TEXT => 'سلام! کد ورود شما: ۱۲۳۴';

# How often samples are taken, which part of the numbers of rows and the like, whether the
# machine may be busy, and how many numbers get messages.
our %option = (rounds => $ENV{ROUNDS}, scale => $ENV{SCALE}, busy => $ENV{BUSY}, numbers => 10_000_000);

# The connection that is worked on.
our $db;

# The gateway that is sent to.
our $gateway = $ENV{GATEWAY};

binmode STDOUT, ':encoding(UTF-8)';
$| = 1;

# Connect to a database.
sub connect_to
{
	my ($name) = @_;
	my $new = DBI->connect("dbi:Pg:dbname=$name", undef, undef,
		{ RaiseError => 1, PrintWarn => 0, AutoInactiveDestroy => 1 });
	$new->do('SET client_min_messages = warning');
	return $new;
}

# Return the connection that is worked on.
sub connection
{
	return $db;
}

# Work on another connection.
sub on_connection
{
	local $db = shift;
	my ($code) = @_;
	return $code->();
}

# Send to another gateway than the usual one: that for https, or that for accounts with ca_file.
sub on_gateway
{
	my ($scheme, $ca_file, $code) = @_;
	local $gateway = $ca_file ? $ENV{CA_GATEWAY} : $scheme eq 'https' ? $ENV{TLS_GATEWAY} : $ENV{GATEWAY};
	return $code->();
}

# Work in a new database with the extension and an account in it, and drop it.
sub in_database
{
	my ($name, $code) = @_;
	sql("CREATE DATABASE $name");
	my $new = connect_to($name);
	eval { on_connection($new, sub { prepare_account(); $code->() }); 1 };
	my $error = $@;
	$new->disconnect;
	sql("DROP DATABASE $name WITH (FORCE)");
	die $error if $error;
	return;
}

# Return the part of a number that is asked for.
sub scaled
{
	my ($n) = @_;
	return max(1, int($n * $option{scale} + 0.5));
}

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

# Wait until a condition is true, for an hour at most.
sub wait_until
{
	my ($what, $condition) = @_;
	my $deadline = now() + 3600;
	until ($condition->())
	{
		die "waited in vain for $what\n" if now() > $deadline;
		sleep 0.02;
	}
	return;
}

# Make the extension and its account.
sub prepare_account
{
	sql('CREATE EXTENSION sms3300',
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

# Make a table, equal_outbox, that is as sms_outbox is, but has no triggers.
sub make_equal_table
{
	my $options = value("SELECT array_to_string(reloptions, ', ') FROM pg_class WHERE oid = 'sms_outbox'::regclass");
	sql("CREATE TABLE equal_outbox (LIKE sms_outbox INCLUDING ALL) WITH ($options)",
		'ALTER TABLE equal_outbox ENABLE ROW LEVEL SECURITY',
		'CREATE POLICY equal_outbox_own ON equal_outbox USING (sender = CURRENT_USER)');
	return;
}

# Return the message as a literal.
sub encoded_text
{
	return $db->quote(encode('UTF-8', TEXT));
}

# Queue a number of messages.
sub lay_down
{
	my ($n) = @_;
	sql(    "INSERT INTO sms_outbox (mobile, message)"
		  . " SELECT '98912' || to_char(i % $option{numbers}, 'FM0000000'), " . encoded_text()
		  . " FROM generate_series(1, $n) AS i");
	return;
}

# Return the process of the database's worker.
sub worker_pid
{
	return value("SELECT pid FROM pg_stat_activity WHERE backend_type = 'sms3300 worker'"
		  . ' AND datname = current_database()');
}

# Return what /proc says of a process after its name; nothing if it has ended.
sub process_stat
{
	my ($pid) = @_;
	my $stat = eval { read_file("/proc/$pid/stat") } // return;
	return split ' ', $stat =~ s/.*\)//sr;
}

# Return the seconds of CPU time that a process has used.
sub cpu_seconds
{
	my ($pid) = @_;
	my @field = process_stat($pid);
	return ($field[11] + $field[12]) / POSIX::sysconf(POSIX::_SC_CLK_TCK());
}

# Return the seconds that a process has been running, which are exact, but do not count
# its threads.
sub running_seconds
{
	my ($pid) = @_;
	my ($ns) = split ' ', read_file("/proc/$pid/schedstat");
	return $ns / 1e9;
}

# Wait until the machine has nothing to do, for a minute at most, and say so if it has; unless
# it may be busy.
sub await_idle
{
	return if $option{busy};
	my $deadline = now() + 60;
	my $busy;
	do
	{
		my ($busy_before, $total_before) = machine_ticks();
		sleep 0.3;
		my ($busy_now, $total_now) = machine_ticks();
		$busy = ($busy_now - $busy_before) / max(1, $total_now - $total_before);
	} while ($busy > 0.1 && now() < $deadline);
	printf "  the machine is busy already: %.0f %%\n", $busy * 100 if $busy > 0.1;
	return;
}

# Return how long the machine's CPUs have been busy, and have been there.
sub machine_ticks
{
	my ($line) = read_file('/proc/stat') =~ /^cpu +(.*)/m;
	my @ticks  = split ' ', $line;
	my $total  = sum0 @ticks[ 0 .. 7 ];
	return ($total - $ticks[3] - $ticks[4], $total);
}

# Return the seconds of CPU time that the whole server has used.
sub server_cpu_seconds
{
	my ($postmaster) = read_file(value('SHOW data_directory') . '/postmaster.pid') =~ /^(\d+)/;
	my @own   = process_stat($postmaster);
	my $ticks = sum0 @own[ 11 .. 14 ];
	for my $pid (split ' ', read_file("/proc/$postmaster/task/$postmaster/children"))
	{
		my @field = process_stat($pid) or next;
		$ticks += $field[11] + $field[12];
	}
	return $ticks / POSIX::sysconf(POSIX::_SC_CLK_TCK());
}

# Return a process's private memory in MB. The server's shared memory is left out:
# pages of it that no other process has touched yet count as private to the kernel.
sub private_memory
{
	my ($pid) = @_;
	my $kb     = 0;
	my $shared = 0;
	for (split /\n/, read_file("/proc/$pid/smaps"))
	{
		$shared = $1 eq 's' if /^[0-9a-f]+-[0-9a-f]+ ...(.)/;
		$kb += $1 if !$shared && /^Private_(?:Clean|Dirty): +(\d+) kB/;
	}
	return $kb / 1024;
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

# Return the number of the last message so far.
sub last_id
{
	return value('SELECT coalesce(max(id), 0) FROM sms_outbox');
}

# Let the account send all that is queued, which is a number of messages after an id,
# and see that each came back right; meanwhile watch. Return the rate, the worker's CPU
# time for each, that of the whole server, and the worker's private memory.
sub send_all
{
	my ($n, $after, $watch) = @_;
	my $pid    = worker_pid();
	my $sent   = 'SELECT sent FROM _sms3300_stat_get_account(\'sms3300\')';
	my $target = value($sent) + $n;
	my $taken  = requests_taken();
	my $cpu    = cpu_seconds($pid);
	my $total  = server_cpu_seconds();

	set_account(paused => 'false');
	wait_until('the messages', sub { $watch->() if $watch; value($sent) >= $target });
	$cpu   = cpu_seconds($pid) - $cpu;
	$total = server_cpu_seconds() - $total;
	$taken = requests_taken() - $taken;
	die "nginx took $taken requests for $n messages\n" if $taken != $n;

	my ($right, $replies, $seconds) = value(
		"SELECT count(*), count(DISTINCT response), extract(epoch FROM max(finished_at) - min(started_at))"
		  . " FROM sms_outbox WHERE id > $after AND status = 'sent' AND attempts = 1 AND http_status = 200"
		  . " AND api_status = -1 AND sent_line = '983000330000' AND message_id = (response->'data'->>'message_id')::bigint"
		  . " AND error IS NULL AND due_at IS NULL");
	die "$right of $n rows came back right, with $replies replies\n"
	  if $right != $n || $replies != $n;
	return {
		rate      => $n / $seconds,
		cpu       => $cpu / $n * 1e6,
		total_cpu => $total / $n * 1e6,
		memory    => private_memory($pid),
	};
}

# Queue messages, and leave them for send_all, after the id that is returned.
sub begin_messages
{
	my ($n, $in_flight, $path) = @_;
	set_account(paused => 'true', max_in_flight => $in_flight, url => "$gateway/$path");
	my $after = last_id();
	lay_down($n);
	sql('CHECKPOINT');
	return $after;
}

# Queue messages in an empty table and have them sent.
sub drain_sample
{
	my ($n, $in_flight, $path) = @_;
	set_account(paused => 'true');
	sql('TRUNCATE sms_outbox');
	return send_all($n, begin_messages($n, $in_flight, $path));
}

# Return the form of a message.
sub form
{
	my $text = encode('UTF-8', TEXT) =~ s/([^A-Za-z0-9._~-])/sprintf '%%%02X', ord $1/ger;
	return "username=user&password=secret&mobile=989120000000&message=$text&line=983000330000";
}

# Have the bare program send as many requests with the same body.
sub bare_sample
{
	my ($n, $in_flight, $path) = @_;
	open my $pipe, '-|', $ENV{BARE}, "$gateway/$path", $in_flight, $n, form(), $ENV{CA_FILE}
	  or die "could not start $ENV{BARE}: $!\n";
	my ($answered, $seconds, $cpu) = split ' ', <$pipe>;
	die "$answered of $n requests of the bare program were answered\n" if $answered != $n;
	return { rate => $n / $seconds, cpu => $cpu / $n * 1e6 };
}

# Take samples of several contenders, [name, code], by turns, after one of each to warm
# up; each returns a hash of figures. Return the names in order, each with its samples.
sub compare
{
	my (@contenders) = @_;
	my @results = map { [ $_->[0] ] } @contenders;
	for my $round (0 .. $option{rounds})
	{
		for my $i (0 .. $#contenders)
		{
			await_idle();
			my $sample = $contenders[$i][1]->();
			push @{ $results[$i] }, $sample if $round > 0;
		}
	}
	return @results;
}

# Return what a share of numbers does not exceed.
sub percentile
{
	my ($share, @numbers) = @_;
	@numbers = sort { $a <=> $b } @numbers;
	return $numbers[ int($share * $#numbers + 0.5) ];
}

# Return the median of numbers.
sub median
{
	my @sorted = sort { $a <=> $b } @_;
	return ($sorted[ $#sorted / 2 ] + $sorted[ @sorted / 2 ]) / 2;
}

# Return the median of the ratios of one contender's figure to another's, round by round.
sub ratio
{
	my ($key, $one, $other) = @_;
	return median(map { $one->[$_]{$key} / $other->[$_]{$key} } 1 .. $#$one);
}

# Print a number with three digits or more.
sub number
{
	my ($n) = @_;
	return sprintf $n < 10 ? '%.2f' : $n < 100 ? '%.1f' : '%.0f', $n;
}

# Print results: for each figure, [key, title], the contenders that have it, with the
# median, the least and the most, and the ratio to the first contender.
sub print_table
{
	my ($title, $figures, @results) = @_;
	printf "\n%s; rounds: %d\n", $title, $#{ $results[0] };
	for (@$figures)
	{
		my ($key, $figure) = @$_;
		printf "  %-32s%10s   %-20s%7s\n", $figure, 'median', 'min to max', 'ratio';
		for my $result (grep { defined $_->[1]{$key} } @results)
		{
			my ($name, @samples) = @$result;
			my @values = map { $_->{$key} } @samples;
			printf "    %-30s%10s   %-20s%7s\n", $name, number(median(@values)),
			  number(min(@values)) . ' to ' . number(max(@values)),
			  defined $results[0][1]{$key} ? sprintf '%.3f', ratio($key, $result, $results[0]) : '';
		}
	}
	return;
}

# Print a figure, and beside it what it should be at the least or at the most.
sub print_figure
{
	my ($what, $figure, $limit, $target) = @_;
	printf "  %-64s%8s%s\n", $what, number($figure), defined $limit ? "   target: at $limit $target" : '';
	return;
}

1;
