# META.json follows the rules of PGXN's validator (pgxn.org/spec, PGXN::Meta::Validator), and
# what the packages say of the extension agrees. Needs no server.

use strict;
use warnings;

use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;

my $semver  = qr/\A(?:0|[1-9]\d*)(?:\.(?:0|[1-9]\d*)){2}(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?\z/;
my $term    = qr{\A[^\s/\\\p{Cc}]{2,255}\z};
my %licence = map { $_ => 1 } qw(agpl_3 apache_1_1 apache_2_0 artistic_1 artistic_2 bsd freebsd
  gfdl_1_2 gfdl_1_3 gpl_1 gpl_2 gpl_3 lgpl_2_1 lgpl_3_0 mit mozilla_1_0 mozilla_1_1 openssl perl_5
  postgresql qpl_1_0 ssleay sun zlib open_source restricted unrestricted unknown);
my %known = map { $_ => 1 } qw(abstract maintainer license provides name version meta-spec description
  generated_by tags no_index prereqs release_status resources);

# Return what the rules forbid in the metadata of a distribution.
sub mistakes
{
	my ($meta) = @_;
	my @mistakes = map { "$_ is missing" }
	  grep { !defined $meta->{$_} } qw(abstract maintainer license provides name version meta-spec);
	push @mistakes, "$_ is unknown" for grep { !$known{$_} && !/^x_/i } keys %$meta;
	push @mistakes, 'name'    if ($meta->{name}    // '') !~ $term;
	push @mistakes, 'version' if ($meta->{version} // '') !~ $semver;
	push @mistakes, 'license' if ref $meta->{license} || !$licence{ $meta->{license} // '' };
	push @mistakes, 'meta-spec' if ($meta->{'meta-spec'}{version} // '') !~ /\A1\.0\.\d+\z/;
	push @mistakes, 'tags' if grep { !length || length > 255 || m{[/\\\p{Cc}]} } @{ $meta->{tags} // [] };
	push @mistakes, 'release_status'
	  if ($meta->{release_status} // 'stable') !~ /\A(?:stable|testing|unstable)\z/;
	push @mistakes, 'maintainer' if grep { !length } map { ref ? @$_ : $_ } $meta->{maintainer} // '';
	my $provides = $meta->{provides} // {};
	push @mistakes, 'provides' if !%$provides;
	for my $name (keys %$provides)
	{
		my $extension = $provides->{$name};
		push @mistakes, "provides $name"
		  if $name !~ $term || !length($extension->{file} // '') || ($extension->{version} // '') !~ $semver;
		push @mistakes, "provides $name: $_ is unknown"
		  for grep { !/\A(?:file|version|abstract|docfile|x_.*)\z/i } keys %$extension;
	}
	for my $phase (keys %{ $meta->{prereqs} // {} })
	{
		push @mistakes, "phase $phase" if $phase !~ /\A(?:configure|build|test|runtime|develop)\z/;
		for my $relation (keys %{ $meta->{prereqs}{$phase} })
		{
			push @mistakes, "relation $relation"
			  if $relation !~ /\A(?:requires|recommends|suggests|conflicts)\z/;
			push @mistakes, "prerequisite of $phase" if grep {
				!/\A(?:0|(?:[<>]=?|[!=]=)?\s*\d+\.\d+\.\d+\S*(?:\s*,\s*(?:[<>]=?|[!=]=)\s*\d+\.\d+\.\d+\S*)*)\z/
			} values %{ $meta->{prereqs}{$phase}{$relation} };
		}
	}
	return [ sort @mistakes ];
}

my $meta = decode_json(slurp_file('META.json'));
is_deeply(mistakes($meta), [], 'META.json follows the rules');

# The rules find mistakes.
my %broken = (
	'no license'      => sub { delete $_[0]{license} },
	'two numbers'     => sub { $_[0]{version} = '1.2' },
	'a leading zero'  => sub { $_[0]{version} = '1.02.0' },
	'an unknown key'  => sub { $_[0]{homepage} = 'x' },
	'a slash in name' => sub { $_[0]{name} = 'sms/3300' },
	'no file'         => sub { delete $_[0]{provides}{sms3300}{file} },
	'an odd phase'    => sub { $_[0]{prereqs}{install} = {} },
	'a bad range'     => sub { $_[0]{prereqs}{runtime}{requires}{PostgreSQL} = '14' },
);
for my $name (sort keys %broken)
{
	my $copy = decode_json(slurp_file('META.json'));
	$broken{$name}->($copy);
	isnt(scalar @{ mistakes($copy) }, 0, "found: $name");
}

# What the packages say.
my ($version) = slurp_file('sms3300.control') =~ /^default_version = '(.*)'/m;
my $spec = slurp_file('packaging/rpm/sms3300.spec');
like($spec, qr/^Version:\s+\Q$version\E$/m, 'the RPM has the version');
my ($newest) = $spec =~ /^%changelog\n.* - (\S+)$/m;
is($newest, "$version-1PGDG", 'and so has its newest change');
my ($description) = slurp_file('debian/control.in') =~ /^Description: send.*\n((?: .*\n)+)/m;
my ($described) = $spec =~ /^%description\n(.*?)\n\n[%#]/ms;
is(join(' ', grep { $_ ne '.' } split ' ', $description), join(' ', split ' ', $described),
	'Debian and RPM packages are described alike');
like(slurp_file('doc/sms3300-gateway.1'), qr/^\.TH .*"sms3300 \Q$version\E"/, 'the page of the manual has the version');

# The links of the documents that Debian's package has, laid out as debian/rules does.
my $documents = PostgreSQL::Test::Utils::tempdir();
system_or_bail('sh', '-ec', "mkdir $documents/test; cp -r *.md LICENSE doc $documents; cp -r test/clients $documents/test");
unlink "$documents/CONTRIBUTING.md";
command_ok([ $^X, 'debian/tests/links', $documents ], 'the links of the packaged documents lead somewhere');
unlink "$documents/doc/install.md";
command_fails([ $^X, 'debian/tests/links', $documents ], 'a link that leads nowhere is found');

# The file for pgxman: what its format requires, and its steps, which install into DESTDIR.
my $yaml = slurp_file('packaging/extension.yaml');
like($yaml, qr/^\Q$_\E/m, "extension.yaml: $_")
  for 'apiVersion: v1', 'name: sms3300', "version: \"$version.0\"", 'source: https://', 'maintainers:';
like($yaml, qr/^description: \Q$meta->{abstract}\E$/m, 'extension.yaml: described as in META.json');
like($yaml, qr/^keywords: \[\Q${\ join ', ', @{ $meta->{tags} } }\E\]$/m, 'and with its tags');
my ($steps) = $yaml =~ /^build:\n  main:\n    - name: .*\n      run: \|\n((?:        .*\n)+)/m;
$ENV{DESTDIR} = PostgreSQL::Test::Utils::tempdir();
command_ok([ 'sh', '-ec', $steps ], 'its steps run');
is(scalar(() = glob("$ENV{DESTDIR}/usr/share/*/*/extension/sms3300.control $ENV{DESTDIR}/usr/lib/*/*/lib/sms3300.so")),
	2, 'and leave what they built in DESTDIR') if -d '/usr/lib/postgresql';

done_testing();
