
# https. The certificate of the gateway is verified before a request is sent, and the
# server's environment cannot redirect a request.

use strict;
use warnings;

use File::Temp qw(tempdir);
use IPC::Run   qw(run);
use PostgreSQL::Test::Utils;
use SMS3300;
use Test::More;

my $folder = tempdir(CLEANUP => 1);
my $line   = '983000330000';

# Write a file, and return its name.
sub create
{
	my ($name, $content) = @_;
	append_to_file("$folder/$name", $content);
	return "$folder/$name";
}

# Run openssl in the folder; die with what it says if it fails.
sub openssl
{
	my (@arguments) = @_;
	my ($stdout, $stderr);
	run([ 'openssl', @arguments ], '<', \'', '>', \$stdout, '2>', \$stderr,
		init => sub { chdir $folder }) or die "openssl @arguments: $stderr";
	return;
}

# An authority, another that nobody trusts, and one that the system trusts; they sign with this.
create('openssl.cnf', <<'END');
[ca]
default_ca = test
[test]
database = index
new_certs_dir = .
rand_serial = yes
unique_subject = no
default_md = sha256
policy = any
copy_extensions = copy
[any]
commonName = supplied
[req]
distinguished_name = name
[name]
END
create('index', '');
for my $authority (qw(ca stranger system))
{
	openssl('req', '-x509', '-config', 'openssl.cnf', '-newkey', 'ec',
		'-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', "/CN=$authority",
		'-addext', 'basicConstraints=critical,CA:true', '-days', 2,
		'-keyout', "$authority.key", '-out', "$authority.pem");
}

