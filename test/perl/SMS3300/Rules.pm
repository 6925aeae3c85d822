# Rules of an account that change while messages are sent, for test/chaos; and whether a
# message was sent against one, as it was when the message was claimed.
#
#     my $rules = SMS3300::Rules->new(sql => \&sql, log => $path, mobiles => \@mobiles, messages => 2000);
#     $rules->options;            # of the account, for CREATE SERVER
#     $rules->change($seconds);   # for so long, in a process of its own
#     $rules->allow_all;          # nothing is forbidden any more, but to those who have opted out
#     $rules->read;               # what was changed, and when
#     my %broken = $rules->broken(@requests);
#
# When a change came into force is known to lie between the begin of its statement and its
# end. Only what all states forbid that may have been in force counts as forbidden.

package SMS3300::Rules;

use strict;
use warnings;

use JSON::PP    qw(decode_json encode_json);
use List::Util  qw(all any max);
use Time::HiRes qw(sleep time);

# How long, in seconds, a change waits for the one before, on average.
use constant PAUSE => 0.3;

# In seconds, how long before the time of a claim its transaction may have read the account.
use constant DELAY => 0.5;

use constant { DAY => 86_400, ALWAYS => '00:00-24:00', URGENT => 8 };

sub new
{
	my ($class, %option) = @_;
	my $self = bless {%option}, $class;
	$self->{state} = {
		hours          => ALWAYS,
		deliver_only   => $self->{mobiles},
		max_per_mobile => [ 3, 20 ],
		max_parts      => max(10, int($self->{messages} / 5)),
	};
	return $self;
}

# Write the options of the account as it is, each after a word.
sub options
{
	my ($self, $word) = @_;
	my $state  = $self->{state};
	my %option = (
		hours             => $state->{hours},
		deliver_only      => join(',', @{ $state->{deliver_only} }),
		max_per_mobile    => sprintf('%d/%d s', @{ $state->{max_per_mobile} }),
		max_parts_per_day => $state->{max_parts});
	return join ', ', map { "$word $_ '$option{$_}'" } sort keys %option;
}

# ---------------------------------------------------------------------------
# Changes
# ---------------------------------------------------------------------------

# Change one thing after the other for some seconds.
sub change
{
	my ($self, $seconds) = @_;
	my $began = time;
	my $end   = $began + $seconds;
	$self->note({ state => $self->{state}, before => 0, after => 0 });
	my @changes = (
		(\&opt_out) x 4, \&opt_in,
		(map { my $name = $_; sub { $_[0]->alter($name, $_[0]->${ \"choose_$name" }($_[1])) } }
			qw(hours deliver_only max_per_mobile max_parts)));
	while (time < $end)
	{
		$changes[ rand @changes ]->($self, (time - $began) / $seconds);
		sleep 2 * rand PAUSE;
	}
	return;
}

# Let all be sent that waits, but to those who have opted out.
sub allow_all
{
	my ($self) = @_;
	$self->{state} = {
		hours          => ALWAYS,
		deliver_only   => $self->{mobiles},
		max_per_mobile => [ 1000, 1 ],
		max_parts      => 10_000_000,
	};
	return $self->run_until_done('ALTER SERVER sms3300 OPTIONS (' . $self->options('SET') . ')',
		{ state => $self->{state} });
}

# Alter an option of the account.
sub alter
{
	my ($self, $name, $value) = @_;
	$self->{state} = { %{ $self->{state} }, $name => $value };
	return $self->run_until_done('ALTER SERVER sms3300 OPTIONS (' . $self->options('SET') . ')',
		{ state => $self->{state} });
}

# Open or closed; or until the next minute.
sub choose_hours
{
	my ($minute, $hour) = (gmtime(time + 60))[ 1, 2 ];
	my ($there, $later, $earlier) = map { ($hour + $_) % 24 } 12, 10, 14;
	my $closed  = sprintf '%02d:00-%02d:30', $there, $there;
	my $opening = sprintf '%02d:%02d-%02d:00', $hour, $minute, $later;
	my $closing = sprintf '%02d:00-%02d:%02d', $earlier, $hour, $minute;
	return (ALWAYS, ALWAYS, $closed, $hour + $minute > 0 ? ($opening, $closing) : ALWAYS)[ rand 5 ];
}

