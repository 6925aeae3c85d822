# Installed files, and the metadata of the packages. Needs no server.

use strict;
use warnings;

use File::Find;
use IPC::Run qw(run);
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;

# Return the files under a folder, each with its mode.
sub files
{
	my ($folder) = @_;
	my @files;
	find(
		sub {
			push @files, sprintf '%s %o', $File::Find::name =~ s/^\Q$folder//r, (stat)[2] & 0777
				if !-d;
		},
		$folder);
	return [ sort @files ];
}

# Return where pg_config says that a folder is.
sub folder_of
{
	my ($kind) = @_;
	run [ 'pg_config', "--$kind" ], '>', \my $folder or die "pg_config failed";
	chomp $folder;
	return $folder;
}

my $destination = PostgreSQL::Test::Utils::tempdir();
my @make = ('make', '-s', 'with_llvm=no', "DESTDIR=$destination");
my $library = folder_of('pkglibdir');
my $extension = folder_of('sharedir') . '/extension';
my ($version) = slurp_file('sms3300.control') =~ /^default_version = '(.*)'/m;
my $built = "sql/sms3300--$version.sql";

command_ok([ @make, 'install' ], 'make install with DESTDIR');
is(slurp_file($built), slurp_file('sql/sms3300.sql'), 'the install script is built from sql/sms3300.sql');
my @scripts = map { s{.*/}{}r } glob('sql/sms3300--*.sql');
is_deeply(
	files($destination),
	[
		sort "$library/sms3300.so 755",
		map { "$extension/$_ 644" } 'sms3300.control', @scripts
	],
	'the library, the control file and the scripts are where they belong, and nothing else');
command_ok([ @make, 'uninstall' ], 'make uninstall');
is_deeply(files($destination), [], 'nothing is left');
command_like([ @make, '-n', 'clean' ], qr/^rm -f .*\Q$built\E/m, 'make clean removes what was built');
like(slurp_file('.gitignore'), qr{^/\Q$built\E$}m, 'and git ignores it');

my $meta = decode_json(slurp_file('META.json'));
is($meta->{version}, "$version.0", 'META.json tells the version');
is($meta->{provides}{sms3300}{version}, "$version.0", 'META.json has the version of the extension');
ok(-e $meta->{provides}{sms3300}{$_}, "$_ is there") for qw(file docfile);
like(slurp_file('debian/changelog'), qr/^sms3300 \(\Q$version\E\) /, 'debian/changelog has the version');
like(slurp_file('CHANGELOG.md'), qr/^# Changes\n\n## \Q$version\E /, 'CHANGELOG.md has the version');
like(slurp_file('README.md'), qr/^This is version \Q$version\E\./m, 'and README.md');
is_deeply(
	[ grep { $_ ne $version } map { slurp_file($_) =~ /sms3300[-_](\d+\.\d+)(?=[._])/g } glob('*.md doc/*.md') ],
	[], 'no document names a package of another version');

done_testing();
