// The page of /stats in a real browser: node page.mjs http://HOST:PORT DNS-HOST:PORT
//
// With SHOTS=DIR it leaves pictures there, for the documents.
import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { createRequire } from 'node:module';

const { chromium } = createRequire(`${process.env.TOOLS}/`)('playwright-core');
const [base, dns] = process.argv.slice(2);
const shots = process.env.SHOTS;
const browser = await chromium.launch({
  executablePath: '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-dev-shm-usage'],
});

const registry = (method, body) => fetch(`${base}/registry`, { method, body: JSON.stringify(body) })
  .then((reply) => assert.equal(reply.status, 200));

// Something to see on a picture: three quarters of a minute of requests and questions.
async function traffic() {
  const socket = createSocket('udp4');
  const [, host, port] = dns.match(/^(.*):(\d+)$/);
  const labels = ['api', 'services', 'skydns', 'local'].flatMap((label) => [label.length, ...Buffer.from(label)]);
  const question = Buffer.from([0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, ...labels, 0, 0, 33, 0, 1]);
  for (let round = 0; round < 45; round += 1) {
    const much = 6 + Math.round(5 * Math.sin(round / 5) + 4 * Math.random());
    for (let one = 0; one < much; one += 1) {
      await fetch(`${base}${one % 7 === 6 ? '/nothing' : '/registry?service=web'}`);
      for (let n = 0; n < 9; n += 1) socket.send(question, Number(port), host);
    }
    await new Promise((done) => { setTimeout(done, 1000); });
  }
  socket.close();
}

try {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, colorScheme: 'light' });
  const page = await context.newPage();
  const wrong = [];
  const elsewhere = [];
  page.on('console', (message) => ['error', 'warning'].includes(message.type()) && wrong.push(message.text()));
  page.on('pageerror', (error) => wrong.push(String(error)));
  page.on('dialog', (dialog) => { wrong.push('a dialog'); dialog.dismiss(); });
  page.on('request', (request) => {
    if (!request.url().startsWith(base) && !request.url().startsWith('data:')) elsewhere.push(request.url());
  });

  // How far things moved that could be seen; under 0.1 nobody is annoyed (web.dev/cls).
  await context.addInitScript(() => {
    window.moved = 0;
    new PerformanceObserver((list) => list.getEntries().forEach((entry) => { window.moved += entry.value; }))
      .observe({ type: 'layout-shift', buffered: true });
  });
  const stands = async (one) => {
    const moved = await one.evaluate(() => new Promise((done) => { setTimeout(() => done(window.moved), 300); }));
    assert.ok(moved < 0.1, `it jumps while it loads: ${moved}`);
  };
  await page.goto(`${base}/stats`);
  await page.getByText('catalog is current').waitFor();
  const list = page.locator('#list');
  await list.getByText('10.0.0.9 port 8080').waitFor();
  await stands(page);
  assert.ok(await page.locator('#dns svg rect').count() > 0, 'the DNS queries are drawn');
  assert.match(await page.locator('#requests svg title').textContent(), /^Requests: \d+ in the last/);

  if (shots) await traffic();

  // Live: it is there and goes without anybody touching the page.
  const late = { name: 'late', nodes: [{ id: 'l', address: '127.0.0.1', port: 4242 }] };
  await registry('POST', late);
  const row = page.locator('#list .service', { hasText: 'late' });
  await row.waitFor({ timeout: 8000 });
  await page.locator('#events li', { hasText: 'late registered' }).waitFor();
  if (shots) await page.screenshot({ path: `${shots}/stats.png` });
  await registry('DELETE', late);
  await row.waitFor({ state: 'detached', timeout: 8000 });
  await page.locator('#events li', { hasText: 'late deregistered' }).waitFor();
  assert.equal(await page.locator('#events li', { hasText: 'late registered' }).count(), 1, 'each change once');

  // Whatever a service says of itself is text.
  const odd = {
    name: 'odd', version: '<b>1</b>',
    nodes: [{ id: '<script>alert(1)</script>', port: 81, address: '127.0.0.1', metadata: { a: '<img src=x onerror=alert(1)>' } }],
  };
  await registry('POST', odd);
  await list.getByText('<script>alert(1)</script>').waitFor();
  assert.equal(await page.locator('#list script, #list img, #list b').count(), 0);
  await registry('DELETE', odd);
  await page.locator('#list .service', { hasText: 'odd' }).waitFor({ state: 'detached' });

  // Filter, by keyboard.
  await page.keyboard.press('Tab');
  assert.equal(await page.evaluate(() => document.activeElement.className), 'skip');
  await page.getByLabel('Filter').fill('10.0.0.9');
  await page.getByText('1 instance of 1 service').waitFor();
  assert.equal(await page.locator('#list .service').count(), 1);
  assert.equal(await page.locator('#tile-services').textContent(), '3', 'whatever the filter');
  await page.getByLabel('Filter').fill('');
  await page.waitForFunction(() => document.querySelectorAll('#list .service').length === 3);

  // Every input and figure has a name.
  assert.equal(await page.locator('svg[role=img]:not(:has(title))').count(), 0);
  assert.equal(await page.locator('h1').count(), 1);

  // In the dark, and on a phone.
  await page.emulateMedia({ colorScheme: 'dark' });
  const ground = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  assert.equal(ground, 'rgb(16, 21, 28)');
  if (shots) await page.screenshot({ path: `${shots}/stats-dark.png` });
  await page.evaluate(() => document.activeElement.blur());
  await page.setViewportSize({ width: 360, height: 740 });
  const wide = await page.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(wide <= 360, `it is ${wide} wide on a phone of 360`);
  if (shots) await page.screenshot({ path: `${shots}/stats-phone.png` });
  const phone = await context.newPage();
  await phone.setViewportSize({ width: 360, height: 740 });
  await phone.goto(`${base}/stats`);
  await phone.getByText('catalog is current').waitFor();
  await stands(phone);
  await phone.close();

  assert.deepEqual(wrong, [], 'nothing is wrong in the console');
  assert.deepEqual(elsewhere, [], 'nobody else is asked');
} finally {
  await browser.close();
}