# All numbers, or some.
sub choose_deliver_only
{
	my ($self) = @_;
	my @mobiles = @{ $self->{mobiles} };
	return \@mobiles if rand 2 < 1;
	my @some = grep { rand 4 < 3 } @mobiles;
	return @some ? \@some : \@mobiles;
}

sub choose_max_per_mobile
{
	return [ 2 + int rand 4, 5 + int rand 30 ];
}

# A limit that is reached more often than not, as time goes on.
sub choose_max_parts
{
	my ($self, $share) = @_;
	return max(10, int($self->{messages} * (0.1 + $share) * (0.5 + rand)));
}

# A recipient opts out, or comes back.
sub opt_out
{
	my ($self) = @_;
	my $mobile = $self->any_mobile;
	return $self->run_until_done(
		"INSERT INTO sms_opt_out (mobile, reason) VALUES ('$mobile', 'chaos') ON CONFLICT DO NOTHING",
		{ mobile => $mobile, out => 1 });
}

sub opt_in
{
	my ($self) = @_;
	my $mobile = $self->any_mobile;
	return $self->run_until_done("DELETE FROM sms_opt_out WHERE mobile = '$mobile'", { mobile => $mobile, out => 0 });
}

sub any_mobile
{
	my ($self) = @_;
	return $self->{mobiles}[ rand @{ $self->{mobiles} } ];
}

# Run a statement until the server has done it, and note when that was.
sub run_until_done
{
	my ($self, $statement, $change) = @_;
	my $before = time;
	my $done;
	until (defined($done = $self->{sql}->($statement)) || time > $before + 180)
	{
		sleep 0.1;
	}
	$self->note({ %$change, before => $before, after => defined $done ? time : undef });
	return defined $done;
}

# Add a change to the log.
sub note
{
	my ($self, $change) = @_;
	open my $file, '>>', $self->{log} or die "could not write \"$self->{log}\": $!\n";
	print $file encode_json($change), "\n";
	close $file;
	return;
}

# ---------------------------------------------------------------------------
# The judge
# ---------------------------------------------------------------------------

