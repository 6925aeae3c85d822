# Mutants of C and SQL: each is the source with one place changed, so that a test should fail.
#
#     find_mutants($file, $text)      all of a file, in the order of their places; which
#                                     language it is, the name tells
#     order_mutants($seed, @mutants)  in an order that depends on the seed and on what the
#                                     mutants are, not on where in the file they are
#     mutate($text, $mutant)          the text with the change
#
# A mutant is a hash: id, file, line, kind (condition, constant, guard, call, privilege), from
# and to, and where in the text it is. Comments, strings, assertions, COMMENT ON and what only
# the planner guesses by are left alone.

package Mutants;

use strict;
use warnings;

use Digest::MD5 qw(md5_hex);
use Encode      qw(encode);
use Exporter    qw(import);

our @EXPORT_OK = qw(find_mutants order_mutants mutate);

# Something in brackets, which may have others in it.
my $brackets = qr/(?<brackets>\((?:[^()]++|(?&brackets))*+\))/;

# What a comparison or a connection of conditions becomes. The edges of what is allowed are
# what tests forget.
my %opposite = (
	'<'  => '<=', '<=' => '<',  '>'   => '>=', '>='  => '>',
	'==' => '!=', '!=' => '==', '='   => '<>', '<>'  => '=',
	'&&' => '||', '||' => '&&', 'AND' => 'OR', 'OR'  => 'AND',
	'+'  => '-',  '-'  => '+',  'IS NULL' => 'IS NOT NULL', 'IS NOT NULL' => 'IS NULL',
	'true' => 'false', 'false' => 'true');

# Each kind of change: the language, the kind, what it is found by, in which <it> is what
# changes, and what that becomes.
my @changes = (
	[ 'c', 'condition', qr/(?<=\s)(?<it>==|!=|<=|>=|<|>|&&|\|\|)(?=\s)/, sub { $opposite{ $_[0] } } ],
	[ 'c', 'condition', qr/(?<=[\s(])(?<it>!)(?=[\w(])/, sub { '' } ],
	[ 'c', 'constant', qr/(?<![\w.])(?<it>\d+)(?![\w.])/, \&other_number ],
	[ 'c', 'constant', qr/\b(?<it>true|false)\b/, sub { $opposite{ $_[0] } } ],
	[ 'c', 'constant', qr/(?<=\w )(?<it>[+-])(?= [\w(])/, sub { $opposite{ $_[0] } } ],
	[ 'c', 'guard', qr/\bif (?<it>$brackets)/, sub { "(false && $_[0])" } ],
	[ 'c', 'call', qr/(?<=[;{})])\s*\n\t+(?<it>(?!Assert|if|for|while|switch|return)\w+ ?$brackets;)/, sub { ';' } ],
	[ 'sql', 'condition', qr/OPERATOR\(pg_catalog\.(?<it><>|<=|>=|<|>|=)\)/, sub { $opposite{ $_[0] } } ],
	[ 'sql', 'condition', qr/\b(?<it>AND|OR|IS NULL|IS NOT NULL)\b/, sub { $opposite{ $_[0] } } ],
	[ 'sql', 'constant', qr/(?<!ROWS )(?<!COST )(?<![\w.])(?<it>\d+)(?![\w.])/, \&other_number ],
	[ 'sql', 'constant', qr/\b(?<it>true|false)\b/, sub { $opposite{ $_[0] } } ],
	[ 'sql', 'guard', qr/\b(?:USING|CHECK) (?<it>$brackets)/, sub { '(true)' } ],
	[ 'sql', 'guard', qr/(?<!IS)(?<it> (?:NOT NULL|STRICT|UNIQUE)\b)/, sub { '' } ],
	[ 'sql', 'privilege', qr/^(?<it>(?:REVOKE|GRANT|ALTER TABLE)\b[^;]*;)/m, sub { '' } ]);

# Return all mutants of a file.
sub find_mutants
{
	my ($file, $text) = @_;
	my $language = $file =~ /\.sql$/ ? 'sql' : 'c';
	my $code = $language eq 'sql' ? mask_sql($text) : mask_c($text);
	my @mutants;
	for my $change (grep { $_->[0] eq $language } @changes)
	{
		my (undef, $kind, $pattern, $become) = @$change;
		pos($code) = 0;
		while ($code =~ /$pattern/g)
		{
			my ($at, $length) = ($-[1], length $+{it});

			# What is around it may be looked at for the next one.
			pos($code) = $at + ($kind eq 'guard' ? 1 : $length);
			my $from = substr $text, $at, $length;
			push @mutants, new_mutant($file, $text, $kind, $at, $from, $become->($from));
		}
	}
	@mutants = sort { $a->{at} <=> $b->{at} || $a->{kind} cmp $b->{kind} } @mutants;
	return name_mutants(@mutants);
}

# Return a mutant without a name.
sub new_mutant
{
	my ($file, $text, $kind, $at, $from, $to) = @_;
	my $before = substr $text, 0, $at;
	my ($start) = $before =~ /([^\n]*)\z/;
	my ($end) = substr($text, $at + length $from) =~ /\A([^\n]*)/;
	return {
		file => $file, kind => $kind, at => $at, from => $from, to => $to,
		line => 1 + $before =~ tr/\n//, column => length $start, context => $start . $from . $end };
}

# Give each mutant an id, by what it is; those that look the same are counted.
sub name_mutants
{
	my (@mutants) = @_;
	my %seen;
	for my $mutant (@mutants)
	{
		my $what = join "\0", @{$mutant}{qw(file kind column context to)};
		$mutant->{id} = substr md5_hex(encode('UTF-8', $what . "\0" . $seen{$what}++)), 0, 10;
	}
	return @mutants;
}

# Return mutants in the order in which they are tried.
sub order_mutants
{
	my ($seed, @mutants) = @_;
	my %key = map { $_->{id} => md5_hex("$seed $_->{id}") } @mutants;
	return sort { $key{ $a->{id} } cmp $key{ $b->{id} } } @mutants;
}

# Return a text with the change of a mutant.
sub mutate
{
	my ($text, $mutant) = @_;
	my ($at, $from) = @{$mutant}{qw(at from)};
	die "$mutant->{file} has changed\n" if substr($text, $at, length $from) ne $from;
	substr $text, $at, length $from, $mutant->{to};
	return $text;
}

# Return another number: the next one of a small one, and twice a large one, of which one more
# is often as good.
sub other_number
{
	my ($number) = @_;
	return $number == 1 ? 0 : $number < 10 ? $number + 1 : 2 * $number;
}

# Return C in which nothing but code is left, at its place.
sub mask_c
{
	my ($text) = @_;
	$text =~ s{(/\*.*?\*/|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')}{blank($1)}gse;
	$text =~ s{^(#(?!define\s+\w+\s)(?:[^\n]*\\\n)*[^\n]*)}{blank($1)}gme;
	$text =~ s{(\b(?:Static)?Assert\w* ?$brackets)}{blank($1)}ge;
	return $text;
}

# The same for SQL. The bodies of functions are code.
sub mask_sql
{
	my ($text) = @_;
	$text =~ s{(--[^\n]*|'(?:[^']|'')*')}{blank($1)}ge;
	$text =~ s{^(COMMENT ON[^;]*;|\\[^\n]*)}{blank($1)}gme;
	return $text;
}

# Return a text of the same form in which nothing can be found.
sub blank
{
	my ($text) = @_;
	return $text =~ s/[^\n]/"/gr;
}

1;
