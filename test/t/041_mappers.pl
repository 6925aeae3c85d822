
# Object-relational mappers name all columns of a table in an INSERT. The columns of the
# extension take DEFAULT or NULL from any role; any other value is an error that names the
# column, by whichever way it comes.

use strict;
use warnings;

use SMS3300;
use Test::More;

my $gateway = new_gateway();
my $node    = new_node('main');
my $number  = '09123456789';
create_account($node, 'postgres', url => $gateway->url, line => '983000330000', paused => 'true');
run_sql($node, <<'END');
CREATE ROLE app LOGIN;
CREATE ROLE stranger LOGIN;
GRANT USAGE ON FOREIGN SERVER sms3300 TO app;
CREATE VIEW everybodys AS SELECT * FROM sms_outbox;
GRANT SELECT, INSERT ON everybodys TO app;
CREATE ROLE copier LOGIN BYPASSRLS;
GRANT USAGE ON FOREIGN SERVER sms3300 TO copier;
END

# The columns, those of the extension, and those that the database gives a value.
my @columns = split /\n/, run_sql($node, q{
	SELECT attname FROM pg_attribute WHERE attrelid = 'sms_outbox'::regclass AND attnum > 0 ORDER BY attnum});
my %callers = map { $_ => 1 } qw(mobile message line line2 type template account priority
  send_after send_before dedup_key metadata);
my @reserved = grep { !$callers{$_} } @columns;
my %default  = map { $_ => 1 } split /\n/, run_sql($node, q{
	SELECT attname FROM pg_attribute
	WHERE attrelid = 'sms_outbox'::regclass AND attnum > 0 AND (atthasdef OR attidentity <> '')});