# Read the changes, those of the account and those of each recipient apart.
sub read
{
	my ($self) = @_;
	open my $file, '<', $self->{log} or die "could not read \"$self->{log}\": $!\n";
	@$self{qw(states outs changes)} = ([], {}, 0);
	while (my $line = <$file>)
	{
		my $change = decode_json($line);
		my $list = $change->{state} ? $self->{states} : ($self->{outs}{ $change->{mobile} } //= []);
		$change->{listed} = { map { $_ => 1 } @{ $change->{state}{deliver_only} } } if $change->{state};
		push @$list, $change;
		$self->{changes}++;
	}
	end_changes($_) for $self->{states}, values %{ $self->{outs} };
	return;
}

# Note of each of changes when its outcome was certainly no longer in force. After one of which
# nobody knows whether it was made, that is never.
sub end_changes
{
	my ($changes) = @_;
	my $known = 1;
	for my $i (0 .. $#$changes)
	{
		my $next = $changes->[ $i + 1 ];
		$known &&= $next && defined $next->{after};
		$changes->[$i]{over} = $known ? $next->{after} : 9**9**9;
	}
	return;
}

# Return those of changes, in their order, whose outcome may have been in force at any time of
# a span; a change may be noticed so much later.
sub possible
{
	my ($changes, $from, $to, $delay) = @_;
	my @possible;
	for my $i (first_after($changes, sub { $_[0]{over} + $delay < $from }) .. $#$changes)
	{
		last if $changes->[$i]{before} > $to;
		my $next = $changes->[ $i + 1 ];
		push @possible, $changes->[$i]
		  unless $next && defined $next->{after} && $next->{after} + $delay < $from;
	}
	return @possible;
}

# Return the place of the first of a list for which a condition, which holds for those before
# it, does not hold.
sub first_after
{
	my ($list, $condition) = @_;
	my ($low, $high) = (0, scalar @$list);
	while ($low < $high)
	{
		my $middle = int(($low + $high) / 2);
		$condition->($list->[$middle]) ? ($low = $middle + 1) : ($high = $middle);
	}
	return $low;
}

# Return whether hours are closed by a clock of UTC, at a time.
sub is_closed
{
	my ($hours, $at) = @_;
	my ($from, $until) = map { my ($hour, $minute) = split /:/; $hour * 3600 + $minute * 60 } split /-/, $hours;
	my $second = int($at) % DAY;
	return !($from < $until ? $second >= $from && $second < $until : $second >= $from || $second < $until);
}

# Return which rules forbade a request by itself.
sub forbidden
{
	my ($self, $request) = @_;
	my ($from, $to) = @$request{qw(from to)};
	my @states = possible($self->{states}, $from, $to, DELAY);
	my @outs   = possible($self->{outs}{ $request->{mobile} } // [], $from, $to, 0);
	my @moments = ($from, $to, map { int($from) + $_ } 1 .. int($to) - int($from));
	my @rules;
	push @rules, 'hours'
	  if $request->{priority} < URGENT && all { my $state = $_->{state}; all { is_closed($state->{hours}, $_) } @moments } @states;
	push @rules, 'deliver_only' if all { !$_->{listed}{ $request->{mobile} } } @states;

	# Before the first change nobody has opted out.
	push @rules, 'opted out'
	  if @outs && (all { $_->{out} } @outs) && defined $outs[0]{after} && $outs[0]{after} < $from;
	return @rules;
}

# Return whether a request is one too many for its number, by what came before it.
sub is_too_often
{
	my ($self, $request, @before) = @_;
	return all
	{
		my ($n, $seconds) = @{ $_->{state}{max_per_mobile} };
		(grep { $_->{from} > $request->{to} - $seconds } @before) >= $n;
	}
	possible($self->{states}, @$request{qw(from to)}, DELAY);
}

# Return whether a request goes beyond the limit of its day, by the parts that were before.
sub is_too_much
{
	my ($self, $request, $parts) = @_;
	return all { $parts + $request->{parts} > $_->{state}{max_parts} }
	possible($self->{states}, @$request{qw(from to)}, DELAY);
}

# Return which requests were made against which rules: "text" by rule. A request is a hash:
# text, mobile, priority and parts of its message, the span of time in which it was claimed
# (from, to), and whether it may have been sent (counts).
sub broken
{
	my ($self, @requests) = @_;
	my (%broken, %of_mobile, %of_day);
	for my $request (sort { $a->{to} <=> $b->{to} } @requests)
	{
		my @rules = $self->forbidden($request);
		if ($request->{counts})
		{
			my $day    = int($request->{from} / DAY);
			my $before = $of_mobile{ $request->{mobile} } //= [];
			my $today  = $of_day{$day} //= [ { to => 0, parts => 0 } ];
			my $last   = first_after($today, sub { $_[0]{to} <= $request->{from} }) - 1;
			push @rules, 'max_per_mobile'
			  if $self->is_too_often($request, grep { $_->{to} <= $request->{from} } @$before);
			push @rules, 'max_parts_per_day'
			  if int($request->{to} / DAY) == $day && $self->is_too_much($request, $today->[$last]{parts});
			push @$before, $request;
			push @$today, { to => $request->{to}, parts => $today->[-1]{parts} + $request->{parts} };
		}
		push @{ $broken{$_} }, $request->{text} for @rules;
	}
	return %broken;
}

# Return whether a message may have been suppressed for the reason that its row has, by a
# transaction that lasted for a span of time.
sub may_suppress
{
	my ($self, $mobile, $from, $to, $reason) = @_;
	return any { $_->{out} } possible($self->{outs}{$mobile} // [], $from, $to, 0) if $reason =~ /opted out/;
	return any { !$_->{listed}{$mobile} } possible($self->{states}, $from, $to, DELAY) if $reason =~ /deliver_only/;
	return $reason =~ /max_per_mobile/;
}

1;
