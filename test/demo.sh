#!/bin/sh

# Show the extension at work on this machine alone: a private server and a stand-in
# for the gateway, the guide's five scenarios, sent for real over HTTP, and one failure.
# It installs what is missing from apt and the extension into the server's folders, and
# leaves nothing running.
#
#     sh test/demo.sh

set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/test/lib.sh"

# Put psql's prompts before the lines of a role's SQL: they tell what goes on in the next
# line, a statement (-), a parenthesis, or a string in ' or $.
type_as()
{
	perl -ne '
		BEGIN { $role = shift; $end = $role eq "postgres" ? "#" : ">" }
		my $within = defined $quote ? substr($quote, 0, 1) : $depth ? "(" : $begun ? "-" : "=";
		print "$role$within$end $_";
		for my $token (/\$\w*\$|\S/g) {
			if (defined $quote) { undef $quote if $token eq $quote }
			elsif ($token =~ /^(?:\$.*\$|\x27)$/) { $quote = $token; $begun = 1 }
			elsif ($token eq ";" && !$depth) { $begun = 0 }
			else { $begun = 1; $depth += ($token eq "(") - ($token eq ")") }
		}' "$1"
}

# Type SQL for the reader, and run it as a role.
sql()
{
	say
	printf '%s\n' "$2" | type_as "$1"
	printf '%s\n' "$2" | psql -X -q -v ON_ERROR_STOP=1 -P pager=off -P null='' -U "$1"
}

# Print how many messages there are of which a condition is true.
count()
{
	psql -X -A -t -c "SELECT count(*) FROM sms_outbox WHERE $1"
}

# Print a value from the database.
value()
{
	psql -X -A -t -c "$1"
}

# Say whether the account has stopped.
stopped()
{
	[ "$(value 'SELECT state FROM sms3300_stat_account')" = stopped ]
}

# Say whether all messages have come to an end.
all_finished()
{
	[ "$(count "status IN ('queued', 'sending')")" = 0 ]
}

need_server
install_missing
make_work
PGCLIENTENCODING=UTF8
export PGCLIENTENCODING

say "building and installing the extension for $("$PG_CONFIG" --version)"
compile
install_extension

say 'starting a private server, with shared_preload_libraries = sms3300, and the test gateway'
start_gateway --log "$work/gateway.log"
start_server

say
say 'The administrator sets up an account, and lets one role send with it:'
sql postgres "CREATE EXTENSION sms3300;
CREATE SERVER sms3300 FOREIGN DATA WRAPPER sms3300
    OPTIONS (url 'http://127.0.0.1:$gateway_port/api/wsSend.ashx', line '983000330000');
CREATE USER MAPPING FOR PUBLIC SERVER sms3300
    OPTIONS (username 'demo', password 'secret');
CREATE ROLE app LOGIN;
GRANT USAGE ON FOREIGN SERVER sms3300 TO app;
CREATE SCHEMA AUTHORIZATION app;"

say
say '1. A single message, on the line of the account:'
sql app "SELECT sms3300_send('۰۹۱۲ ۳۴۵ ۶۷۸۹', 'سلام! کد ورود شما: ۱۲۳۴');"

say
say "2. Through the company's service line:"
sql app "SELECT sms3300_send('09123456789', 'Your order has left.', type => 2);"

say
say '3. Another line as the backup, for several recipients, by a plain INSERT:'
sql app "INSERT INTO sms_outbox (mobile, message, line, line2)
SELECT mobile, 'Service is back.', '983000330000', '983000330001'
FROM (VALUES ('+98 912 345 6789'), ('0935-123-4567')) AS t (mobile);"

say
say '4. Chelcheleh as the backup; the gateway finds that the recipient has opted out of'
say '   the first line, so the row will show the line that carried it:'
sql app "SELECT sms3300_send('09123456789', '#fallback', type => 1);"

say
say '5. The service line as the backup, with a template, by a trigger on a table of orders:'
sql app "CREATE TABLE orders (id int PRIMARY KEY, mobile text, status text);
CREATE FUNCTION tell_customer() RETURNS trigger LANGUAGE plpgsql AS \$\$
BEGIN
    PERFORM sms3300_send(new.mobile, format('Order %s is %s.', new.id, new.status),
                         line => '983000330002', type => 2, template => 0);
    RETURN new;
END \$\$;
CREATE TRIGGER tell_customer AFTER UPDATE ON orders
    FOR EACH ROW EXECUTE FUNCTION tell_customer();
INSERT INTO orders VALUES (17, '09123456789', 'new');
UPDATE orders SET status = 'on its way' WHERE id = 17;"

wait_until 60 all_finished || say 'some messages are not finished'

say
say "The columns filled from the gateway's reply:"
sql postgres "SELECT id, sender, line, line2, type, template AS tpl, status,
       http_status AS http, api_status AS api, message_id, sent_line
FROM sms_outbox ORDER BY id;"

say
say 'The requests that the gateway received:'
perl -CO -MJSON::PP -ne '
	my $request = decode_json($_);
	$request->{fields}{password} = "********";
	print join("  ", map { "$_=$request->{fields}{$_}" } @{ $request->{names} }), "\n";
' "$work/gateway.log"

say
say 'The report for people:'
sql postgres 'SELECT * FROM sms_report ORDER BY id;'

sent=$(count "status = 'sent'")
[ "$sent" = 6 ] || die "$sent of 6 messages were sent"

say
say 'All 6 messages were sent. Now the gateway stops, and a message is queued:'
kill "$(cat "$work/gateway.pid")"
wait_until 30 test ! -e "$work/gateway.pid"
sql app "SELECT sms3300_send('09123456789', 'Is anybody there?');"
wait_until 60 stopped || die 'the account did not stop'

say
say 'Where is it?'
sql app 'SELECT sms3300_explain(max(id)) FROM sms_outbox;'

say
say 'The gateway starts again. The message goes by itself:'
start_gateway --log "$work/gateway.log" --port "$gateway_port"
wait_until 120 all_finished || die 'the message was not sent'
sql app 'SELECT status, attempts, sms3300_explain(id) FROM sms_outbox ORDER BY id DESC LIMIT 1;'
[ "$(count "status = 'sent'")" = 7 ] || die 'the last message was not sent'

say
say 'All 7 messages were sent. What to do next:'
say
say '  perl test/gateway.pl --port 8080   the stand-in for your own experiments: its page,'
say '                                     http://127.0.0.1:8080/, shows what you send'
say '  doc/install.md                     the ways to install the extension'
say '  README.md, "First message"         an account at the real gateway'
