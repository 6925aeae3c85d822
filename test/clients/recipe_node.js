// The block of doc/recipes.md for Node.js.

const { readFileSync } = require('fs');
const { Pool } = require('pg');

const [, block] = readFileSync('../../doc/recipes.md', 'utf8').match(/^```js\n([^]*?)^```/m);
const ship = eval(`(${block})`);
const pool = new Pool({ connectionString: process.env.DATABASE_URL });

async function main() {
  await pool.query("INSERT INTO orders VALUES (17, '09123456789', 'new'), (18, '021 3300 3300', 'new')");
  await ship(pool, { id: 17, mobile: '09123456789' });
  await ship(pool, { id: 18, mobile: '021 3300 3300' }).catch(error => console.log(`error: ${error}`));
  const { rows } = await pool.query('SELECT status FROM orders ORDER BY id');
  if (rows.map(row => row.status).join() !== 'shipped,new') process.exitCode = 1;
}

main().finally(() => pool.end());
