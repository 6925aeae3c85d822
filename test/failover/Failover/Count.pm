# What came of messages, counted from three sides: what the clients were told, the rows of the
# last primary, and the gateway's log.
#
#     my $count = Failover::Count->new(told => \@told, rows => \@rows, log => \@log, reigns => \@reigns);
#     $count->{twice};              # texts that the gateway accepted more than once
#     $count->{late};               # entries of the log: from an old primary that still ran
#     my @wrong = $count->broken('on');     # promises that were broken, a line each
#     my @lacks = $count->missing;          # what did not happen, without which a run says nothing
#
# told: [time, what, text] as Failover::Client notes it; rows: {text, status, message_id,
# created_at}; log: the gateway's entries, of which "from" is made the node; reigns: [time,
# node, end], when each became primary or started again as such, in order, and when its server
# ended.

package Failover::Count;

use Mojo::Base -strict, -signatures;

use List::Util qw(first uniq);

sub new ($class, %with)
{
	my $self = bless {%with}, $class;
	$self->collect;
	$self->classify($_) for sort keys %{ $self->{messages} };
	$self->{$_} = [] for qw(late delayed);
	for my $entry (@{ $self->{log} })
	{
		my $kind = $self->kind_of_request($entry) // next;
		push @{ $self->{$kind} }, $entry;
	}
	return $self;
}

# The kinds of messages that are counted.
my @KINDS = qw(committed doubt refused there sent unknown_accepted unknown_not other untrue
  lost accepted_lost not_queued twice_claimed twice_queued twice_wrong);

# Put together what is known of each text.
sub collect ($self)
{
	$self->{$_} = [] for @KINDS;
	my $messages = $self->{messages} = {};
	for my $told (@{ $self->{told} })
	{
		my (undef, $what, $text) = @$told;
		my $message = $messages->{$text} //= { told => 'refused', accepted => [], requests => [] };

		# What was committed once stays so; a refusal after a doubt does not end the doubt.
		$message->{told} = 'doubt' if $what ne 'refused' && $message->{told} eq 'refused' && $what ne 'try';
		$message->{told} = 'committed' if $what eq 'committed';
		$message->{open} = $what eq 'try';
	}

	# A client that was ended in the middle of a statement.
	$_->{told} = 'doubt' for grep { $_->{open} && $_->{told} eq 'refused' } values %$messages;
	for my $row (@{ $self->{rows} })
	{
		push @{ $messages->{ $row->{text} }{rows} }, $row;
	}
	for my $entry (@{ $self->{log} })
	{
		my $message = $messages->{ $entry->{fields}{message} } //= {};
		push @{ $message->{requests} }, $entry;
		push @{ $message->{accepted} }, $entry if ($entry->{answer}{api_status} // 0) < 0;
	}
	return;
}

# Count a message in each kind that it is of.
sub classify ($self, $text)
{
	my $message  = $self->{messages}{$text};
	my $rows     = $message->{rows} // [];
	my $row      = $rows->[0];
	my @accepted = @{ $message->{accepted} // [] };
	my @kinds    = $message->{told} // 'never_tried';
	push @kinds, 'there' if $row;
	push @kinds, 'two_rows' if @$rows > 1;
	push @kinds, $self->kind_of_row($row, @accepted) if $row;
	push @kinds, @accepted ? 'accepted_lost' : ($message->{told} // '') eq 'committed' ? 'lost' : 'not_queued' if !$row;
	push @kinds, $self->kind_of_repeat($row, @accepted) if @accepted > 1;
	push @{ $self->{$_} }, $text for @kinds;
	return;
}

# Return the kind of a message by its row's status.
sub kind_of_row ($self, $row, @accepted)
{
	return @accepted ? 'unknown_accepted' : 'unknown_not' if $row->{status} eq 'unknown';
	return 'other' if $row->{status} ne 'sent';
	return (first { $_->{answer}{message_id} == $row->{message_id} } @accepted) ? 'sent' : 'untrue';
}

# Return why the gateway accepted a message twice: its client queued it again after its row was
# lost; or a new primary, which did not know of the claim, sent it too. Nothing else may be: no
# node sends twice unless another one was primary between, as a restart forgets no claim.
sub kind_of_repeat ($self, $row, @accepted)
{
	for my $i (1 .. $#accepted)
	{
		my ($before, $after) = @accepted[ $i - 1, $i ];
		my $from = $after->{from};
		next if $before->{from} ne $from;
		my ($first, $second) = map { $self->reign_at($from, $_->{at}) } $before, $after;
		return 'twice_wrong' unless first { $_->[1] ne $from && $_->[0] > $first && $_->[0] < $second } @{ $self->{reigns} };
	}
	return $row && $row->{created_at} > $accepted[0]{at} ? 'twice_queued' : 'twice_claimed';
}

# Return when a node last became primary, or started as such, before a time; 0 if it never did.
sub reign_at ($self, $node, $at)
{
	my $reign = first { $_->[1] eq $node && $_->[0] < $at } reverse @{ $self->{reigns} };
	return $reign ? $reign->[0] : 0;
}

# Return the reigns that began when another node became primary, and not the same one again.
sub promotions ($self)
{
	my @reigns = @{ $self->{reigns} };
	return map { $reigns[$_] } grep { $reigns[$_][1] ne $reigns[ $_ - 1 ][1] } 1 .. $#reigns;
}

# Return what a request is if its node was not the primary: late, if another one became primary
# meanwhile and both were running; or delayed on its way, if its server had ended. The kernel of
# a node that is cut off repeats what it could not deliver.
sub kind_of_request ($self, $entry)
{
	my ($at, $from) = @$entry{qw(at from)};
	my @begun = grep { $_->[0] < $at } @{ $self->{reigns} };
	my $own = first { $_->[1] eq $from } reverse @begun;
	return 'delayed' if !$own || $own->[2] < $at;
	$entry->{successor} = first { $_->[0] > $own->[0] && $_->[1] ne $from && $_->[2] > $at } @begun;
	return $entry->{successor} ? 'late' : undef;
}

# Return the texts that were sent twice.
sub twice ($self)
{
	return map { @{ $self->{$_} } } qw(twice_claimed twice_queued twice_wrong);
}

# Return what was sent late, and also by another node.
sub late_twice ($self)
{
	my %twice = map { ($_ => 1) } $self->twice;
	return grep { $twice{$_} } uniq map { $_->{fields}{message} } @{ $self->{late} };
}

# Return what did not happen and has to, for a run to say anything; a line each.
sub missing ($self)
{
	return ((@{ $self->{committed} } ? () : 'no message was committed'), (@{ $self->{sent} } ? () : 'no message was sent'),
		($self->promotions ? () : 'no other node became primary'));
}

# Return the promises that were broken, a line each.
sub broken ($self, $synchronous)
{
	my @never = ([ untrue => 'sent, although the gateway did not say so' ], [ other => 'neither sent nor unknown' ],
		[ two_rows => 'in two rows' ], [ never_tried => 'queued by nobody' ],
		[ twice_wrong => 'sent twice by a node that stayed primary' ]);
	push @never, [ lost => 'committed, and lost' ], [ accepted_lost => 'accepted, and lost' ],
	  [ twice_claimed => 'sent twice' ], [ twice_queued => 'queued again, and sent twice' ]
	  if $synchronous ne 'off';
	return map { my ($kind, $what) = @$_; map { "$_: $what" } @{ $self->{$kind} // [] } } @never;
}

1;
