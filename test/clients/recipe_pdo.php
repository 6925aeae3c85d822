<?php
// PDO's part of doc/recipes.md.

$db = new PDO(sprintf('pgsql:host=%s;port=%s;dbname=%s;user=%s', getenv('PGHOST'), getenv('PGPORT'),
    getenv('PGDATABASE'), getenv('PGUSER')), null, null, [PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION]);
$db->setAttribute(PDO::ATTR_EMULATE_PREPARES, (bool) getenv('POOLED'));

preg_match('/^```php\n(function ship\(PDO .*?)^```/ms', file_get_contents('../../doc/recipes.md'), $block);
eval($block[1]);

$db->exec("INSERT INTO orders VALUES (17, '09123456789', 'new'), (18, '021 3300 3300', 'new')");
ship($db, ['id' => 17, 'mobile' => '09123456789']);
try {
    ship($db, ['id' => 18, 'mobile' => '021 3300 3300']);
} catch (PDOException $error) {
    echo 'error: ', $error->getMessage(), "\n";
}
if ($db->query('SELECT status FROM orders ORDER BY id')->fetchAll(PDO::FETCH_COLUMN) !== ['shipped', 'new']) {
    exit(1);
}
