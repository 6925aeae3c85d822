# psycopg 3, with SQL.

import os, time, datetime
import psycopg
from psycopg.types.json import Jsonb

pooled = os.environ['POOLED']
db = psycopg.connect(os.environ['DATABASE_URL'], autocommit=True,
                     prepare_threshold=None if pooled else 5)
insert = 'INSERT INTO sms_outbox (mobile, message) VALUES (%s, %s)'

id, = db.execute('INSERT INTO sms_outbox (mobile, message, metadata) VALUES (%s, %s, %s) RETURNING id',
                 ('09123456789', 'سلام', Jsonb({'order': 17}))).fetchone()
with db.cursor() as cursor:
    cursor.executemany(insert, [(f'0912{n:07}', 'many') for n in range(1000)])

with db.transaction(force_rollback=True):
    db.execute(insert, ('09123456789', 'rolled back'))
with db.transaction():
    db.execute(insert, ('09123456789', 'kept'))
    with db.transaction(force_rollback=True):
        db.execute(insert, ('09123456789', 'dropped'))

at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)
later, = db.execute('INSERT INTO sms_outbox (mobile, message, send_after) VALUES (%s, %s, %s) RETURNING id',
                    ('09123456789', 'later', at)).fetchone()
db.execute('SELECT sms3300_cancel(%s)', (later,))

for _ in range(2):
    db.execute('INSERT INTO sms_outbox (mobile, message, dedup_key) VALUES (%s, %s, %s)'
               ' ON CONFLICT DO NOTHING', ('09123456789', 'once', 'order-17'))

try:
    db.execute(insert, ('021 3300 3300', 'bad'))
except psycopg.Error as error:
    print(f'error: {type(error).__name__}: {error}')

status = 'queued'
while status in ('queued', 'sending'):
    time.sleep(0.05)
    status, number = db.execute('SELECT status, message_id FROM sms_outbox WHERE id = %s', (id,)).fetchone()
print(status, number)
