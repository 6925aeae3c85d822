# SQLAlchemy Core: the table is read from the database.

import os, time, datetime
from sqlalchemy import MetaData, Table, create_engine, exc, func, insert, select
from sqlalchemy.dialects.postgresql import insert as pg_insert

engine = create_engine(os.environ['DATABASE_URL'])
outbox = Table('sms_outbox', MetaData(), autoload_with=engine)

with engine.begin() as db:
    id, = db.execute(insert(outbox).values(mobile='09123456789', message='سلام', metadata={'order': 17})
                     ).inserted_primary_key
    db.execute(insert(outbox), [{'mobile': f'0912{n:07}', 'message': 'many'} for n in range(1000)])

with engine.connect() as db:
    transaction = db.begin()
    db.execute(insert(outbox).values(mobile='09123456789', message='rolled back'))
    transaction.rollback()

with engine.begin() as db:
    db.execute(insert(outbox).values(mobile='09123456789', message='kept'))
    savepoint = db.begin_nested()
    db.execute(insert(outbox).values(mobile='09123456789', message='dropped'))
    savepoint.rollback()

with engine.begin() as db:
    at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)
    later, = db.execute(insert(outbox).values(mobile='09123456789', message='later', send_after=at)
                        ).inserted_primary_key
    db.execute(select(func.sms3300_cancel(later)))
    for _ in range(2):
        db.execute(pg_insert(outbox).values(mobile='09123456789', message='once', dedup_key='order-17')
                   .on_conflict_do_nothing())

try:
    with engine.begin() as db:
        db.execute(insert(outbox).values(mobile='021 3300 3300', message='bad'))
except exc.DBAPIError as error:
    print(f'error: {type(error).__name__}: {error}')

status = 'queued'
while status in ('queued', 'sending'):
    time.sleep(0.05)
    with engine.begin() as db:
        status, number = db.execute(select(outbox.c.status, outbox.c.message_id).where(outbox.c.id == id)).one()
print(status, number)
