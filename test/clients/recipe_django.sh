# Django: a new project, whose application "shop" has the block of doc/recipes.md in its
# models.py. Its migrations create the orders, and leave sms_outbox alone. Its tests run in a
# copy of the template that doc/clients.md has.

set -e
block=$(sed -n '/^```python$/,/^```$/{/^```/!p}' ../../doc/recipes.md)
template=$(sed -n '/^```python$/,/^```$/{/^```/!p}' ../../doc/clients.md)
mkdir "$HOME/$PGUSER"
django-admin startproject project "$HOME/$PGUSER"
cd "$HOME/$PGUSER"
/usr/bin/python3 manage.py startapp shop

cat >shop/models.py <<END
$block

class Order(models.Model):
    mobile = models.TextField()
    status = models.TextField(default='new')
END
cat >>project/settings.py <<END
INSTALLED_APPS.append('shop')
DATABASES = {'default': {
    'ENGINE': 'django.db.backends.postgresql', 'HOST': '$PGHOST', 'PORT': '$PGPORT', 'NAME': '$PGDATABASE',
    'USER': '$PGUSER', 'DISABLE_SERVER_SIDE_CURSORS': bool('$POOLED')}}
$template
DATABASES['default']['TEST']['NAME'] = 'test_$PGUSER'
END
cat >shop/tests.py <<END
from django.test import TestCase
from shop.models import Order, Sms, ship

class ShipTest(TestCase):
    def test_ship(self):
        ship(Order.objects.create(mobile='0912 345 6789'))
        self.assertEqual(Sms.objects.get().mobile, '989123456789')
END
/usr/bin/python3 manage.py makemigrations shop
/usr/bin/python3 manage.py migrate shop
/usr/bin/python3 manage.py shell -c "
from shop.models import Order, ship
ship(Order.objects.create(id=17, mobile='09123456789'))
try:
    ship(Order.objects.create(id=18, mobile='021 3300 3300'))
except Exception as error:
    print(f'error: {error}')
assert Order.objects.get(id=17).status == 'shipped'
assert Order.objects.get(id=18).status == 'new'
"
# PgBouncer keeps its connections, which are in the way of DROP DATABASE.
[ -n "$POOLED" ] || /usr/bin/python3 manage.py test
