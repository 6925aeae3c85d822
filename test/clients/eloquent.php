<?php
// Laravel: an Eloquent model.

require 'Illuminate/Database/autoload.php';

use Illuminate\Database\Capsule\Manager as DB;
use Illuminate\Database\Eloquent\Model;
use Illuminate\Database\QueryException;

// In Laravel, config/database.php has this.
$capsule = new DB();
$capsule->addConnection(['driver' => 'pgsql', 'host' => getenv('PGHOST'), 'port' => getenv('PGPORT'),
    'database' => getenv('PGDATABASE'), 'username' => getenv('PGUSER'), 'charset' => 'utf8',
    'options' => [PDO::ATTR_EMULATE_PREPARES => (bool) getenv('POOLED')]]);
$capsule->setAsGlobal();
$capsule->bootEloquent();

class Sms extends Model
{
    protected $table = 'sms_outbox';
    protected $guarded = [];
    protected $casts = ['metadata' => 'array'];
    const UPDATED_AT = null;
}

$one = Sms::create(['mobile' => '09123456789', 'message' => 'سلام', 'metadata' => ['order' => 17]]);
Sms::insert(array_map(fn ($n) => ['mobile' => sprintf('0912%07d', $n), 'message' => 'many'], range(0, 999)));

DB::connection()->beginTransaction();
Sms::create(['mobile' => '09123456789', 'message' => 'rolled back']);
DB::connection()->rollBack();

DB::connection()->transaction(function () {
    Sms::create(['mobile' => '09123456789', 'message' => 'kept']);
    DB::connection()->beginTransaction();
    Sms::create(['mobile' => '09123456789', 'message' => 'dropped']);
    DB::connection()->rollBack();
});

$later = Sms::create(['mobile' => '09123456789', 'message' => 'later', 'send_after' => date('c', time() + 3600)]);
DB::select('SELECT sms3300_cancel(?)', [$later->id]);

foreach ([1, 2] as $time) {
    Sms::insertOrIgnore(['mobile' => '09123456789', 'message' => 'once', 'dedup_key' => 'order-17']);
}

try {
    Sms::create(['mobile' => '021 3300 3300', 'message' => 'bad']);
} catch (QueryException $error) {
    echo 'error: ', get_class($error), ': ', $error->getMessage(), "\n";
}

do {
    usleep(50000);
    $one->refresh();
} while (in_array($one->status, ['queued', 'sending']));
echo "$one->status $one->message_id\n";
