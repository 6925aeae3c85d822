
# A delivery state is one that the gateway held for that very message, whatever shape its
# replies have.

use strict;
use warnings;

use SMS3300;
use Test::More;

my $gateway = new_gateway();
my $node    = new_node('main');
create_account($node, 'postgres', url => $gateway->url, line => '983000330000',
	delivery => 'on', delivery_interval => '0');
srand 3300;

# What each code that the gateway holds may become.
my %final = (1 => 'delivered', map { $_ => 'undelivered' } 2, 16, 27, 33);
my @codes = (1, 1, 2, 16, 27, 33, 8, 0, 7);
my %held;

# Test that no message has a state that the gateway did not hold for it.
sub is_true
{
	my ($shape) = @_;
	my @wrong;
	for my $row (grep { ($_->{delivery} // 'waiting') ne 'waiting' } read_rows($node, 'delivery IS NOT NULL'))
	{
		my $code = $held{ $row->{message_id} };
		push @wrong, $row
		  if $row->{delivery} eq 'unconfirmed' ? 0
		  : !defined $code || ($final{$code} // '') ne $row->{delivery} || $row->{delivery_code} != $code;
	}
	return is_deeply(\@wrong, [], "$shape: no state that the gateway did not hold");
}

# Send messages, for which the gateway then holds states that it tells in a shape. The account
# is altered, so that what the last shape has done to its pace is over.
my $batch = 50;

sub send_and_hold
{
	my ($shape, $checks) = @_;
	$gateway->states(shape => 'empty', default => undef);
	alter_account($node, delivery_checks => '1 day', delivery_batch => --$batch);
	my @ids = queue_until($node, 'sent', $shape, n => 7);
	for my $row (read_rows($node, 'id IN (' . join(', ', @ids) . ')'))
	{
		$held{ $row->{message_id} } = $codes[ rand @codes ];
	}
	$gateway->states(shape => $shape, held => \%held);
	my $asked = $gateway->count->{asked};
	alter_account($node, delivery_checks => $checks // '200ms, 1 day');
	return ($asked, @ids);
}

for my $shape (qw(items strings bom keyed arrays pair twice))
{
	my (undef, @ids) = send_and_hold($shape);
	my @rows = read_rows($node, 'message = ' . quote($shape));
	my @wanted = map { "$_->{id} " . ($final{ $held{ $_->{message_id} } } // 'waiting') } @rows;
	wait_for_sql($node, 'postgres', "SELECT string_agg(id || ' ' || delivery, ', ' ORDER BY id) FROM sms_outbox"
		  . ' WHERE message = ' . quote($shape), join(', ', @wanted));
	pass("$shape: each message has the state that the gateway holds");
	is_true($shape);
}

for my $shape (
	qw(bare scalar foreign other contradict two-states nulls texts fractions short three),
	'status 1', 'status 22', 'status 409', 'http 500', 'http 302', qw(empty html cut huge reset drop))
{
	my ($asked, @ids) = send_and_hold($shape);
	my $wanted = $shape eq 'status 22' ? 1 : 2;
	wait_until(sub { $gateway->count->{asked} >= $asked + $wanted }, "$shape: to be asked $wanted times");
	mark($node);
	is_true($shape);
}

# In the end the gateway answers well again, and what still waits is settled.
send_and_hold('items', '200ms');
wait_for_sql($node, 'postgres', "SELECT count(*) FROM sms_outbox WHERE delivery = 'waiting' AND message NOT LIKE 'mark%'", 0);
is_true('at last');
cmp_ok(run_sql($node, "SELECT count(*) FROM sms_outbox WHERE delivery = 'delivered'"), '>', 10, 'many are delivered');
is(run_sql($node, "SELECT count(*) FROM sms_outbox WHERE status <> 'sent'"), 0, 'no status has changed');

done_testing();
