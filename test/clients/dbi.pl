# Perl DBI, with SQL.

use strict;
use warnings;
use utf8;
use open qw(:std :encoding(UTF-8));
use DBI;
use Time::HiRes qw(sleep);

# PgBouncer before 1.21 does not know prepared statements.
my $db = DBI->connect("dbi:Pg:dbname=$ENV{PGDATABASE}", undef, undef,
	{ RaiseError => 1, PrintError => 0, pg_server_prepare => !$ENV{POOLED} });
my $insert = 'INSERT INTO sms_outbox (mobile, message) VALUES (?, ?)';

my ($id) = $db->selectrow_array('INSERT INTO sms_outbox (mobile, message, metadata) VALUES (?, ?, ?) RETURNING id',
	undef, '09123456789', 'سلام', '{"order": 17}');
$db->begin_work;
my $many = $db->prepare($insert);
$many->execute(sprintf('0912%07d', $_), 'many') for 0 .. 999;
$db->commit;

$db->begin_work;
$db->do($insert, undef, '09123456789', 'rolled back');
$db->rollback;
$db->begin_work;
$db->do($insert, undef, '09123456789', 'kept');
$db->pg_savepoint('extra');
$db->do($insert, undef, '09123456789', 'dropped');
$db->pg_rollback_to('extra');
$db->commit;

my ($later) = $db->selectrow_array("INSERT INTO sms_outbox (mobile, message, send_after)"
	  . " VALUES (?, ?, now() + interval '1 hour') RETURNING id", undef, '09123456789', 'later');
$db->selectrow_array('SELECT sms3300_cancel(?)', undef, $later);

$db->do('INSERT INTO sms_outbox (mobile, message, dedup_key) VALUES (?, ?, ?) ON CONFLICT DO NOTHING',
	undef, '09123456789', 'once', 'order-17') for 1, 2;

eval { $db->do($insert, undef, '021 3300 3300', 'bad'); 1 } or print "error: $@";

my ($status, $number) = 'queued';
while ($status =~ /queued|sending/)
{
	sleep 0.05;
	($status, $number) = $db->selectrow_array('SELECT status, message_id FROM sms_outbox WHERE id = ?', undef, $id);
}
print "$status $number\n";
