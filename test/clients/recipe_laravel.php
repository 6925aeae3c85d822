<?php
// Laravel's part of doc/recipes.md, without the rest of Laravel.

require 'Illuminate/Database/autoload.php';

$capsule = new Illuminate\Database\Capsule\Manager();
$capsule->addConnection(['driver' => 'pgsql', 'host' => getenv('PGHOST'), 'port' => getenv('PGPORT'),
    'database' => getenv('PGDATABASE'), 'username' => getenv('PGUSER'), 'charset' => 'utf8',
    'options' => [PDO::ATTR_EMULATE_PREPARES => (bool) getenv('POOLED')]]);
$capsule->bootEloquent();

class Order extends Illuminate\Database\Eloquent\Model
{
    protected $guarded = [];
    public $timestamps = false;
}

preg_match('/^```php\n(.*?)^```/ms', file_get_contents('../../doc/recipes.md'), $block);
eval($block[1]);

ship(Order::create(['id' => 17, 'mobile' => '09123456789', 'status' => 'new']));
try {
    ship(Order::create(['id' => 18, 'mobile' => '021 3300 3300', 'status' => 'new']));
} catch (Exception $error) {
    echo 'error: ', $error->getMessage(), "\n";
}
if (Order::find(17)->status !== 'shipped' || Order::find(18)->status !== 'new') {
    exit(1);
}
