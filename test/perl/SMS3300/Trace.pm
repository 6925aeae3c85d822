# What was seen of messages, compared with the model (test/model): the requests that the gateway
# logged, and the rows with their events. Each has to be what some run of the model does, in an
# order that the times allow.
#
#     use SMS3300::Trace qw(name_event unknown_steps);
#     print for unknown_steps(\&sql, $gateway->log);    # one line for each message that is not
#     my $name = name_event($event);                    # one of the events of a row
#
# "sql" runs a query and returns its only column, a line for each row.

package SMS3300::Trace;

use strict;
use warnings;

use Cwd            qw(abs_path);
use Exporter       qw(import);
use File::Basename qw(dirname);
use File::Temp     ();
use JSON::PP       qw(decode_json);

our @EXPORT_OK = qw(name_event unknown_steps);

my $replay = abs_path(dirname(__FILE__) . '/../../model/replay');

# The rows, with all times as seconds.
my $ROWS = <<'END';
SELECT jsonb_build_object('message', message, 'status', status,
	'started_at', extract(epoch FROM started_at), 'finished_at', extract(epoch FROM finished_at),
	'events', (SELECT coalesce(jsonb_agg(e || jsonb_build_object('at',
			extract(epoch FROM (e ->> 'at')::timestamptz)) ORDER BY n), '[]')
		FROM jsonb_array_elements(events) WITH ORDINALITY AS a (e, n)))
FROM sms_outbox
END

# What the gateway's codes and HTTP statuses mean, as a request's and as an event's name. What is
# in neither list may have been sent.
my %CLASS = (
	(map { ($_ => 'transient') } 15, 23, 409),
	(map { ($_ => 'account') } 8, 14, 16 .. 19, 22, 29),
	(map { ($_ => 'rejected') } 1, 3, 4, 6, 13, 25, 27, 28, 30, 31, 33 .. 35, 100 .. 110));
my %HTTP_CLASS = (503 => 'unsure', map { ($_ => 'rejected') } 400, 413 .. 415, 422);
my %REQUEST    = (
	transient => 'refused-for-now', account => 'refused-account', rejected => 'refused',
	unsure    => 'refused-unsure');

# The gateway's times have five decimals.
my $INACCURACY = 0.001;

# Return what the model has to say of messages: of which the gateway or the table tell something
# that no run of it does.
sub unknown_steps
{
	my ($sql, @log) = @_;
	my %row = map { ($_->{message} => $_) } map { decode_json($_) } split /\n/, $sql->($ROWS) // '';
	die "there are no messages\n" unless %row;
	my %requests;
	push @{ $requests{ $_->{fields}{message} } }, { name => name_request($_->{answer}), at => $_->{at} } for @log;

	my @wrong;
	my $traces = File::Temp->new;
	for my $text (sort keys %{ { %row, %requests } })
	{
		my $row      = $row{$text} // { status => 'none', events => [] };
		my @requests = @{ $requests{$text} // [] };
		my @events   = map { { name => name_event($_), at => $_->{at} } } @{ $row->{events} };
		print $traces join("\t", short($text), join(',', map { $_->{name} } @requests),
			join(',', map { $_->{name} } @events), $row->{status}), "\n";
		my $problem = wrong_time($row, \@requests, \@events);
		push @wrong, short($text) . ": $problem" if $problem;
	}
	close $traces;
	my $told = qx("$^X" "$replay" <"$traces" 2>&1);
	return ($? == 0 ? () : split(/\n/, $told), @wrong);
}

# Return a text without what is only there to make it long.
sub short
{
	my ($text) = @_;
	return $text =~ s/\s+x+\z//r;
}

# Return what an HTTP status without a code of the gateway's means.
sub http_class
{
	my ($http) = @_;
	return $HTTP_CLASS{$http} // ($http >= 300 && $http < 500 ? 'account' : undef);
}

# Name what the gateway did with a request, as replay does.
sub name_request
{
	my ($answer) = @_;
	my ($api, $http) = @$answer{qw(api_status http)};
	return 'accepted' if defined $api && $api < 0;
	my $class = defined $api ? $CLASS{$api} : http_class($http // 0);
	return $class ? $REQUEST{$class} : 'nothing';
}

# Name an event of a row, as replay does.
sub name_event
{
	my ($event) = @_;
	return $event->{action} if $event->{action};
	my ($http, $api) = @$event{qw(http_status api_status)};
	my $name =
		$event->{error} =~ /may have been sent/ ? ($event->{phase} eq 'none' ? 'orphan' : 'unknown')
	  : defined $api                            ? $CLASS{$api}
	  : defined $http                           ? http_class($http)
	  :                                           'not-sent';
	return ($name // 'unknown') . ":$event->{attempt}";
}

# Say what cannot have been at its time: a request before its claim, or before the result of the
# one before it; a result before its reply. Which result belongs to which request is known only
# where no person had the message sent again.
sub wrong_time
{
	my ($row, $requests, $events) = @_;
	my $last = $requests->[-1];
	return if !$last || grep { $_->{name} eq 'resend' } @$events;

	my @answered = grep { $_->{name} =~ /\A(?:transient|account|unsure|rejected):/ } @$events;
	for my $i (0 .. $#answered)
	{
		my ($request, $next) = @$requests[ $i, $i + 1 ];
		last unless $request;
		return "the result $answered[$i]{name} was there before its reply"
		  if $answered[$i]{at} < $request->{at} - $INACCURACY;
		return "a request came before the result $answered[$i]{name} of the one before it"
		  if $next && $next->{at} < $answered[$i]{at} - $INACCURACY;
	}
	return unless $row->{status} eq 'sent' && $last->{name} eq 'accepted' && !grep { $_->{name} eq 'resolve' } @$events;
	return 'its request came before its claim' if $last->{at} < $row->{started_at} - $INACCURACY;
	return 'it was sent before its reply'      if $row->{finished_at} < $last->{at} - $INACCURACY;
	return;
}

1;
