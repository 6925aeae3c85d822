
# The documents. Their statements work in the given order and print what the documents
# show, the queries of the runbook return what it says, the reference is complete, and the
# documents keep to their form.

use strict;
use warnings;
use utf8;

use Cwd            qw(abs_path);
use Encode         qw(decode encode);
use File::Basename qw(dirname);
use PostgreSQL::Test::Utils;
use SMS3300;
use Test::More;

my $root = abs_path(dirname(__FILE__) . '/../..');
my @documents = map { s{^\Q$root\E/}{}r } map { glob "$root/$_" } qw(*.md doc/*.md doc/*/*.md src/*.md);

my $gateway = new_gateway();
my $node    = new_node('main', init => [ allows_streaming => 1 ]);
run_sql($node, 'CREATE ROLE app LOGIN');

# Return the code blocks of a document, each with what stands behind its ```, its text, and
# the output that the document shows for it.
sub blocks
{
	my ($document) = @_;
	my @blocks;
	my $text = read_document($document);
	while ($text =~ /^```(sql[^\n]*)\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?/msg)
	{
		push @blocks, { kind => $1, sql => $2, output => $3 };
	}
	return @blocks;
}

# Return a block's SQL as it is run: accounts that it creates use the test gateway.
sub statements
{
	my ($block) = @_;
	return $block->{sql} =~
	  s/(CREATE SERVER .*? DATA WRAPPER sms3300\s+OPTIONS \()/$1url '${\ $gateway->url }', /gr;
}

# Return what psql prints, with no more of it than a document can know: numbers and the
# width of columns differ.
sub without_numbers
{
	my ($output) = @_;
	return join "\n", map { s/\s*\|\s*/|/gr =~ s/\A\s+|\s+\z//gr } map { s/[0-9]+/N/gr }
	  grep { !/^\(\d+ rows?\)$|^[-+]*$/ } split /\n/, $output;
}

# Run the SQL blocks of a document in a new database that has the tables and roles that the
# documents use, and a function in the place of pg_cron that runs its job at once. The kind
# of a block says what is different about it:
#
#     sql              nothing; superusers run it
#     sql owner        the table's owner or a superuser runs it, where others run the rest
#     sql warehouse    it is for a database without the extension
#     sql no-run       it has something to be filled in
sub run_document
{
	my ($document) = @_;
	my @blocks = blocks($document);
	return if !@blocks;

	my $database = basename_of($document);
	run_sql($node, "CREATE DATABASE $database");
	run_sql($node, "CREATE DATABASE ${database}_warehouse");
	run_sql($node, <<'END', $database);
CREATE TABLE customers (id int PRIMARY KEY, name text, mobile text);
INSERT INTO customers VALUES (1, 'a', '09123456789'), (2, 'b', '021 3300 3300'),
	(3, 'c', '+98 912 345 6789');
CREATE TABLE orders (id int PRIMARY KEY, mobile text, status text);
INSERT INTO orders VALUES (17, '09123456789', 'new'), (18, '021 3300 3300', NULL);
CREATE SCHEMA cron;
CREATE FUNCTION cron.schedule(name text, schedule text, command text) RETURNS void
	LANGUAGE plpgsql AS 'BEGIN EXECUTE command; END';
END
	create_account($node, $database, url => $gateway->url, line => '983000330000')
	  unless grep { $_->{kind} ne q(sql no-run) && $_->{sql} =~ /^CREATE EXTENSION sms3300/m } @blocks;

	my $failed = 0;
	for my $block (@blocks)
	{
		$failed++ unless run_block($document, $database, $block);
	}
	is($failed, 0, "$document: every block of SQL runs");
	return $database;
}

