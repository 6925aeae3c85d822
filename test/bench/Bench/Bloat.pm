package Bench::Bloat;

# How large the table and its indexes are after much was sent, beside a copy of the rows
# that was laid down at once; autovacuum is as it is installed.

use strict;
use warnings;

use Bench;

# Take all samples and print them.
sub measure
{
	in_database(bloat => \&measure_in_database);
	return;
}

sub measure_in_database
{
	my $n      = scaled(1000000);
	my $sample = drain_sample($n, 50, 'instant');
	my @used   = size('sms_outbox');
	my ($hot, $updates, $vacuums) = value(<<~'SQL');
		SELECT n_tup_hot_upd, n_tup_upd, autovacuum_count FROM pg_stat_user_tables
		WHERE relid = 'sms_outbox'::regclass
		SQL

	make_equal_table();
	sql('INSERT INTO equal_outbox OVERRIDING SYSTEM VALUE SELECT * FROM sms_outbox ORDER BY id');
	my @fresh = size('equal_outbox');

	printf "\n%d sent in a row, %s a second; %s of the updates were HOT, autovacuum came %d times\n",
	  $n, number($sample->{rate}), number($hot / $updates), $vacuums;
	printf "%10s%10s%8s\n", 'MB', 'fresh', 'ratio';
	for (0 .. $#used)
	{
		my ($name, $size) = @{ $used[$_] };
		printf "%10s%10s%8.3f  %s\n", number($size), number($fresh[$_][1]), $size / $fresh[$_][1], $name;
	}
	print_figure('table and indexes against fresh ones', $used[0][1] / $fresh[0][1], most => 1.5);
	return;
}

# Return names and megabytes: of all, of the table, of its indexes, and of each of them
# in an order that is the same for tables of the same definition.
sub size
{
	my ($table) = @_;
	return map { [ $_->[0], $_->[1] / 2**20 ] } @{ connection()->selectall_arrayref(<<~"SQL") };
		SELECT name, size FROM (
			VALUES (0, 'all', pg_total_relation_size('$table')), (1, 'table', pg_table_size('$table')),
				(2, 'indexes', pg_indexes_size('$table'))
			UNION ALL
			SELECT 3, regexp_replace(pg_get_indexdef(indexrelid), '.* USING ', '') AS definition,
				pg_relation_size(indexrelid)
			FROM pg_index WHERE indrelid = '$table'::regclass
		) AS s (place, name, size)
		ORDER BY place, name
		SQL
}

1;
