# Django: an unmanaged model, as in an application's models.py.

import os, time, datetime
import django
from django.conf import settings
from django.db import DatabaseError, connection, models, transaction
from django.utils import timezone

settings.configure(USE_TZ=True, DATABASES={'default': {
    'ENGINE': 'django.db.backends.postgresql', 'HOST': os.environ['PGHOST'], 'PORT': os.environ['PGPORT'],
    'USER': os.environ['PGUSER'], 'NAME': os.environ['PGDATABASE'],
    'DISABLE_SERVER_SIDE_CURSORS': bool(os.environ['POOLED'])}})
django.setup()

class Sms(models.Model):
    id = models.BigAutoField(primary_key=True)
    mobile = models.TextField()
    message = models.TextField()
    dedup_key = models.TextField(null=True)
    send_after = models.DateTimeField(default=timezone.now)
    metadata = models.JSONField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)
    status = models.TextField(default='queued', editable=False)
    message_id = models.BigIntegerField(null=True, editable=False)

    class Meta:
        app_label = 'shop'
        managed = False
        db_table = 'sms_outbox'

one = Sms.objects.create(mobile='09123456789', message='سلام', metadata={'order': 17})
Sms.objects.bulk_create(Sms(mobile=f'0912{n:07}', message='many') for n in range(1000))

with transaction.atomic():
    Sms.objects.create(mobile='09123456789', message='rolled back')
    transaction.set_rollback(True)
with transaction.atomic():
    Sms.objects.create(mobile='09123456789', message='kept')
    with transaction.atomic():
        Sms.objects.create(mobile='09123456789', message='dropped')
        transaction.set_rollback(True)

later = Sms.objects.create(mobile='09123456789', message='later',
                           send_after=timezone.now() + datetime.timedelta(hours=1))
with connection.cursor() as cursor:
    cursor.execute('SELECT sms3300_cancel(%s)', [later.id])

for _ in range(2):
    Sms.objects.bulk_create([Sms(mobile='09123456789', message='once', dedup_key='order-17')],
                            ignore_conflicts=True)

try:
    Sms.objects.create(mobile='021 3300 3300', message='bad')
except DatabaseError as error:
    print(f'error: {type(error).__name__}: {error}')

while one.status in ('queued', 'sending'):
    time.sleep(0.05)
    one.refresh_from_db()
print(one.status, one.message_id)