# Run one block; false if it fails, or prints what the document does not show.
sub run_block
{
	my ($document, $database, $block) = @_;
	my $sql = encode('UTF-8', statements($block));
	return 1 if $block->{kind} eq 'sql no-run';
	return fail("$document: known kind of block: $block->{kind}")
	  if $block->{kind} !~ /\Asql(?: owner| warehouse)?\z/;

	wait_for_end($node, $database) if defined $block->{output};
	$database .= '_warehouse' if $block->{kind} =~ /warehouse/;
	my ($code, $output, $error) = $node->psql($database,
		(defined $block->{output} ? "\\pset format aligned\n\\pset tuples_only off\n" : '') . $sql,
		on_error_stop => 1);
	diag("$document: $error\n$sql") if $code != 0;
	return 0 if $code != 0;
	is(without_numbers($output), without_numbers(encode('UTF-8', $block->{output})),
		"$document: what it prints") if defined $block->{output};
	return 1;
}

# Return the name of a document as one of a database.
sub basename_of
{
	my ($document) = @_;
	return lc($document) =~ s/\W+/_/gr;
}

# Return what a block of the runbook prints in a database: the one that has a text.
sub answer
{
	my ($database, $part) = @_;
	return run_sql($node, sql_block('doc/operations.md', $part), $database);
}

# Databases that doc/scaling.md has.
for my $database (qw(sms1 sms2))
{
	run_sql($node, "CREATE DATABASE $database");
	create_account($node, $database, url => $gateway->url, line => '983000330000');
	run_sql($node, 'GRANT USAGE ON FOREIGN SERVER sms3300 TO app', $database);
}
for my $document (grep { $_ ne 'README.md' } @documents)
{
	run_document($document);
	run_sql($node, 'ALTER SYSTEM RESET ALL; SELECT pg_reload_conf()');
}
my $database = run_document('README.md');

# The Persian README's campaign has one message for a number that two customers have, also
# when it runs again.
my $persian = basename_of('README.fa.md');
run_sql($node, $_->{sql}, $persian) for grep { $_->{sql} =~ /FROM customers/ } blocks('README.fa.md');
is(run_sql($node, 'SELECT mobile, count(*) FROM sms_outbox WHERE dedup_key IS NOT NULL GROUP BY 1', $persian),
	'989123456789|1', 'each number is in the campaign once');

# The README's trigger: an order tells its customer, once, whatever it was before; a bad
# number and none at all do not stop the order. Its function sends in its owner's name, with
# the account that it was given, whatever the caller may do and has set.
run_sql($node, <<'END', $database);
SELECT sms3300_cancel(id) FROM sms_outbox WHERE status = 'queued';
INSERT INTO orders VALUES (19, NULL, NULL), (20, '09350000000', NULL);
CREATE ROLE clerk;
GRANT SELECT, UPDATE ON orders TO clerk;
SET ROLE clerk;
SET sms3300.account = 'nonsense';
UPDATE orders SET status = 'shipped';
UPDATE orders SET status = 'new';
UPDATE orders SET status = 'shipped';
END
is(run_sql($node, 'SELECT metadata, mobile, sender FROM sms_outbox WHERE metadata IS NOT NULL ORDER BY id', $database),
	"{\"order\": 17}|989123456789|${\ run_sql($node, 'SELECT current_user')}\n"
	  . "{\"order\": 20}|989350000000|${\ run_sql($node, 'SELECT current_user')}",
	'the trigger tells those who have a number, once');
wait_for_end($node, $database);

# Why was message 123 not delivered?
run_sql($node, "ALTER SEQUENCE sms_outbox_id_seq RESTART 123;"
	  . " SELECT sms3300_send('09123456789', '#status 27 opted out')", $database);
wait_for_end($node, $database);
like(answer($database, 'sms3300_explain(123)'),
	qr/^rejected at .*: the gateway answered with status 27 \(recipient opted out\): opted out; leave it, or queue a new message/,
	'why it was not delivered');

# How many unknowns today, and what do I do?
is(answer($database, 'unknown_today'), '', 'none is unknown');
run_sql($node, "SELECT sms3300_send('09123456789', '#http 500') FROM generate_series(1, 2)",
	$database);
