# The check that scripts of released versions stay as they are, on a copy of the tree. No
# server is needed.

use strict;
use warnings;

use File::Copy qw(copy);
use PostgreSQL::Test::Utils;
use Test::More;

my $tree = PostgreSQL::Test::Utils::tempdir();
mkdir "$tree/$_" or die "could not make $tree/$_: $!" for qw(sql test);
copy('test/released.sh', "$tree/test/released.sh") or die "could not copy: $!";
my @check = ('sh', "$tree/test/released.sh");

# Write a file of the tree.
sub write_file
{
	my ($name, $text) = @_;
	open my $file, '>', "$tree/$name" or die "could not write $name: $!";
	print $file $text;
	close $file or die "could not write $name: $!";
	return;
}

# Write the list of changes; each version has something in parentheses.
sub write_changes
{
	my (@versions) = @_;
	return write_file('CHANGELOG.md', join "\n", '# Changes', map { "\n## $_\n\n* Something." } @versions);
}

# Expect the check to pass.
sub passes
{
	my ($name) = @_;
	return command_ok([@check], $name);
}

# Expect the check to fail, and to name what it is about.
sub fails
{
	my ($about, $name) = @_;
	return command_checks_all([@check], 1, [qr/\Q$about\E/], [], $name);
}

my $install = 'sql/sms3300--1.2.sql';
my $update  = 'sql/sms3300--1.1--1.2.sql';
my $early   = 'sql/sms3300--1.0--1.1.sql';
write_file($_, "-- $_\n") for $install, $update, $early;

write_changes('1.2 (unreleased)', '1.1 (unreleased)');
passes('nothing is released');
command_ok([ @check, '--freeze' ], 'nothing to freeze');
write_file($update, "-- changed\n");
passes('nothing is released: a script changes');

write_changes('1.2 (2026-12-01)', '1.1 (unreleased)');
fails("$install is released, and has no checksum", 'released: the install script has no checksum');
fails("$update is released, and has no checksum",  'released: nor has the update');
command_ok([ @check, '--freeze' ], 'freeze');
is_deeply(
	[ sort map { s/.*  //r } split /\n/, slurp_file("$tree/sql/released.sha256") ],
	[ $update, $install ],
	'freeze: the scripts of the version');
passes('frozen');
command_ok([ @check, '--freeze' ], 'freeze again');
is(scalar(() = slurp_file("$tree/sql/released.sha256") =~ /\n/g), 2, 'freeze again: nothing is added');

for my $script ($install, $update)
{
	my $text = slurp_file("$tree/$script");
	write_file($script, "$text\n");
	fails("$script: FAILED", "frozen: $script changes");
	isnt(system(@check, '--freeze'), 0, 'frozen: and is not frozen again');
	fails("$script: FAILED", 'frozen: so that it still fails');
	unlink "$tree/$script" or die "could not remove $script: $!";
	fails("$script: FAILED open or read", "frozen: $script is missing");
	write_file($script, $text);
}
write_file($early, "-- changed\n");
passes('frozen: a script of another version changes');
write_file('sql/sms3300--1.0--1.2.sql', "-- new\n");
fails('sql/sms3300--1.0--1.2.sql is released, and has no checksum', 'frozen: another update to the version');
unlink "$tree/sql/sms3300--1.0--1.2.sql" or die "could not remove: $!";

my $next = 'sql/sms3300--1.2--1.3.sql';
write_changes('1.3 (unreleased)', '1.2 (2026-12-01)', '1.1 (unreleased)');
write_file($next, "-- $next\n");
passes('the next version begins');
write_changes('1.3', '1.2 (2026-12-01)', '1.1 (unreleased)');
fails("$next is released, and has no checksum", 'what is not called unreleased is released');
write_file('sql/sms3300--1.3.sql', "-- 1.3\n");
command_ok([ @check, '--freeze' ], 'freeze: the next version');
passes('frozen: both versions');
is(scalar(() = slurp_file("$tree/sql/released.sha256") =~ /\n/g), 4, 'frozen: all four scripts');

done_testing();
