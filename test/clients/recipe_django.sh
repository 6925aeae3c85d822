# Django: a new project, whose application "shop" has the block of doc/recipes.md in its
# models.py. Its migrations create the orders, and leave sms_outbox alone.

set -e
block=$(sed -n '/^```python$/,/^```$/{/^```/!p}' ../../doc/recipes.md)
mkdir "$HOME/$PGUSER"
django-admin startproject project "$HOME/$PGUSER"
cd "$HOME/$PGUSER"
python3 manage.py startapp shop

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
END
python3 manage.py makemigrations shop
python3 manage.py migrate shop
python3 manage.py shell -c "
from shop.models import Order, ship
ship(Order.objects.create(id=17, mobile='09123456789'))
try:
    ship(Order.objects.create(id=18, mobile='021 3300 3300'))
except Exception as error:
    print(f'error: {error}')
assert Order.objects.get(id=17).status == 'shipped'
assert Order.objects.get(id=18).status == 'new'
"