wait_for_end($node, $database);
like(answer($database, 'unknown_today'),
	qr/^2\|(\d+)\|989123456789\|.*sms3300_resend\(\1\).*\n2\|(\d+)\|.*sms3300_resend\(\2\)[^\n]*$/,
	'how many are unknown today, and what to do');

# Is the gateway slow?
run_sql($node, "SELECT sms3300_stat_reset(); SELECT sms3300_send('09123456789', '#delay 700')",
	$database);
wait_for_end($node, $database);
$node->poll_query_until($database, 'SELECT sum(requests) > 0 FROM sms3300_stat_account');
my @figures = split /\|/, answer($database, 'request_time_p50');
is($figures[1], 1, 'how many requests');
cmp_ok($figures[$_], '>=', 600, 'how slow the gateway is') for 2 .. 4;

# What is stuck, and is it sending?
run_sql($node, "ALTER SERVER sms3300 OPTIONS (ADD paused 'true');"
	  . " SELECT sms3300_send('09123456789', 'stuck');"
	  . " UPDATE sms_outbox SET send_after = now() - interval '1 hour' WHERE message = 'stuck'",
	$database);
like(answer($database, 'it_waits_for'),
	qr/^sms3300\|\d+\|[^|]+\|\d+\|queued: its account sms3300 is paused/, 'what is stuck, and why');
like(answer($database, 'AS behind'), qr/^sms3300\|paused\|[^|]+\|\|1\|01:0/,
	'whether it is sending');

# The reference has a row of a table for each: options, settings with their defaults,
# columns, and functions that are not only for views and triggers.
my $readme = read_document('README.md');
my $reference = read_document('doc/reference.md');
my $account = 'ALTER SERVER sms3300';
for my $kind ('ALTER SERVER sms3300', 'ALTER USER MAPPING FOR PUBLIC SERVER sms3300')
{
	my (undef, undef, $error) = $node->psql($database, "$kind OPTIONS (nonsense '')");
	my @options = split /, /, $error =~ /^HINT:.*: (.*)\.$/m ? $1 : '';
	cmp_ok(scalar @options, '>', $kind eq $account ? 15 : 2, "$kind: the options are known");
	is_deeply([ grep { $readme !~ /^\|[^|]*`\Q$_\E`/m } @options ], [], "$kind: the README has all");
}
for my $relation (qw(sms_outbox sms_opt_out sms_report sms3300_codes sms3300_stat_history sms3300_problems
	sms3300_stat_account sms3300_stat_mapping sms3300_stat_worker))
{
	my $columns = run_sql($node, "SELECT attname FROM pg_attribute WHERE attnum > 0"
		  . " AND attrelid = '$relation'::regclass", $database);
	my ($section) = $reference =~ /^##+ [^\n]*`$relation`\n(.*?)(?=^##|\z)/ms;
	is_deeply([ grep { $section !~ /^\|[^|]*`$_`/m } split /\n/, $columns ], [],
		"all columns of $relation are in the reference");
}
# What `\df sms*` shows is for people, and the reference has nothing else.
my %shown = map { $_ => 1 } split /\n/,
  run_sql($node, q{SELECT proname FROM pg_proc WHERE pg_function_is_visible(oid) AND proname LIKE 'sms%'}, $database);