# Return an INSERT of all columns; where there is no value, it says what the function says.
sub insert_all
{
	my ($text, $otherwise) = @_;
	my %value = (mobile => "'$number'", message => "'$text'");
	return 'INSERT INTO sms_outbox (' . join(', ', @columns) . ') VALUES ('
	  . join(', ', map { $value{$_} // $otherwise->($_) } @columns) . ')';
}

# Return the SQLSTATE and the message of an error, '' if there is none.
sub error_of
{
	my ($sql, $role) = @_;
	my (undef, undef, $error) = $node->psql('postgres', "\\set VERBOSITY verbose\n$sql",
		extra_params => [ '-U', $role // 'app' ], on_error_stop => 0);
	return $error =~ /ERROR:  (\w+: [^\n]*)/ ? $1 : '';
}

# Expect the error that names a column of the extension.
sub refused
{
	my ($sql, $column, $what, $role) = @_;
	return is(error_of($sql, $role), qq(428C9: cannot insert a non-DEFAULT value into column "$column"), $what);
}

# ---------------------------------------------------------------------------
# What mappers do
# ---------------------------------------------------------------------------

like(run_as($node, 'app', insert_all('by default', sub { 'DEFAULT' }) . ' RETURNING *'),
	qr/\A\d+\|989123456789\|by default\|.*\|app\|.*\|queued\|0\|/, 'DEFAULT for each column');
like(run_as($node, 'app', insert_all('null', sub { $default{ $_[0] } ? 'DEFAULT' : 'NULL' }) . ' RETURNING id'),
	qr/\A\d+\z/, 'NULL for each column that has no default');

# A model that was made from the catalog demands a value for what is NOT NULL and has no
# default.
is(run_sql($node, q{SELECT string_agg(attname, ' ') FROM pg_attribute WHERE attrelid = 'sms_outbox'::regclass
	AND attnum > 0 AND attnotnull AND NOT atthasdef AND attidentity = ''}), 'mobile', 'only the recipient is required');

# Values that equal the defaults, and a created_at of the application's clock.
is( run_as($node, 'app', "INSERT INTO sms_outbox (mobile, message, created_at, status, attempts, events, sender)"
	  . " VALUES ('$number', 'own clock', '2000-01-01', 'queued', 0, '[]', 'app') RETURNING created_at = now()"),
	't', 'created_at is replaced, and a value that equals the default is one');

# The number of the message, as drivers ask for it.
is( run_as($node, 'app', "INSERT INTO sms_outbox (mobile, message) VALUES ('$number', 'x');"
	  . " SELECT currval('sms_outbox_id_seq') = max(id) AND lastval() = max(id) FROM sms_outbox"),
	't', 'currval and lastval');
is(run_as($node, 'app', q{SELECT nextval('sms_outbox_id_seq')}), 42501, 'the sequence can only be read');

# ---------------------------------------------------------------------------
# Forging
# ---------------------------------------------------------------------------

my %forged = (id => 7, sender => q('stranger'), status => q('sent'), attempts => 1, events => q('[1]'),
	due_at => q('2000-01-01'), started_at => 'now()', finished_at => 'now()', response => q('{}'),
	sent_line => q('983000330000'), error => q('none'), dedup_released => 'true',
	delivery => q('delivered'), delivery_at => 'now()');
for my $column (grep { !/^(?:created_at|origin)$/ } @reserved)
{
	my $value = $forged{$column} // 1;
	refused("INSERT INTO sms_outbox (mobile, message, $column) OVERRIDING SYSTEM VALUE VALUES ('$number', 'forged', $value);",
		$column, "$column in INSERT");
	refused("INSERT INTO everybodys (mobile, message, $column) OVERRIDING SYSTEM VALUE VALUES ('$number', 'forged', $value);",
		$column, "$column by a view");
	my $copied = $value =~ s/now\(\)/2000-01-01/r =~ tr/'//dr;
	refused("COPY sms_outbox (mobile, message, $column) FROM STDIN;\n$number\tforged\t$copied\n\\.",
		$column, "$column by COPY, which a role that bypasses row-level security may use", 'copier');
	next if $node->pg_version < 15;
	refused("MERGE INTO sms_outbox USING (SELECT 1) AS s ON false WHEN NOT MATCHED THEN"
		  . " INSERT (mobile, message, $column) OVERRIDING SYSTEM VALUE VALUES ('$number', 'forged', $value);",
		$column, "$column by MERGE");
}
for my $column (qw(status attempts events))
{
	refused("INSERT INTO sms_outbox (mobile, message, $column) VALUES ('$number', 'forged', NULL);",
		$column, "NULL for $column");
}
is(error_of("INSERT INTO sms_outbox (mobile, message, origin) VALUES ('$number', 'forged', 1);"),
	'42501: permission denied to set "origin"', 'origin');
like(error_of("INSERT INTO sms_outbox (mobile, message, dedup_key) VALUES ('$number', 'x', 'k')"
	  . " ON CONFLICT (sender, dedup_key, (CASE WHEN dedup_released THEN id ELSE 0 END))"
	  . " WHERE dedup_key IS NOT NULL DO UPDATE SET status = 'sent';"),
	qr/^42501: permission denied/, 'ON CONFLICT DO UPDATE');
is(error_of("INSERT INTO sms_outbox (mobile, message) VALUES ('$number', 'x') ON CONFLICT (id) DO UPDATE SET sender = 'stranger';"),
	'42501: permission denied for table sms_outbox', 'ON CONFLICT DO UPDATE by the id');
is(error_of("MERGE INTO sms_outbox USING (SELECT 1) AS s ON true WHEN MATCHED THEN UPDATE SET status = 'sent';"),
	'42501: permission denied for table sms_outbox', 'MERGE of a message that is there')
  if $node->pg_version >= 15;
like(error_of("COPY sms_outbox (id, mobile, message) FROM STDIN;\n7\t$number\tforged\n\\."),
	qr/^0A000: COPY FROM not supported with row-level security/, 'COPY');

# An id that the sequence has not given to this session just now is forged, also where it
# has given another one.
for my $id (1, 'max(id) + 1', 'max(id) + 1000000')
{
	refused("SELECT sms3300_send('$number', 'x');\nINSERT INTO sms_outbox (id, mobile, message)"
		  . " OVERRIDING SYSTEM VALUE SELECT $id, '$number', 'forged' FROM sms_outbox;", 'id', "the id $id");
}
is(count_rows($node, "message = 'forged'"), 0, 'nothing forged is queued');
is(run_sql($node, "INSERT INTO sms_outbox (id, mobile, message) OVERRIDING SYSTEM VALUE"
	  . " VALUES (1000000, '$number', 'x') RETURNING id"), 1000000, 'the owner of the table chooses an id');

# ---------------------------------------------------------------------------
# Messages that are queued while a row is made
# ---------------------------------------------------------------------------

is( run_as($node, 'app', "INSERT INTO sms_outbox (mobile, message, metadata)"
	  . " VALUES ('$number', 'outer', to_jsonb(sms3300_send('$number', 'inner'))) RETURNING id > metadata::bigint"),
	't', 'a message that is queued by a value of another one');
run_sql($node, <<'END');
CREATE FUNCTION copy_to_boss() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO sms_outbox (mobile, message) VALUES ('09120000000', NEW.message);
	RETURN NEW;
END $$;
CREATE TRIGGER copy_to_boss BEFORE INSERT ON sms_outbox FOR EACH ROW
	WHEN (NEW.mobile <> '09120000000') EXECUTE FUNCTION copy_to_boss();
END
is(run_as($node, 'app', "INSERT INTO sms_outbox (mobile, message) VALUES ('$number', 'copied'), ('$number', 'copied');"
	  . " SELECT count(DISTINCT id) FROM sms_outbox WHERE message = 'copied'"), 4, 'a trigger that queues copies');
run_sql($node, 'DROP TRIGGER copy_to_boss ON sms_outbox');

# Many rows at once, in whichever order they are made.
is(run_as($node, 'app', "INSERT INTO sms_outbox (mobile, message) SELECT '$number', 'many' FROM generate_series(1, 1000) AS i"
	  . " ORDER BY -i; SELECT count(*) FROM sms_outbox WHERE message = 'many'"), 1000, 'many rows, sorted');

is(run_as($node, 'stranger', insert_all('x', sub { 'DEFAULT' })), 42501, 'without USAGE nothing is queued');
alter_account($node, paused => 'false');
wait_for_end($node);
is(count_rows($node, q(status <> 'sent')), 0, 'all are sent');

$node->stop;
done_testing();
