# SQLAlchemy automap: the class has every column of the table.

import os, time, datetime
from sqlalchemy import Column, create_engine, exc, func, select
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.automap import automap_base
from sqlalchemy.orm import Session

# A mapped class cannot have an attribute "metadata", so this one has another name.
Base = automap_base()
class Sms(Base):
    __tablename__ = 'sms_outbox'
    data = Column('metadata', JSONB(none_as_null=True))

engine = create_engine(os.environ['DATABASE_URL'])
Base.prepare(autoload_with=engine)
db = Session(engine)

one = Sms(mobile='09123456789', message='سلام', data={'order': 17})
db.add(one)
db.commit()
db.add_all(Sms(mobile=f'0912{n:07}', message='many') for n in range(1000))
db.commit()

db.add(Sms(mobile='09123456789', message='rolled back'))
db.flush()
db.rollback()

db.add(Sms(mobile='09123456789', message='kept'))
savepoint = db.begin_nested()
db.add(Sms(mobile='09123456789', message='dropped'))
db.flush()
savepoint.rollback()
db.commit()

at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)
later = Sms(mobile='09123456789', message='later', send_after=at)
db.add(later)
db.flush()
db.scalar(select(func.sms3300_cancel(later.id)))
for _ in range(2):
    db.execute(insert(Sms).values(mobile='09123456789', message='once', dedup_key='order-17')
               .on_conflict_do_nothing())
db.commit()

try:
    db.add(Sms(mobile='021 3300 3300', message='bad'))
    db.commit()
except exc.DBAPIError as error:
    print(f'error: {type(error).__name__}: {error}')
    db.rollback()

while one.status in ('queued', 'sending'):
    time.sleep(0.05)
    db.commit()
print(one.status, one.message_id)
