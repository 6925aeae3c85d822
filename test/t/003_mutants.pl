# The mutants that test/mutants makes: each is found in code and nowhere else, changes what it
# says, and has its place in an order that the seed alone decides; and what tests touch is known
# of every file. Needs no server.

use strict;
use warnings;

use lib 'test/mutants';
use Mutants qw(find_mutants order_mutants mutate);
use PostgreSQL::Test::Utils;
use Test::More;

# Return the mutants of a file, each as its line, kind and change.
sub changes
{
	my ($file, $text) = @_;
	return [ map { "$_->{line} $_->{kind}: $_->{from} => $_->{to}" } find_mutants($file, $text) ];
}

my $c = <<'END';
/* if (a < 1) b(true); */
#include <x.h>
#define LIMIT 12
static bool
f(int a)
{
	Assert(a > 0);
	if (a <= 0 && !g("1 < 2", 'x'))
		return false;
	free(a);
	return h(a - 7);
}
END
is_deeply(
	changes('src/f.c', $c),
	[
		'3 constant: 12 => 24',
		'8 guard: (a <= 0 && !g("1 < 2", \'x\')) => (false && (a <= 0 && !g("1 < 2", \'x\')))',
		'8 condition: <= => <',
		'8 constant: 0 => 1',
		'8 condition: && => ||',
		'8 condition: ! => ',
		'9 constant: false => true',
		'10 call: free(a); => ;',
		'11 constant: - => +',
		'11 constant: 7 => 8',
	],
	'mutants of C are in code only, and not in assertions');

my $sql = <<'END';
-- CHECK (a IS NULL)
CREATE TABLE t (a int NOT NULL DEFAULT 1, b text CHECK (b OPERATOR(pg_catalog.<>) '1 AND 2'));
COMMENT ON TABLE t IS 'true; false';
CREATE POLICY p ON t USING (a IS NOT NULL OR true);
CREATE FUNCTION f() LANGUAGE C STRICT ROWS 10 COST 100;
REVOKE ALL ON t
	FROM PUBLIC;
END
is_deeply(
	changes('sql/t.sql', $sql),
	[
		'2 guard:  NOT NULL => ',
		'2 constant: 1 => 0',
		q{2 guard: (b OPERATOR(pg_catalog.<>) '1 AND 2') => (true)},
		'2 condition: <> => =',
		'4 guard: (a IS NOT NULL OR true) => (true)',
		'4 condition: IS NOT NULL => IS NULL',
		'4 condition: OR => AND',
		'4 constant: true => false',
		'5 guard:  STRICT => ',
		"6 privilege: REVOKE ALL ON t\n\tFROM PUBLIC; => ",
	],
	'mutants of SQL, too');

# What a mutant is.
my ($guard, $less) = (find_mutants('src/f.c', $c))[ 1, 2 ];
like(mutate($c, $guard), qr/^\tif \(false && \(a <= 0 && !g\("1 < 2", 'x'\)\)\)$/m, 'a guard is taken out');
is(mutate($c, $less), $c =~ s/a <= 0/a < 0/r, 'nothing else is changed');
ok(!eval { mutate(" $c", $less); 1 }, 'a mutant of another text is refused');

# Return ids in the order of a seed.
sub ids
{
	my ($seed, $text) = @_;
	return [ map { $_->{id} } order_mutants($seed, find_mutants('src/f.c', $text)) ];
}

my $ids = ids(1, $c);
is_deeply(ids(1, $c), $ids, 'a seed gives the same order again');
isnt("@{ ids(2, $c) }", "@$ids", 'another one gives another');
is_deeply(ids(1, "\n\n$c"), $ids, 'lines above do not change it');
is_deeply([ sort @{ ids(2, $c) } ], [ sort @$ids ], 'and the mutants are the same');
my %times;
$times{$_}++ for @{ ids(1, $c . $c) };
is_deeply([ grep { $_ > 1 } values %times ], [], 'mutants that look the same have different names');

# The sources, and the tests of each.
my @sources = ('sql/sms3300.sql', glob('src/*.c src/*/*.c'));
my (@none, %used);
for my $file (@sources)
{
	my ($out, $error) = run_command([ $^X, 'test/mutants/mutants.pl', 'tests', 'test/mutants/tests', $file ]);
	push @none, $file unless $out;
	$used{$_} = 1 for split /\n/, $out;
}
is_deeply(\@none, [], 'each file has tests');
is_deeply([ grep { $_ ne 'regress' && !-e "test/t/$_.pl" } sort keys %used ], [], 'each of these tests is there');
my @starts = map { /^([a-z]\S*)/ } split /\n/, slurp_file('test/mutants/tests');
is_deeply([ grep { my $start = $_; !grep { /^\Q$start\E/ } @sources } @starts ], [], 'each line of the list is about a file');

# The command.
my $file = $sources[-1];
my ($listed) = run_command([ $^X, 'test/mutants/mutants.pl', 'list', '1', $file ]);
my ($id, $line) = $listed =~ /\A(\w+)\t\Q$file\E:(\d+)\t/;
my ($mutant) = run_command([ $^X, 'test/mutants/mutants.pl', 'apply', $id, $file ]);
my @before = split /\n/, slurp_file($file);
my @after = split /\n/, $mutant;
is((grep { $before[$_] ne $after[$_] } 0 .. $#before)[0], $line - 1, 'the file is changed where the list says');
command_fails([ $^X, 'test/mutants/mutants.pl', 'apply', 'none', $file ], 'a mutant that is not there is not applied');

done_testing();
