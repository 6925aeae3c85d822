<?php
// PDO, with prepared statements.

$db = new PDO(sprintf('pgsql:host=%s;port=%s;dbname=%s;user=%s', getenv('PGHOST'), getenv('PGPORT'),
    getenv('PGDATABASE'), getenv('PGUSER')), null, null, [PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION]);

// PgBouncer before 1.21 does not know prepared statements.
$db->setAttribute(PDO::ATTR_EMULATE_PREPARES, (bool) getenv('POOLED'));
$insert = $db->prepare('INSERT INTO sms_outbox (mobile, message) VALUES (?, ?)');

$db->prepare('INSERT INTO sms_outbox (mobile, message, metadata) VALUES (?, ?, ?)')
    ->execute(['09123456789', 'سلام', json_encode(['order' => 17])]);
$id = $db->lastInsertId();

$db->beginTransaction();
for ($n = 0; $n < 1000; $n++) {
    $insert->execute([sprintf('0912%07d', $n), 'many']);
}
$db->commit();

$db->beginTransaction();
$insert->execute(['09123456789', 'rolled back']);
$db->rollBack();

$db->beginTransaction();
$insert->execute(['09123456789', 'kept']);
$db->exec('SAVEPOINT extra');
$insert->execute(['09123456789', 'dropped']);
$db->exec('ROLLBACK TO SAVEPOINT extra');
$db->commit();

$later = $db->prepare('INSERT INTO sms_outbox (mobile, message, send_after) VALUES (?, ?, ?) RETURNING id');
$later->execute(['09123456789', 'later', date('c', time() + 3600)]);
$db->prepare('SELECT sms3300_cancel(?)')->execute([$later->fetchColumn()]);

$once = $db->prepare('INSERT INTO sms_outbox (mobile, message, dedup_key) VALUES (?, ?, ?) ON CONFLICT DO NOTHING');
$once->execute(['09123456789', 'once', 'order-17']);
$once->execute(['09123456789', 'once', 'order-17']);

try {
    $insert->execute(['021 3300 3300', 'bad']);
} catch (PDOException $error) {
    echo 'error: ', get_class($error), ': ', $error->getMessage(), "\n";
}

$read = $db->prepare('SELECT status, message_id FROM sms_outbox WHERE id = ?');
do {
    usleep(50000);
    $read->execute([$id]);
    [$status, $number] = $read->fetch(PDO::FETCH_NUM);
} while (in_array($status, ['queued', 'sending']));
echo "$status $number\n";
