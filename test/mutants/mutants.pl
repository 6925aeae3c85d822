#!/usr/bin/perl

# Print mutants of the source, or the source with one of them: what run.sh asks.
#
#     mutants.pl list SEED FILE...     one a line, in the order of the seed: id, file:line,
#                                      kind, and what becomes what, with tabs between
#     mutants.pl apply ID FILE         the file with that mutant
#     mutants.pl tests LIST FILE       the tests of LIST that touch the file

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use Mutants qw(find_mutants mutate order_mutants);

binmode STDOUT, ':encoding(UTF-8)';
my ($command, $argument, @files) = @ARGV;
my %commands = (list => \&list, apply => \&apply, tests => \&tests);
die "usage: $0 list SEED FILE... | apply ID FILE | tests LIST FILE\n"
  unless @files && $commands{$command};
$commands{$command}->($argument, @files);

# Return the text of a file.
sub content
{
	my ($file) = @_;
	open my $in, '<:encoding(UTF-8)', $file or die "$file: $!\n";
	local $/;
	return scalar <$in>;
}

# Print all mutants.
sub list
{
	my ($seed, @names) = @_;
	for my $mutant (order_mutants($seed, map { find_mutants($_, content($_)) } @names))
	{
		my ($from, $to) = map { s/\s+/ /gr =~ s/\A(.{60}).+/$1.../r } @{$mutant}{qw(from to)};
		print join("\t", $mutant->{id}, "$mutant->{file}:$mutant->{line}", $mutant->{kind},
			"$from => " . ($to =~ /\S/ ? $to : 'nothing')), "\n";
	}
	return;
}

# Print a file with a mutant.
sub apply
{
	my ($id, $file) = @_;
	my $text = content($file);
	my ($mutant) = grep { $_->{id} eq $id } find_mutants($file, $text);
	die "$file has no mutant $id\n" unless $mutant;
	print mutate($text, $mutant);
	return;
}

# Print the tests that touch a file: those of the longest beginning of its name that the list
# has.
sub tests
{
	my ($list, $file) = @_;
	my %tests = map { split ' ', $_, 2 } grep { /^\w/ } split /\n/, content($list);
	my ($best) = sort { length $b <=> length $a } grep { $file =~ /^\Q$_\E/ } keys %tests;
	die "$list has no tests of $file\n" unless defined $best;
	print join("\n", split ' ', $tests{$best}), "\n";
	return;
}
