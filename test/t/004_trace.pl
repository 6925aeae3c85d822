# What chaos compares with the model: requests and events are named for what they mean, and a
# trace that no run of the model has, or whose times cannot be, is told of.

use strict;
use warnings;

use JSON::PP       qw(encode_json);
use SMS3300::Trace qw(unknown_steps);
use Test::More;

my %rows;
my @log;

# Return a failed attempt, as the events of a row have it, at a second.
sub failed
{
	my ($at, $attempt, %said) = @_;
	return { at => $at, attempt => $attempt, phase => 'done', error => 'it was refused', %said };
}

# Add a message: its text, its status, when it was claimed last and finished, its events, and its
# requests, each with the answer's code or HTTP status.
sub message
{
	my ($text, $status, $times, $events, @requests) = @_;
	$rows{$text} = {
		message    => $text, status => $status, events => $events,
		started_at => $times->[0], finished_at => $times->[1]
	};
	push @log, map { { fields => { message => $text }, at => $_->[0], answer => { $_->[1] => $_->[2] } } } @requests;
	return;
}

# Return what the model says, by the message.
sub told
{
	return map { /\A([^:]*): (.*)/ ? ($1 => $2) : ($_ => 'what is this?') }
	  unknown_steps(sub { join "\n", map { encode_json($_) } values %rows }, @log);
}

my %lost = (error => 'no reply; it may have been sent');
my @yes  = (api_status => -1);

# What can be.
message('sent', 'sent', [ 10, 12 ], [], [ 11, @yes ]);
message('busy', 'sent', [ 20, 22 ],
	[ failed(12, 1, api_status => 15), failed(14, 2, http_status => 503), failed(15, 3, http_status => 429), failed(16, 3, api_status => 8) ],
	[ 11, api_status => 15 ], [ 13, http => 503 ], [ 14.5, http => 429 ], [ 15.5, api_status => 8 ], [ 21, @yes ]);
message('refused',  'rejected', [ 10, 12 ], [ failed(12, 1, api_status => 27) ], [ 11, api_status => 27 ]);
message('bad',      'rejected', [ 10, 12 ], [ failed(12, 1, http_status => 413) ], [ 11, http => 413 ]);
message('late',     'unknown',  [ 10, 12 ], [ failed(12, 1, %lost) ], [ 13, @yes ]);
message('odd',      'unknown',  [ 10, 12 ], [ failed(12, 1, %lost, api_status => 0) ], [ 11, api_status => 0 ]);
message('orphan',   'unknown',  [ 10, 12 ], [ failed(12, 1, %lost, phase => 'none') ]);
message('again',    'sent',     [ 20, 22 ], [ failed(12, 1, %lost), { action => 'resend', at => 15 } ], [ 21, @yes ], [ 22, @yes ]);
message('long xxx', 'suppressed', [ undef, 12 ], []);
message('unsent',   'cancelled', [ 10, 14 ], [ failed(12, 1, phase => 'connect'), { action => 'cancel', at => 14 } ]);
is_deeply({ told() }, {}, 'what can be is known');

# What cannot.
%rows = ();
@log  = ();
message('twice', 'unknown', [ 10, 12 ], [ failed(12, 1, %lost) ], [ 11, @yes ], [ 13, @yes ]);
message('guess', 'sent', [ 10, 12 ], []);
message('taken', 'rejected', [ 10, 12 ], [ failed(12, 1, api_status => 27) ], [ 11, @yes ]);
message('forbidden xx', 'suppressed', [ 10, 12 ], [], [ 11, @yes ]);
push @log, { fields => { message => 'gone' }, at => 11, answer => {@yes} };
my %told = told();
like(delete $told{$_} // '', qr/the model knows no way to requests/, "$_: a step that the model does not know is told of")
  for qw(twice guess taken forbidden gone);
is_deeply(\%told, {}, 'no other is told of');

# What cannot be at its time.
%rows = ();
@log  = ();
message('early',   'sent', [ 10, 12 ], [], [ 9, @yes ]);
message('soon',    'sent', [ 10, 12 ], [], [ 13, @yes ]);
message('result',  'sent', [ 20, 22 ], [ failed(12, 1, api_status => 15) ], [ 13, api_status => 15 ], [ 21, @yes ]);
message('request', 'sent', [ 20, 22 ], [ failed(22, 1, api_status => 15) ], [ 11, api_status => 15 ], [ 21, @yes ]);
is_deeply(
	{ told() },
	{
		early   => 'its request came before its claim',
		soon    => 'it was sent before its reply',
		result  => 'the result transient:1 was there before its reply',
		request => 'a request came before the result transient:1 of the one before it'
	},
	'what cannot be at its time is told of');

done_testing();
