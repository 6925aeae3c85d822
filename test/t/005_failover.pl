
# What failover counts: from what clients were told, the rows of the last primary, the
# gateway's log and when each node became primary, what was lost, sent twice and sent late.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../failover";

use Failover::Count;
use Test::More;

my (@told, @rows, @log);

# Add a message: what its client was told, its row's status and time, and who sent it when. The
# row has the number of the last request.
sub message
{
	my ($text, $told, $row, @requests) = @_;
	push @told, map { [ 1, $_, $text ] } @$told;
	push @log,
	  map { { fields => { message => $text }, at => $_->[0], from => $_->[1], answer => { api_status => -1, message_id => $_->[0] } } }
	  @requests;
	push @rows, { text => $text, status => $row->[0], created_at => $row->[1], message_id => @requests ? $requests[-1][0] : 17 }
	  if $row;
	return;
}

message('sent',          [qw(try committed)],           [ 'sent',    10 ], [ 11, 'n1' ]);
message('unknown',       [qw(try committed)],           [ 'unknown', 10 ], [ 11, 'n1' ]);
message('unknown not',   [qw(try committed)],           [ 'unknown', 10 ]);
message('lost',          [qw(try committed)],           undef);
message('accepted',      [qw(try committed)],           undef,             [ 11, 'n1' ]);
message('doubt, there',  [qw(try doubt)],               [ 'sent',    10 ], [ 11, 'n1' ]);
message('doubt, gone',   [qw(try doubt)],               undef);
message('ended',         [qw(try)],                     undef);
message('refused',       [qw(try refused)],             undef);
message('late',          [qw(try committed)],           [ 'sent', 10 ],    [ 101, 'n1' ]);
message('delayed',       [qw(try committed)],           [ 'sent', 10 ],    [ 111, 'n1' ]);
message('claim lost',    [qw(try committed)],           [ 'sent', 10 ],    [ 101, 'n1' ], [ 102, 'n2' ]);
message('queued again',  [qw(try doubt try committed)], [ 'sent', 103 ],   [ 90, 'n1' ],  [ 104, 'n2' ]);
message('primary again', [qw(try committed)],           [ 'sent', 10 ],    [ 90, 'n1' ],  [ 201, 'n1' ]);
message('by one',        [qw(try committed)],           [ 'sent', 10 ],    [ 11, 'n1' ],  [ 12, 'n1' ]);
message('restarted',     [qw(try committed)],           [ 'sent', 10 ],    [ 210, 'n1' ], [ 260, 'n1' ]);
message('untrue',        [qw(try committed)],           [ 'sent',   10 ]);
message('waits',         [qw(try committed)],           [ 'queued', 10 ]);
push @rows, { %{ $rows[0] } };

my $count = Failover::Count->new(told => \@told, rows => \@rows, log => \@log,
	reigns => [ [ 0, 'n1', 110 ], [ 100, 'n2', 'inf' ], [ 200, 'n1', 240 ], [ 250, 'n1', 'inf' ] ]);

is_deeply(
	{ map { ($_ => $count->{$_}) } qw(doubt refused unknown_accepted unknown_not lost accepted_lost not_queued
		  twice_claimed twice_queued twice_wrong untrue other two_rows) },
	{
		doubt            => [ 'doubt, gone', 'doubt, there', 'ended' ],
		refused          => ['refused'],
		unknown_accepted => ['unknown'],
		unknown_not      => ['unknown not'],
		lost             => ['lost'],
		accepted_lost    => ['accepted'],
		not_queued       => [ 'doubt, gone', 'ended', 'refused' ],
		twice_claimed    => [ 'claim lost', 'primary again' ],
		twice_queued     => ['queued again'],
		twice_wrong      => [ 'by one', 'restarted' ],
		untrue           => ['untrue'],
		other            => ['waits'],
		two_rows         => ['sent'],
	},
	'each message is counted for what it is');
is_deeply([ map { $_->{fields}{message} } @{ $count->{late} } ], [ 'late', 'claim lost' ], 'late: after a successor began');
is_deeply([ map { $_->{fields}{message} } @{ $count->{delayed} } ], ['delayed'], 'delayed: when its server had ended');
is_deeply([ $count->late_twice ], ['claim lost'], 'late and twice');

my @always = ('untrue: sent, although the gateway did not say so', 'waits: neither sent nor unknown',
	'sent: in two rows', 'by one: sent twice by a node that stayed primary',
	'restarted: sent twice by a node that stayed primary');
is_deeply([ $count->broken('off') ], \@always, 'what must never be');
is_deeply(
	[ $count->broken('on') ],
	[ @always, 'lost: committed, and lost', 'accepted: accepted, and lost', 'claim lost: sent twice', 'primary again: sent twice',
		'queued again: queued again, and sent twice' ],
	'what must not be either with a synchronous standby');

is_deeply([ map { $_->[0] } $count->promotions ], [ 100, 200 ], 'a node that starts again is not promoted');
is_deeply([ $count->missing ], [], 'something happened');
my $nothing = Failover::Count->new(told => [], rows => [], log => [], reigns => [ [ 0, 'n1', 40 ], [ 50, 'n1', 'inf' ] ]);
is_deeply(
	[ $nothing->missing ],
	[ 'no message was committed', 'no message was sent', 'no other node became primary' ],
	'nothing happened');

done_testing();
