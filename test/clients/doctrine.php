<?php
// Doctrine ORM: an entity, as in Symfony.

require 'Doctrine/ORM/autoload.php';
require 'Symfony/Component/Cache/autoload.php';

use Doctrine\DBAL\Exception\DriverException;
use Doctrine\DBAL\ParameterType;
use Doctrine\ORM\EntityManager;
use Doctrine\ORM\Mapping as ORM;
use Doctrine\ORM\ORMSetup;

#[ORM\Entity, ORM\Table(name: 'sms_outbox')]
class Sms
{
    #[ORM\Id, ORM\GeneratedValue(strategy: 'IDENTITY'), ORM\Column(type: 'bigint')]
    public ?string $id = null;

    // As text: Doctrine does not read times with microseconds.
    #[ORM\Column(type: 'text', name: 'send_after', nullable: true)]
    public ?string $sendAfter = null;

    #[ORM\Column(type: 'text', name: 'dedup_key', nullable: true)]
    public ?string $key = null;

    #[ORM\Column(type: 'json', nullable: true)]
    public ?array $metadata = null;

    #[ORM\Column(type: 'text', insertable: false, updatable: false)]
    public string $status = 'queued';

    #[ORM\Column(type: 'bigint', name: 'message_id', nullable: true, insertable: false, updatable: false)]
    public ?string $messageId = null;

    public function __construct(
        #[ORM\Column(type: 'text')] public string $mobile,
        #[ORM\Column(type: 'text')] public string $message
    ) {
    }
}

// In Symfony, the entity manager is injected.
$manager = EntityManager::create(['driver' => 'pdo_pgsql', 'host' => getenv('PGHOST'), 'port' => getenv('PGPORT'),
    'dbname' => getenv('PGDATABASE'), 'user' => getenv('PGUSER'),
    'driverOptions' => [PDO::ATTR_EMULATE_PREPARES => (bool) getenv('POOLED')]],
    ORMSetup::createAttributeMetadataConfiguration([__DIR__], true));
$db = $manager->getConnection();
$db->setNestTransactionsWithSavepoints(true);

$one = new Sms('09123456789', 'سلام');
$one->metadata = ['order' => 17];
$manager->persist($one);
for ($n = 0; $n < 1000; $n++) {
    $manager->persist(new Sms(sprintf('0912%07d', $n), 'many'));
}
$manager->flush();

$db->beginTransaction();
$manager->persist(new Sms('09123456789', 'rolled back'));
$manager->flush();
$db->rollBack();

$db->beginTransaction();
$manager->persist(new Sms('09123456789', 'kept'));
$manager->flush();
$db->beginTransaction();
$manager->persist(new Sms('09123456789', 'dropped'));
$manager->flush();
$db->rollBack();
$db->commit();

$later = new Sms('09123456789', 'later');
$later->sendAfter = date('c', time() + 3600);
$manager->persist($later);
$manager->flush();
$db->executeQuery('SELECT sms3300_cancel(?)', [$later->id]);

foreach ([1, 2] as $time) {
    $db->executeStatement('INSERT INTO sms_outbox (mobile, message, dedup_key) VALUES (?, ?, ?)'
        . ' ON CONFLICT DO NOTHING', ['09123456789', 'once', 'order-17']);
}

do {
    usleep(50000);
    $manager->refresh($one);
} while (in_array($one->status, ['queued', 'sending']));
echo "$one->status $one->messageId\n";

try {
    $manager->persist(new Sms('021 3300 3300', 'bad'));
    $manager->flush();
} catch (DriverException $error) {
    echo 'error: ', get_class($error), ': ', $error->getMessage(), "\n";
}
