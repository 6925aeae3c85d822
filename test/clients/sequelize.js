// Sequelize: a model with the columns that the application uses.

const { DataTypes, Sequelize } = require('sequelize');
const db = new Sequelize(process.env.DATABASE_URL, { logging: false });

const Sms = db.define('Sms', {
  id: { type: DataTypes.BIGINT, primaryKey: true, autoIncrement: true },
  mobile: { type: DataTypes.TEXT, allowNull: false },
  message: DataTypes.TEXT,
  sendAfter: DataTypes.DATE,
  dedupKey: DataTypes.TEXT,
  metadata: DataTypes.JSONB,
  status: DataTypes.TEXT,
  messageId: DataTypes.BIGINT,
}, { tableName: 'sms_outbox', underscored: true, updatedAt: false });

async function main() {
  const one = await Sms.create({ mobile: '09123456789', message: 'سلام', metadata: { order: 17 } });
  await Sms.bulkCreate(Array.from({ length: 1000 }, (_, n) => ({ mobile: '0912' + String(n).padStart(7, '0'), message: 'many' })));

  await db.transaction(async transaction => {
    await Sms.create({ mobile: '09123456789', message: 'rolled back' }, { transaction });
    throw new Error('undo');
  }).catch(() => {});
  await db.transaction(async transaction => {
    await Sms.create({ mobile: '09123456789', message: 'kept' }, { transaction });
    await db.transaction({ transaction }, async savepoint => {
      await Sms.create({ mobile: '09123456789', message: 'dropped' }, { transaction: savepoint });
      throw new Error('undo');
    }).catch(() => {});
  });

  const later = await Sms.create({ mobile: '09123456789', message: 'later', sendAfter: new Date(Date.now() + 3600_000) });
  await db.query('SELECT sms3300_cancel(?)', { replacements: [later.id] });

  for (const time of [1, 2])
    await Sms.bulkCreate([{ mobile: '09123456789', message: 'once', dedupKey: 'order-17' }], { ignoreDuplicates: true });

  try {
    await Sms.create({ mobile: '021 3300 3300', message: 'bad' });
  } catch (error) {
    console.log(`error: ${error}\n${error.original.detail}`);
  }

  do {
    await new Promise(resolve => setTimeout(resolve, 50));
    await one.reload();
  } while (['queued', 'sending'].includes(one.status));
  console.log(one.status, one.messageId);
}

main().finally(() => db.close());
