// memjs over the binary protocol.
"use strict";
const assert = require("assert");
const memjs = require("memjs");

async function main() {
  const client = memjs.Client.create(`127.0.0.1:${process.argv[2]}`, { timeout: 10, retries: 1 });
  const text = async (key) => {
    const { value } = await client.get(key);
    return value === null ? null : value.toString();
  };

  assert.strictEqual(await client.set("greeting", "hello", { expires: 600 }), true);
  assert.strictEqual(await text("greeting"), "hello");
  assert.strictEqual(await text("none"), null);
  assert.strictEqual(await client.add("greeting", "x", {}), false);
  assert.strictEqual(await client.add("new", "x", {}), true);
  assert.strictEqual(await client.replace("none", "x", {}), false);
  assert.strictEqual(await client.replace("new", "y", {}), true);
  assert.strictEqual(await client.append("new", "2"), true);
  assert.strictEqual(await text("new"), "y2");

  assert.strictEqual((await client.increment("counter", 5, { initial: 10 })).value, 10);
  assert.strictEqual((await client.increment("counter", 5, { initial: 10 })).value, 15);
  assert.strictEqual((await client.decrement("counter", 3, { initial: 10 })).value, 12);

  const binary = Buffer.from([0, 1, 2, 255, 13, 10]);
  assert.strictEqual(await client.set("binary", binary, {}), true);
  assert.deepStrictEqual((await client.get("binary")).value, binary);
  const large = Buffer.alloc(900000, "x");
  assert.strictEqual(await client.set("large", large, {}), true);
  assert.ok((await client.get("large")).value.equals(large));

  await Promise.all(Array.from({ length: 500 }, (_, i) => client.set(`key:${i}`, `${i}`, {})));
  const all = await Promise.all(Array.from({ length: 500 }, (_, i) => text(`key:${i}`)));
  assert.ok(all.every((value, i) => value === `${i}`));

  assert.strictEqual(await client.touch("greeting", 100), true);
  assert.strictEqual(await client.delete("new"), true);
  assert.strictEqual(await client.delete("new"), false);
  assert.strictEqual(await client.set("short", "1", { expires: 1 }), true);
  await new Promise((done) => setTimeout(done, 1200));
  assert.strictEqual(await text("short"), null);

  const stats = await new Promise((done, fail) =>
    client.stats((error, server, stats) => (error ? fail(error) : done(stats))));
  assert.ok(Number(stats.curr_items) > 500, JSON.stringify(stats));
  await client.flush();
  assert.strictEqual(await text("greeting"), null);
  client.quit();
}

main().then(() => process.exit(0), (error) => {
  console.error(error);
  process.exit(1);
});
