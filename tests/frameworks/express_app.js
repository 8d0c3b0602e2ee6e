// Express with express-session in Isogrid. PORT, SERVERS and STORE (connect-memcached or
// connect-memjs) are in the environment.
'use strict';
const fs = require('fs');
const express = require('express');
const session = require('express-session');

const hosts = process.env.SERVERS.split(',');

function memcachedStore() {
  const options = { hosts, remove: true, failures: 0, retries: 0, timeout: 1000 };
  const store = new (require('connect-memcached')(session))(options);
  // The client never asks a removed server again by itself.
  store.client.on('remove', ({ server }) => setTimeout(() => {
    delete store.client.issues[server];
    delete store.client.connections[server];
    store.client.HashRing.add(server);
  }, 2000));
  return store;
}

function memjsStore() {
  const options = { failover: true, failoverTime: 2, retries: 1, timeout: 6, conntimeout: 1 };
  return new (require('connect-memjs')(session))({ servers: hosts, ...options });
}

// Stays until the file that it makes is gone.
async function hold(path) {
  if (path) fs.writeFileSync(path, '');
  while (path && fs.existsSync(path)) await new Promise((done) => setTimeout(done, 10));
}

const app = express();
app.use(session({
  store: process.env.STORE === 'connect-memjs' ? memjsStore() : memcachedStore(),
  secret: 'of a test', resave: false, saveUninitialized: false,
}));
const call = (request, name) => new Promise((done, failed) =>
  request.session[name]((error) => (error ? failed(error) : done())));

app.get('/:what', async (request, response) => {
  const { what } = request.params;
  await hold(request.query.hold); // The session is loaded before.
  if (what === 'login') await call(request, 'regenerate').then(() => { request.session.user = 'ann'; });
  if (what === 'put') request.session[request.query.name] = 1;
  if (what === 'count') request.session.n = (request.session.n || 0) + 1;
  if (what === 'logout') await call(request, 'destroy');
  // Without it a session that cannot be saved is answered as if it were.
  if (['login', 'put', 'count'].includes(what)) await call(request, 'save');
  const { cookie, ...kept } = request.session || {};
  response.json(kept);
});
app.listen(Number(process.env.PORT), '127.0.0.1');