my %documented = map { $_ => 1 } $reference =~ /^\| `(sms3300_\w+)\(/mg;
is_deeply(\%documented, \%shown, 'the reference has the functions that \df sms* shows, and no others');
my $settings = run_sql($node, "SELECT name, CASE unit WHEN 'ms' THEN boot_val::int / 1000 || 's' ELSE coalesce(nullif(boot_val, ''), 'none') END"
	  . " FROM pg_settings WHERE name LIKE 'sms3300.%'", $database);
for my $setting (split /\n/, $settings)
{
	my ($name, $default) = split /\|/, $setting;
	like($reference, qr/^\| `\Q$name\E` \| `?\Q$default\E`? \|/m, "$name is in the reference");
}

# The Persian README has what the README has: the defaults of options, functions, statuses,
# and the documents that it leads to.
my $in_persian = read_document('README.fa.md') =~ s/<[^>]*>|`//gr;
my @rows = map { [ split /\|/ ] } grep { /^\|.*\|.*\|/ } split /\n/, $in_persian;
my @options;
for my $row (map { [ split /\|/ ] } grep { /^\| `/ && tr/|// == 4 } split /\n/, $readme)
{
	my @names    = $row->[1] =~ /`(\w+)`/g;
	my @defaults = grep { defined } $row->[2] =~ /`([^`]*)`|(false|\d[^;,]*\b)/g;
	my $persian  = join ' ', map { $_->[2] } grep { my $cell = $_->[1]; grep { $cell =~ /\b$_\b/ } @names } @rows;
	is_deeply([ grep { index($persian, $_) < 0 } @defaults ], [], "README.fa.md: $names[0] and its default");
	push @options, @names;
}
cmp_ok(scalar @options, '>', 40, 'the options of the README are found');
my %leads = map { $_ => 1 } $in_persian =~ m{\]\(([^)]+)\)}g;
my @leads = map { s/recipes\.md.*/recipes.fa.md/r } grep { !/^#|\.svg$|README\.fa/ } $readme =~ m{\]\(([^)]+)\)}g;
is_deeply([ grep { my $lead = $_; !grep { index($_, $lead) == 0 } keys %leads } @leads ], [],
	'README.fa.md leads to the documents that the README leads to');
is_deeply([ grep { index($in_persian, $_) < 0 } $readme =~ /\b(sms(?:3300)?_\w+|sms3300\.\w+)/g ], [],
	'README.fa.md names the functions, tables and settings that the README names');

# What the documents quote of the log is what the library writes: what varies is … there.
my $source = join '', map { decode('UTF-8', slurp_file($_)) } glob("$root/src/*.c $root/src/*/*.c");
$source =~ s/"\s*INT64_FORMAT\s*"|%[a-z.*]*[a-z]/…/g;
$source =~ s/"\s*"//g;
$source =~ s/\\"/"/g;
for my $part ('README.md#Troubleshooting', 'README.fa.md#رفع اشکال', 'doc/operations.md#What the log says')
{
	my ($document, $heading) = split /#/, $part;
	my ($section) = read_document($document) =~ /^## \Q$heading\E\n(.*?)(?=^## |\z)/ms;
	my @quoted = grep { !/^(?:DROP|SELECT|ALTER|terminating background worker|kill)\b/ && / .* / }
	  map { s/^WARNING: |^… | …\z|: …\z//gr } grep { defined } map { /`([^`]+)`|<code[^>]*>([^<]+)</g }
	  map { /^\| ([^|]*) \|/ ? $1 : () } split /\n/, $section;
	cmp_ok(scalar @quoted, '>=', 3, "$document: the lines are found");
	is_deeply([ grep { index($source, $_) < 0 } @quoted ], [], "$document: the log's lines are quoted as they are");
}

#
# Two incidents, by the runbook's own statements
#

run_sql($node, 'CREATE DATABASE incident');
create_account($node, 'incident', url => $gateway->url, line => '983000330000', max_in_flight => 4);
my $on = 'ALTER SYSTEM RESET sms3300.enabled; SELECT pg_reload_conf()';

# A restart while requests are under way leaves no message unknown.
queue_until_taken($node, $gateway, '#hold', n => 4, database => 'incident');
queue($node, 'after the restart', n => 4, database => 'incident');
answer('incident', 'SET sms3300.enabled = off');
wait_until(sub { $gateway->release; answer('incident', 'sum(in_flight)') == 0 }, 'no request to be under way');
$node->restart;
is(count_rows($node, "status NOT IN ('queued', 'sent')", 'incident'), 0, 'a restart without any unknown message');
run_sql($node, $on);
wait_for_end($node, 'incident');
is(count_rows($node, "status = 'sent'", 'incident'), 8, 'after which everything is sent');

# What is queued in a physical backup, and was sent since, is not sent again.
$gateway->mode('#http 503');
my @ids = queue_until($node, 'queued', 'in the backup', n => 3, database => 'incident');
wait_until(sub { scalar $gateway->taken('in the backup') }, 'the gateway to refuse one');
$node->backup('backup');
$gateway->mode('');
wait_for_end($node, 'incident');
$node->stop;
my $sent = $gateway->taken('in the backup');

my $copy = PostgreSQL::Test::Cluster->new('copy');
$copy->init_from_backup($node, 'backup');
$copy->append_conf('postgresql.auto.conf', 'sms3300.enabled = off');
$copy->start;
my $restored = sql_block('doc/operations.md', 'due_at, send_before');
is(run_sql($copy, $restored, 'incident') =~ s/\|.*//gr, join("\n", @ids), 'what a backup would send');
my $cancel = sql_block('doc/operations.md', 'many(ARRAY[') =~ s/ARRAY\[.*?\]/ARRAY[${\ join ', ', @ids}]/r;
is(run_sql($copy, $cancel, 'incident'), 3, 'is cancelled');
run_sql($copy, $on);
mark($copy, database => 'incident');
is_taken($gateway, 'in the backup', $sent, 'and not sent again');

#
# The form of the documents
#

# Return the lines of a document outside of code blocks, with their numbers.
sub prose
{
	my ($document) = @_;
	my ($number, $code, @lines) = (0, 0);
	for my $line (split /\n/, read_document($document))
	{
		$number++;
		$code = !$code if $line =~ /^```/;
		push @lines, [ $number, $line ] unless $code || $line =~ /^```/;
	}
	return @lines;
}

# Return the names of a document's headings in links.
sub anchors
{
	my ($document) = @_;
	return { map { $_ => 1 } map { lc($_) =~ s/[^\w\s-]|\p{Join_Control}//gr =~ s/\s/-/gr }
		  map { $_->[1] =~ /^#+ (.*)/ ? $1 : () } prose($document) };
}

# Return the links of a document that lead nowhere.
sub broken_links
{
	my ($document) = @_;
	my $folder = dirname($document);
	my @broken;
	for my $link (map { $_->[1] =~ /\]\(([^)\s]+)\)|(?:src|href)="([^"]+)"/g } prose($document))
	{
		next if !defined $link || $link =~ /^https?:/;
		my ($path, $anchor) = split /#/, $link, 2;
		my $target = $path eq '' ? $document : "$folder/$path" =~ s{^\./}{}r;
		1 while $target =~ s{[^/]+/\.\./}{};
		push @broken, $link
		  if !-e "$root/$target" || defined $anchor && !anchors($target)->{$anchor};
	}
	return \@broken;
}

cmp_ok(scalar(() = $readme =~ /\n/g), '<=', 300, 'the README is short');
for my $document (@documents)
{
	my @lines = prose($document);
	my @wide = grep { length $_->[1] > 100 && $_->[1] !~ /^\||^    |^\[\d+\]: |^<img / } @lines;
	is_deeply([ map { $_->[0] } @wide ], [], "$document: no line is wider than 100 columns");
	my @long = grep { grep { (() = /\S+/g) > 15 } split /\|/, $_->[1] } grep { $_->[1] =~ /^\|/ } @lines;
	is_deeply([ map { $_->[0] } @long ], [], "$document: no cell has more than 15 words")
	  if $document !~ m{^src/};
	my @sql = grep { $_->[1] =~ /^    (?:SELECT|INSERT|UPDATE|DELETE|ALTER|CREATE|DROP|GRANT|CALL) .*;/ } @lines;
	is_deeply([ map { $_->[0] } @sql ], [], "$document: SQL is in blocks of SQL, which are run");
	is_deeply(broken_links($document), [], "$document: links lead somewhere");
}

$copy->stop;
done_testing();
