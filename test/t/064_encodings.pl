
# Databases with encodings other than UTF-8. A queued text arrives unchanged or is
# rejected when it is queued. A reply is stored, with escapes for characters that the
# database encoding lacks.

use strict;
use warnings;
use utf8;

use Encode    qw(decode encode);
use JSON::PP  qw(decode_json);
use PostgreSQL::Test::Utils;
use SMS3300;
use Test::More;

my $json = JSON::PP->new;

# What each database can hold, what a client cannot bring into it, what can be in it that is
# no text for the gateway (bytes), and what a reply has that it cannot hold.
my %encoding = (
	UTF8 => {
		text    => 'سلام‌ها، ‏۱۲ é 漢字 😀 \\ %+&=',
		beyond  => undef,
		invalid => undef,
		foreign => undef,
	},
	WIN1256 => {
		text    => "سلام\x{200C}چاپ ، پژگ é €",
		beyond  => 'ی',
		invalid => undef,
		foreign => 'پیام',
	},
	LATIN1 => {
		text    => "Grüße, ñandú ÿ \xA0½",
		beyond  => '€',
		invalid => undef,
		foreign => 'é پیام',
	},
	EUC_JP => {
		text    => 'こんにちは、漢字 ｶﾅ 丂',
		beyond  => 'é سلام',
		invalid => '\xA9\xA1',
		foreign => '漢字 پیام 😀',
	},
	SQL_ASCII => {
		text    => 'سلام é 漢字 😀',
		beyond  => undef,
		invalid => '\xD8\xB3\xFF',
		foreign => 'پیام',
	},
);

my $gateway = new_gateway();
my $node    = new_node('main', conf => "sms3300.worker_idle_timeout = 1h\n");
my $number  = '09123456789';
$ENV{PGCLIENTENCODING} = 'UTF8';

# Run SQL in a database and return what it prints, as characters.
sub ask
{
	my ($database, $sql) = @_;
	return decode('UTF-8', run_sql($node, $sql, $database));
}

# Expect an error, and return it.
sub refused
{
	my ($database, $sql, $expected, $what) = @_;
	my ($status, undef, $stderr) = $node->psql($database, "\\set VERBOSITY verbose\n" . encode('UTF-8', $sql));
	return like(decode('UTF-8', $stderr), $expected, "$database: $what");
}

# Have the next request answered with an object that has a status and a text.
sub reply_with
{
	my ($status, $text) = @_;
	$gateway->mode("#json {\"status\": $status, \"msg\": \"$text\"}", 1);
	return;
}

# A reply's object as the table has it.
sub response
{
	my ($database, $id) = @_;
	return $json->decode(ask($database, "SELECT response FROM sms_outbox WHERE id = $id"));
}

# A text in which each character is written as JSON may have it.
sub escaped
{
	my ($text) = @_;
	return join '', map { sprintf '\\u%04x', $_ } unpack 'n*', encode('UTF-16BE', $text);
}

# Return the newest entry of the gateway's log.
sub newest
{
	return ($gateway->log)[-1]{fields};
}