# Make a certificate for a host, and return the gateway's options for it. %option: from
# and to are times, authority who signs it ('self': the certificate itself).
sub certificate
{
	my ($name, $host, %option) = @_;
	my $authority = $option{authority} // 'ca';
	my @request   = ('-config', 'openssl.cnf', '-newkey', 'ec', '-pkeyopt',
		'ec_paramgen_curve:P-256', '-nodes', '-subj', "/CN=$name",
		'-addext', "subjectAltName=$host", '-keyout', "$name.key");
	if ($authority eq 'self')
	{
		openssl('req', '-x509', @request, '-days', 2, '-out', "$name.pem");
	}
	else
	{
		openssl('req', '-new', @request, '-out', "$name.csr");
		openssl('ca', '-batch', '-notext', '-config', 'openssl.cnf', '-cert', "$authority.pem",
			'-keyfile', "$authority.key", '-startdate', $option{from} // '20200101000000Z',
			'-enddate', $option{to} // '20491231000000Z', '-in', "$name.csr", '-out', "$name.pem");
	}
	return ('tls-cert' => "$folder/$name.pem", 'tls-key' => "$folder/$name.key");
}

my $local    = 'IP:127.0.0.1';
my %good     = certificate('good', $local);
my $ca       = "$folder/ca.pem";
my $stranger = "$folder/stranger.pem";

# A configuration that lets OpenSSL speak what is no longer safe, so that what refuses
# it is the extension.
my $lax = create('lax.cnf', <<'END');
openssl_conf = all
[all]
ssl_conf = ssl
[ssl]
system_default = lax
[lax]
MinProtocol = TLSv1
CipherString = ALL:@SECLEVEL=0
END

# If namespaces are allowed, this authority replaces all others of the server's system.
mkdir "$folder/certs";
create('certs/ca-certificates.crt', slurp_file("$folder/system.pem"));
create('certs/system.pem', slurp_file("$folder/system.pem"));
openssl('rehash', 'certs');
mkdir "$folder/bin";
create('bin/pg_ctl', <<"END");
#!/bin/sh
PATH=$ENV{PATH}
exec unshare --map-current-user --keep-caps --mount sh -c 'mount --bind $folder/certs /etc/ssl/certs &&
	exec setpriv --inh-caps=-all --ambient-caps=-all "\$@"' sh pg_ctl "\$@"
END
chmod 0755, "$folder/bin/pg_ctl";
my $namespaces = run([ "$folder/bin/pg_ctl", '--version' ], '>', \my $version, '2>', \my $refused);

# Environment settings that would redirect a careless client.
my $elsewhere = new_gateway();
my $keys      = "$folder/keys";
create('.netrc', "default login user password secret\n");
chmod 0600, "$folder/.netrc";
my $node;
{
	my $proxy = $elsewhere->at('');
	local %ENV = (
		%ENV,
		HOME             => $folder,
		PATH             => ($namespaces ? "$folder/bin:" : '') . $ENV{PATH},
		OPENSSL_CONF     => $lax,
		SSL_CERT_FILE    => $ca,
		SSL_CERT_DIR     => $folder,
		CURL_CA_BUNDLE   => $ca,
		CURL_SSL_BACKEND => 'gnutls',
		SSLKEYLOGFILE    => $keys,
		NO_PROXY         => 'localhost',
		(map { $_ => $proxy } qw(http_proxy https_proxy HTTPS_PROXY ALL_PROXY all_proxy)));
	$node = new_node('main', conf => "max_connections = 50\n");
}


# What goes wrong: the error and its phase, the gateway, the account's options, and what
# mends it. An account trusts the authority if it does not say otherwise.
my @cases;
sub add
{
	my ($name, $error, $gateway, $mend, %option) = @_;
	my $url = $option{url} // $gateway->url;
	push @cases,
	  {
		name    => $name,
		phase   => $name =~ /^ca_file / ? 'resolve' : 'tls',
		error   => qr/^TLS failed: .*$error/,
		gateway => $gateway,
		mend    => $mend,
		option  => { line => $line, ca_file => $ca, connect_timeout => '1 min', %option, url => $url =~ s/^http:/https:/r }
	  };
	return;
}

# Set an option of a case's account.
sub set
{
	my ($name, $value) = @_;
	return sub {
		my ($case) = @_;
		my $how = exists $case->{option}{$name} ? 'SET' : 'ADD';
		run_sql($node,
			"ALTER SERVER \"$case->{name}\" OPTIONS ($how $name " . quote($value) . ')');
	};
}

# Give the gateway the right certificate.
my $certify = sub { $_[0]{gateway}->restart(%good) };

add('expired', qr/certificate has expired/,
	new_gateway(certificate('expired', $local, to => '20210101000000Z')), $certify);
add('of tomorrow', qr/certificate is not yet valid/,
	new_gateway(certificate('future', $local, from => '20480101000000Z')), $certify);
add('wrong host', qr/does not match|no alternative certificate subject name matches/,
	new_gateway(certificate('other', 'DNS:sms.example')), $certify);
add('self-signed', qr/self.signed certificate/,
	new_gateway(certificate('self', $local, authority => 'self')), $certify);
add('unknown issuer', qr/unable to get local issuer certificate/,
	new_gateway(certificate('foreign', $local, authority => 'stranger')), $certify);
add('no TLS', qr/does not speak TLS on this port/, new_gateway(), $certify);
{
	local $ENV{OPENSSL_CONF} = $lax;
	add('old protocol', qr/no TLS 1\.2 or newer/,
		new_gateway(%good, 'tls-version' => 'TLSv1_1'), $certify);
}

# Those that end before the gateway has shown a certificate.
my $good = new_gateway(%good);
for my $early ([ 'never-read', qr/time/ ], map { [ $_, qr/reset|closed|broken pipe|SSL_ERROR_SYSCALL|EOF/i ] }
	qw(close-on-accept reset-at-first-byte))
{
	my ($mode, $error) = @$early;
	my $gateway = new_gateway(early => $mode);
	add($mode, $error, $gateway, set(url => $good->url),
		url => $gateway->early_url, $mode eq 'never-read' ? (connect_timeout => scaled_timeout(0.5)) : ());
}

# The environment names the authority, and is not heard.
add('untrusted', qr/issuer certificate/, $good, set(ca_file => $ca));
delete $cases[-1]{option}{ca_file};

# Nor is the system's, where ca_file names another; without it, that is who is trusted.
add('narrowed', qr/issuer certificate/, new_gateway(certificate('narrowed', $local, authority => 'system')),
	sub { run_sql($node, 'ALTER SERVER "narrowed" OPTIONS (DROP ca_file)') }) if $namespaces;

# What ca_file may be wrongly. The same name is read again when there is something else.
my %content = (garbage => 'no certificate', empty => '', stranger => slurp_file($stranger));
for my $what (sort keys %content)
{
	add("ca_file $what", $what eq 'stranger' ? qr/issuer certificate/ : qr/holds no certificates/,
		$good, sub { unlink "$folder/$what"; create($what, slurp_file($ca)) },
		ca_file => create($what, $content{$what}));
}
$cases[-1]{phase} = 'tls';
add('ca_file missing', qr/No such file/, $good, sub { create('missing', slurp_file($ca)) },
	ca_file => "$folder/missing");
add('ca_file unreadable', qr/Permission denied/, $good, sub { chmod 0600, "$folder/unreadable" },
	ca_file => create('unreadable', slurp_file($ca)));
chmod 0, "$folder/unreadable";
add('ca_file folder', qr/not a regular file/, $good, set(ca_file => $ca), ca_file => $folder);
system("mkfifo $folder/pipe") == 0 or die 'mkfifo failed';
add('ca_file pipe', qr/not a regular file/, $good, set(ca_file => $ca), ca_file => "$folder/pipe");

run_sql($node, 'CREATE EXTENSION sms3300');
run_sql($node, join '', map { <<"END" } @cases);
CREATE SERVER "$_->{name}" FOREIGN DATA WRAPPER sms3300 ${\SMS3300::option_list($_->{option})};
CREATE USER MAPPING FOR PUBLIC SERVER "$_->{name}" OPTIONS (username 'user', password 'secret');
SELECT sms3300_send('09123456789', 'hello', account => '$_->{name}');
END
wait_for_sql($node, 'postgres', 'SELECT bool_and(events <> \'[]\') FROM sms_outbox');
my %row = map { $_->{account} => $_ } read_rows($node);
my $log = slurp_file($node->logfile);
for my $case (@cases)
{
	my $name  = $case->{name};
	my $error = $row{$name}{events}[0];
	like($error->{error}, $case->{error}, $name);
	is($error->{phase}, $case->{phase}, 'a TLS failure is before anything was sent');
	is($row{$name}{message_id}, undef, 'a TLS failure has no message_id');
	is(() = $log =~ /account "\Q$name\E" stopped: \Q$error->{error}/g, 1, 'a TLS failure stops the account');
}
is_deeply([ map { scalar(() = $_->{gateway}->log) } @cases ], [ map { 0 } @cases ],
	'nothing reached a gateway');
is(run_sql($node, 'SELECT DISTINCT attempts FROM sms_outbox WHERE status = \'queued\''), 0,
	'no attempt counts');

# All continue by themselves once it is fixed.
$_->{mend}($_) for @cases;
wait_for_end($node);
is(run_sql($node, 'SELECT DISTINCT status, attempts FROM sms_outbox'), 'sent|1', 'all is sent');
is(scalar(@{ [ map { $_->log } $good, grep { $_ != $good } map { $_->{gateway} } @cases ] }),
	scalar(@cases), 'each once');

# send_now says the same.
run_sql($node, 'DROP SERVER "expired" CASCADE; DROP SERVER "of tomorrow" CASCADE');
create_account($node, 'postgres', url => $good->url, line => $line, ca_file => $stranger);
my ($status, $stdout, $stderr) =
  $node->psql('postgres', 'SELECT sms3300_send_now(\'09123456789\', \'hello\')');
like($stderr, qr/did not answer: TLS failed: .*issuer certificate.*\n.*was not sent/, 'send_now');
run_sql($node, 'ALTER SERVER sms3300 OPTIONS (SET ca_file ' . quote($ca) . ')');
like(run_sql($node, 'SELECT sms3300_send_now(\'09123456789\', \'hello\')'), qr/success/,
	'... and goes on, too');

# No redirect is followed, from https to http neither, and a cookie is not sent back.
$good->mode('#redirect ' . $elsewhere->url, 1);
run_sql($node, 'SELECT sms3300_send(\'09123456789\', \'redirected\')');
wait_for_sql($node, 'postgres',
	'SELECT http_status FROM sms_outbox WHERE message = \'redirected\'', 302);
run_sql($node, 'ALTER SERVER sms3300 OPTIONS (ADD validity \'1 h\')');
wait_for_end($node);
for (1 .. 3)
{
	# One after the other, so that each could bring what the last one was offered.
	run_sql($node, 'SELECT sms3300_send(\'09123456789\', \'#cookie\')');
	wait_for_end($node);
}
my @requests = $good->log;
is(scalar(grep { ($_->{directive} // '') eq '#cookie' } @requests), 3, 'cookies were offered');
is_deeply([ grep { /^(cookie|authorization|proxy.*)$/i } map { keys %{ $_->{headers} } } @requests ],
	[], 'no cookie, and nothing of .netrc');

# A changed ca_file is read again, even if libcurl has just used it.
my $turned = create('turned', slurp_file($ca));
run_sql($node, 'ALTER SERVER sms3300 OPTIONS (SET ca_file ' . quote($turned) . ')');
run_sql($node, 'SELECT sms3300_send(\'09123456789\', \'before\')');
wait_for_end($node);
unlink $turned;
create('turned', slurp_file($stranger));
$good->restart(%good);
run_sql($node, 'SELECT sms3300_send(\'09123456789\', \'turned\')');
wait_for_sql($node, 'postgres', 'SELECT events <> \'[]\' OR status = \'sent\' FROM sms_outbox WHERE message = \'turned\'');
is(run_sql($node, 'SELECT events->0->>\'phase\', message_id FROM sms_outbox WHERE message = \'turned\''), 'tls|',
	'a ca_file that was changed');
run_sql($node, 'ALTER SERVER sms3300 OPTIONS (SET ca_file ' . quote($ca) . ')');
wait_for_end($node);

# Plain http knows no proxy either.
my $plain = new_gateway();
run_sql($node, 'ALTER SERVER sms3300 OPTIONS (SET url ' . quote($plain->url) . ')');
run_sql($node, 'SELECT sms3300_send(\'09123456789\', \'plain\')');
run_sql($node, 'SELECT sms3300_send_now(\'09123456789\', \'plain\')');
wait_for_end($node);
is(scalar(() = $plain->log),     2, 'plain http went to the gateway');
is(scalar(() = $elsewhere->log), 0, 'nothing was led elsewhere');
ok(!-e $keys, 'no key of a connection was written');

$node->stop;
done_testing();
