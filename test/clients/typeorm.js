// TypeORM: an entity with the columns that the application uses.

const { DataSource, EntitySchema } = require('typeorm');

const Sms = new EntitySchema({
  name: 'Sms',
  tableName: 'sms_outbox',
  columns: {
    id: { type: 'bigint', primary: true, generated: 'identity' },
    mobile: { type: 'text' },
    message: { type: 'text' },
    send_after: { type: 'timestamptz', nullable: true },
    dedup_key: { type: 'text', nullable: true },
    metadata: { type: 'jsonb', nullable: true },
    created_at: { type: 'timestamptz', createDate: true },
    status: { type: 'text', nullable: true },
    message_id: { type: 'bigint', nullable: true },
  },
});

async function main() {
  const source = await new DataSource({ type: 'postgres', url: process.env.DATABASE_URL, entities: [Sms] }).initialize();
  const sms = source.getRepository(Sms);

  const one = await sms.save({ mobile: '09123456789', message: 'سلام', metadata: { order: 17 } });
  await sms.save(Array.from({ length: 1000 }, (_, n) => ({ mobile: '0912' + String(n).padStart(7, '0'), message: 'many' })));

  await source.transaction(async db => {
    await db.save(Sms, { mobile: '09123456789', message: 'rolled back' });
    throw new Error('undo');
  }).catch(() => {});
  await source.transaction(async db => {
    await db.save(Sms, { mobile: '09123456789', message: 'kept' });
    await db.transaction(async inner => {
      await inner.save(Sms, { mobile: '09123456789', message: 'dropped' });
      throw new Error('undo');
    }).catch(() => {});
  });

  const later = await sms.save({ mobile: '09123456789', message: 'later', send_after: new Date(Date.now() + 3600_000) });
  await source.query('SELECT sms3300_cancel($1)', [later.id]);

  for (const time of [1, 2])
    await sms.createQueryBuilder().insert().values({ mobile: '09123456789', message: 'once', dedup_key: 'order-17' })
      .orIgnore().execute();

  try {
    await sms.save({ mobile: '021 3300 3300', message: 'bad' });
  } catch (error) {
    console.log(`error: ${error}\n${error.driverError.detail}`);
  }

  let row = one;
  do {
    await new Promise(resolve => setTimeout(resolve, 50));
    row = await sms.findOneBy({ id: one.id });
  } while (['queued', 'sending'].includes(row.status));
  console.log(row.status, row.message_id);
  await source.destroy();
}

main();