for my $encoding (sort keys %encoding)
{
	my $database = lc $encoding;
	my ($text, $beyond, $invalid, $foreign) = @{ $encoding{$encoding} }{qw(text beyond invalid foreign)};
	my $password = 'x+' . substr($text, 0, 3) . substr $text, -1;
	run_sql($node, "CREATE DATABASE $database TEMPLATE template0 ENCODING '$encoding' LC_COLLATE 'C' LC_CTYPE 'C'");

	# The server knows nothing of the encoding then, and the client must not either.
	local $ENV{PGCLIENTENCODING} = 'SQL_ASCII' if $encoding eq 'SQL_ASCII';
	run_sql($node, 'CREATE EXTENSION sms3300', $database);
	run_sql($node, <<"END", $database);
CREATE SERVER "$text" FOREIGN DATA WRAPPER sms3300 OPTIONS (line '983000330000', url '@{[ $gateway->url ]}');
CREATE USER MAPPING FOR PUBLIC SERVER "$text" OPTIONS (username '$text', password '$password');
END
	my $set = "SET sms3300.account = " . quote($text);

	# A text, credentials and metadata, by each way of sending.
	my $metadata = $json->encode({ $text => [$text] });
	my $given = quote($text) . ', metadata => ' . quote($metadata) . ', dedup_key => ' . quote($text);
	my $id = ask($database, "$set; SELECT sms3300_send('$number', $given)");
	wait_for_status($node, $id, 'sent', $database);
	is(newest()->{message}, $text, "$encoding: a text arrives");
	is_deeply([ @{ newest() }{qw(username password)} ], [ $text, $password ], "$encoding: credentials arrive");
	is(ask($database, "$set; SELECT sms3300_send('$number', $given)"), $id, "$encoding: a dedup_key");
	my $row = $json->decode(ask($database, 'SELECT to_json(o) FROM sms_outbox AS o'));
	is_deeply([ @$row{qw(message account dedup_key)} ], [ ($text) x 3 ], "$encoding: the row");
	is_deeply($row->{metadata}, { $text => [$text] }, "$encoding: metadata");
	is(ask($database, 'SELECT message FROM sms_report'), $text, "$encoding: the report");
	my $long = 'x' . $text x 10;
	$id = ask($database, "$set; INSERT INTO sms_outbox (mobile, message) VALUES ('$number', "
		  . quote($long) . ') RETURNING id');
	wait_for_status($node, $id, 'sent', $database);
	is(newest()->{message}, $long, "$encoding: a long text arrives");
	if ($encoding ne 'SQL_ASCII')
	{
		is(ask($database, "SELECT message FROM sms_report WHERE id = $id"), substr($long, 0, 27) . '...',
			"$encoding: the report cuts it between characters");
	}

	# A text that the client cannot bring here is PostgreSQL's to refuse; one that the
	# gateway cannot get is ours.
	refused($database, "$set; SELECT sms3300_send('$number', '$beyond')",
		qr/ERROR:  22P05: .* has no equivalent in encoding "\Q$encoding\E"/, 'a text beyond it is refused')
	  if defined $beyond;
	if (defined $invalid)
	{
		my $problem = qr/ERROR:  (?:22P05: .* has no equivalent in|22021: invalid byte sequence for) encoding "UTF8"/;
		refused($database, "$set; SELECT $_", $problem, "no text for the gateway: $_")
		  for "sms3300_send('$number', E'$invalid')", "sms3300_send_now('$number', E'$invalid')";
		refused($database, "$set; INSERT INTO sms_outbox (mobile, message) VALUES ('$number', E'$invalid')",
			$problem, 'no text for the gateway: INSERT');
		refused($database, "SELECT sms3300_mobile(E'$invalid')", qr/ERROR:  22/, 'no number');
		is(ask($database, "SELECT sms3300_is_mobile(E'$invalid')"), 'f', "$encoding: ... and no error to ask")
		  if $encoding eq 'SQL_ASCII';
	}

	# A reply in characters that the database has, written in each way.
	for my $spelling ($text =~ s/\\/\\\\/gr, escaped($text))
	{
		reply_with(27, $spelling);
		$id = ask($database, "$set; SELECT sms3300_send('$number', 'x')");
		wait_for_status($node, $id, 'rejected', $database);
		next if $encoding eq 'SQL_ASCII';
		is(response($database, $id)->{msg}, $text, "$encoding: a reply is kept");
		is(ask($database, "SELECT error FROM sms_outbox WHERE id = $id"),
			"the gateway answered with status 27 (recipient opted out): $text", "$encoding: the error has its text");
		is(ask($database, "SELECT reason FROM sms_report WHERE id = $id"),
			"the gateway answered with status 27 (recipient opted out): $text", "$encoding: the report has it");
		like(ask($database, "SELECT sms3300_explain($id)"), qr/: \Q$text\E; leave it, or/,
			"$encoding: explained");
		reply_with(27, $spelling);
		is($json->decode(ask($database, "$set; SELECT sms3300_send_now('$number', 'x')"))->{msg}, $text,
			"$encoding: send_now returns it");
	}

	# A reply that it cannot hold.
	if (defined $foreign)
	{
		my $kept = $foreign =~ s/([^\0-\x7F])/escaped($1)/ger;
		reply_with(27, $foreign);
		$id = ask($database, "$set; SELECT sms3300_send('$number', 'x')");
		wait_for_status($node, $id, 'rejected', $database);
		is_deeply(response($database, $id), { raw => "{\"status\": 27, \"msg\": \"$kept\"}" },
			"$encoding: characters that it lacks are kept escaped");
		is(ask($database, "SELECT error FROM sms_outbox WHERE id = $id"), 'the gateway answered with status 27 (recipient opted out)',
			"$encoding: ... and the error is without them");
		reply_with(-1, $foreign);
		is_deeply($json->decode(ask($database, "$set; SELECT sms3300_send_now('$number', 'x')")),
			{ raw => "{\"status\": -1, \"msg\": \"$kept\"}" }, "$encoding: ... as send_now returns them");
		$gateway->mode("#http 500 body=$foreign", 1);
		refused($database, "$set; SELECT sms3300_send_now('$number', 'x')",
			qr/DETAIL:  Its reply was \{"raw": "\Q@{[ $kept =~ s!\\!\\\\!gr ]}\E"\}/, 'errors show what is not of the encoding');
	}

	# Bytes that are not text, and a password that is repeated.
	$gateway->mode('#json {"status": 27, "msg": "a\xFF\xC3b"}', 1);
	$id = ask($database, "$set; SELECT sms3300_send('$number', 'x')");
	wait_for_sql($node, $database, "SELECT status <> 'sending' AND http_status = 200 FROM sms_outbox WHERE id = $id");
	is(response($database, $id)->{raw}, '{"status": 27, "msg": "a\xff\xc3b"}', "$encoding: bytes that are not text");
	for my $repeated ($password, "$password, " . ($foreign // ''), escaped($password), escaped($password) =~ s/([a-f])/\U$1/gr)
	{
		reply_with(27, "$repeated is wrong");
		$id = ask($database, "$set; SELECT sms3300_send('$number', 'x')");
		wait_for_status($node, $id, 'rejected', $database);
		like($json->encode(response($database, $id)), qr/"\*\*\*(?:, [^"]*)? is wrong/,
			"$encoding: a password that is repeated is masked");
	}

	# An account whose credentials cannot be converted to UTF-8 waits.
	if (defined $invalid)
	{
		run_sql($node, "DO \$\$ BEGIN EXECUTE format('ALTER USER MAPPING FOR PUBLIC SERVER %I OPTIONS (SET password %L)', "
			  . quote($text) . ", E'$invalid'); END \$\$", $database);
		$id = ask($database, "$set; SELECT sms3300_send('$number', 'x')");
		wait_for_sql($node, $database,
			"SELECT error = 'the credentials cannot be converted to UTF-8' FROM sms_outbox WHERE id = $id");
		refused($database, "$set; SELECT sms3300_send_now('$number', 'x')",
			qr/ERROR:  55000: .*the credentials cannot be converted to UTF-8/, 'send_now without a password');
	}
}

unlike(slurp_file($node->logfile), qr/terminated by signal|PANIC/, 'no process crashed');
$node->stop;
done_testing();
