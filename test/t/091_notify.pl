
# The option "notify": what finishes a message is told by NOTIFY after its commit.

use strict;
use warnings;

use JSON::PP qw(decode_json);
use PostgreSQL::Test::Utils;
use SMS3300;
use Test::More;

my $gateway = new_gateway();
my $node    = new_node('main', conf => "sms3300.poll_interval = '1s'\n");
create_account($node, 'postgres', url => $gateway->url, line => '983000330000', notify => 'sms');
create_account($node, 'postgres', account => 'quiet', url => $gateway->url, line => '983000330000');

# A session that listens; and what it has heard so far: a list of payloads, decoded.
my $listener = $node->background_psql('postgres', on_error_stop => 1);
$listener->query_safe('LISTEN sms');
my @heard;

# Read what was told until now, and return all objects heard, as "id status".
sub told
{
	for my $line (split /\n/, $listener->query('SELECT 1'))
	{
		next unless $line =~ /\AAsynchronous notification "sms" with payload "(.*)" received/;
		push @heard, $1;
	}
	return map { my $object = $_; map { "$object->{id} $object->{$_}" } grep { $_ ne 'id' } keys %$object }
	  map { @{ decode_json($_) } } @heard;
}

# Test that messages are told of, once each, as having a status.
sub is_told
{
	my ($ids, $status, $name) = @_;
	my @wanted = sort map { "$_ $status" } @$ids;
	my %mine   = map { $_ => 1 } @$ids;
	my @told;
	wait_until(sub { (@told = grep { $mine{ (split / /)[0] } } told()) >= @wanted }, "to be told: $name");
	return is_deeply([ sort @told ], \@wanted, $name);
}

is_told([ queue_until($node, 'sent', 'hello') ],            'sent',     'sent');
is_told([ queue_until($node, 'rejected', '#status 1') ],    'rejected', 'rejected');
is_told([ queue_until($node, 'unknown', '#status 0') ],     'unknown',  'unknown');
alter_account($node, max_attempts => 1);
is_told([ queue_until($node, 'failed', '#status 15') ],     'failed',   'failed');
alter_account($node, max_attempts => undef, deliver_only => '09351234567');
is_told([ queue_until($node, 'suppressed', 'hello') ],      'suppressed', 'suppressed');
alter_account($node, deliver_only => undef, paused => 'true');
is_told([ queue_until($node, 'expired', 'hello', send_before => \"now() + interval '1 s'") ],
	'expired', 'expired');

my $cancelled = queue($node, 'hello');
run_sql($node, "BEGIN; SELECT sms3300_cancel($cancelled); ROLLBACK");
run_sql($node, "SELECT sms3300_cancel($cancelled)");
is_told([$cancelled], 'cancelled', 'cancelled, once: what is rolled back is not told');
my @cancelled = queue($node, 'hello', n => 300);
run_sql($node, "SELECT sms3300_cancel_many('{${\ join ',', @cancelled}}')");
is_told(\@cancelled, 'cancelled', 'cancelled together');
alter_account($node, paused => undef);

my $resolved = queue_until($node, 'unknown', '#status 0');
told();
@heard = ();
run_sql($node, "SELECT sms3300_resolve($resolved, true, 'seen in the panel')");
is_told([$resolved], 'sent', 'resolved');

# A message that is on the wire when the worker is stopped.
my $orphan = queue_until_taken($node, $gateway, '#hang');
run_sql($node, "SELECT pg_terminate_backend(${\ worker_pid($node, 'postgres')})");
wait_for_status($node, $orphan, 'unknown');
is_told([$orphan], 'unknown', 'what a stop makes unknown');

# Many at once: several payloads, each an array of no more than PostgreSQL takes.
@heard = ();
alter_account($node, paused => 'true');
my @many = queue($node, 'hello', n => 700, send_before => \"now() + interval '1 s'");
wait_for_status($node, \@many, 'expired');
is_told(\@many, 'expired', 'many at once');
my @long = grep { length > 7999 } @heard;
is(scalar @long, 0, 'no payload is too long');
cmp_ok(scalar @heard, '<', 10, 'there are few payloads');
alter_account($node, paused => undef);

# An account without the option tells nothing; one that loses it neither.
my $quiet = queue_until($node, 'sent', 'hello', account => 'quiet');
my $heard = mark($node);
is_told([$heard], 'sent', 'another account is told of');
is(scalar(grep { /\A$quiet / } told()), 0, 'an account without the option tells nothing');

# A trigger that fails, or changes the result, changes what is told only as it changes the row.
run_sql($node, <<'END');
CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.message = 'fail' AND NEW.status = 'sent' THEN
		RAISE EXCEPTION 'told to';
	ELSIF NEW.message = 'change' AND NEW.status = 'sent' THEN
		NEW.status := 'rejected';
	END IF;
	RETURN NEW;
END $$;
CREATE TRIGGER meddle BEFORE UPDATE ON sms_outbox FOR EACH ROW EXECUTE FUNCTION meddle();
END
is_told([ queue_until($node, 'sent', 'fail') ], 'sent', 'a result that is recorded with triggers disabled is told, once');
my $changed = queue_until($node, 'rejected', 'change');
is_told([ mark($node) ], 'sent', 'another message');
is(scalar(grep { /\A$changed sent/ } told()), 0, 'a result that a trigger has changed is not told');

$listener->quit;
done_testing();
