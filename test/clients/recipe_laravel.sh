# Laravel: a new project, with the blocks of doc/recipes.md in it. Its migrations create the
# orders, and leave sms_outbox alone, also if all tables are made again. Composer's part is
# done here: no package has Laravel's skeleton of a project.

set -e
project=$HOME/$PGUSER
mkdir -p "$project/app/Models" "$project/app/Providers" "$project/bootstrap/cache" "$project/config" \
	"$project/database/migrations" "$project/resources/views" "$project/routes" \
	"$project/storage/framework/views" "$project/storage/logs" "$project/vendor"

# Print a block of PHP in doc/recipes.md, which has a text in it.
block()
{
	perl -0777 -ne 'BEGIN { $part = shift }
		print grep { index($_, $part) >= 0 } /^```php\n(.*?)^```$/gms' "$1" ../../doc/recipes.md
}
{ echo '<?php'; block 'class Sms'; } >"$project/app/Models/Sms.php"
ship=$(block 'DB::transaction')
dont_drop=$(block dont_drop)
cd "$project"

cat >vendor/autoload.php <<'END'
<?php
require 'Illuminate/autoload.php';
spl_autoload_register(function ($class) {
    $file = __DIR__ . '/../' . strtr(lcfirst($class), '\\', '/') . '.php';
    if (is_file($file)) require $file;
});
END
cat >artisan <<'END'
<?php
require __DIR__ . '/vendor/autoload.php';
$app = require __DIR__ . '/bootstrap/app.php';
exit($app->make(Illuminate\Contracts\Console\Kernel::class)
    ->handle(new Symfony\Component\Console\Input\ArgvInput(), new Symfony\Component\Console\Output\ConsoleOutput()));
END
cat >bootstrap/app.php <<'END'
<?php
$app = new Illuminate\Foundation\Application(dirname(__DIR__));
$app->singleton(Illuminate\Contracts\Console\Kernel::class, App\Kernel::class);
$app->singleton(Illuminate\Contracts\Debug\ExceptionHandler::class, Illuminate\Foundation\Exceptions\Handler::class);
return $app;
END
cat >app/Kernel.php <<'END'
<?php
namespace App;

class Kernel extends \Illuminate\Foundation\Console\Kernel
{
    protected function commands()
    {
        require base_path('routes/console.php');
    }
}
END
cat >config/app.php <<'END'
<?php
return ['name' => 'Shop', 'env' => 'local', 'debug' => true, 'timezone' => 'UTC', 'locale' => 'en',
    'fallback_locale' => 'en', 'key' => 'base64:' . base64_encode(random_bytes(32)), 'cipher' => 'AES-256-CBC',
    'providers' => [
        Illuminate\Cache\CacheServiceProvider::class,
        Illuminate\Database\DatabaseServiceProvider::class,
        Illuminate\Filesystem\FilesystemServiceProvider::class,
        Illuminate\Foundation\Providers\ConsoleSupportServiceProvider::class,
        Illuminate\Foundation\Providers\FoundationServiceProvider::class,
        Illuminate\Queue\QueueServiceProvider::class,
        Illuminate\View\ViewServiceProvider::class,
    ]];
END
cat >config/database.php <<END
<?php
return ['default' => 'pgsql', 'migrations' => 'migrations', 'connections' => ['pgsql' => [
    'driver' => 'pgsql', 'host' => '$PGHOST', 'port' => '$PGPORT', 'database' => '$PGDATABASE',
    'username' => '$PGUSER', 'charset' => 'utf8', 'schema' => ['$PGUSER', 'public'],
    'options' => [PDO::ATTR_EMULATE_PREPARES => (bool) '$POOLED'],
    $dont_drop
]]];
END
cat >config/view.php <<'END'
<?php
return ['paths' => [resource_path('views')], 'compiled' => storage_path('framework/views')];
END
cat >app/Models/Order.php <<'END'
<?php
namespace App\Models;

class Order extends \Illuminate\Database\Eloquent\Model
{
    protected $guarded = [];
    public $timestamps = false;
}
END
cat >database/migrations/2026_01_01_000000_create_orders_table.php <<'END'
<?php
use Illuminate\Support\Facades\Schema;

return new class extends Illuminate\Database\Migrations\Migration
{
    public function up()
    {
        Schema::create('orders', function ($table) {
            $table->id();
            $table->text('mobile');
            $table->text('status');
        });
    }
};
END
cat >routes/console.php <<END
<?php
use App\\Models\\Order;
$ship
Illuminate\\Support\\Facades\\Artisan::command('ship {id} {mobile}', function (\$id, \$mobile) {
    ship(Order::create(['id' => \$id, 'mobile' => \$mobile, 'status' => 'new']));
});
Illuminate\\Support\\Facades\\Artisan::command('shipped', function () {
    echo 'shipped: ', Order::where('status', 'shipped')->pluck('id'), "\\n";
});
END

php artisan migrate
php artisan migrate:fresh
php artisan ship 17 09123456789
COLUMNS=500 php artisan ship 18 '021 3300 3300' 2>&1 | sed 's/^ *SQLSTATE/error: SQLSTATE/'
php artisan shipped | grep -xF 'shipped: [17]'
