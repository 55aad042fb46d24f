// The page of /stats. It asks for `stats/view` every few seconds, and at once when `v1/watch` says that something
// changed. Whatever comes from outside is put in as text, never as markup.
'use strict';

const EVERY_MS = 5000;
// So often at the most, however much changes.
const LEAST_MS = 700;
const EVENTS_SHOWN = 100;

const byId = (id) => document.getElementById(id);
const state = { after: null, asking: false, again: false, last: 0, timer: 0, watch: null, view: null };

function el(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function svg(name, attributes, text) {
  const made = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

function show(id, text) {
  const at = byId(id);
  if (at.textContent !== text) at.textContent = text;
}

const count = (number) => Number(number).toLocaleString('en');
const plural = (number, one) => `${count(number)} ${one}${number === 1 ? '' : 's'}`;

function duration(seconds) {
  const parts = [[86400, 'd'], [3600, 'h'], [60, 'min'], [1, 's']];
  const first = parts.findIndex(([size]) => seconds >= size);
  if (first < 0) return '0 s';
  return parts.slice(first, first + 2).map(([size, unit], at) => {
    const value = Math.floor((at === 0 ? seconds : seconds % parts[first][0]) / size);
    return value || at === 0 ? `${value} ${unit}` : '';
  }).join(' ').trim();
}

// Bars, one a window; `parts` says the class of each layer and its number.
function chart(id, what, windows, parts) {
  // As wide as it is shown, so that its letters are as large as all others.
  const width = Math.max(240, byId(id).clientWidth);
  const [height, left, bottom] = [112, 34, 14];
  const slots = Math.max(24, windows.length);
  const sums = windows.map((window) => parts.reduce((sum, part) => sum + part.of(window), 0));
  const most = Math.max(1, ...sums);
  const image = svg('svg', { viewBox: `0 0 ${width} ${height}`, role: 'img' });
  const total = sums.reduce((sum, one) => sum + one, 0);
  const name = `${what}: ${count(total)} in the last ${windows.length * 5} seconds, at most ${count(Math.max(0, ...sums))} in 5 seconds`;
  image.append(svg('title', {}, name));
  const room = height - bottom - 6;
  for (const share of [0, 0.5, 1]) {
    const y = 6 + room * (1 - share);
    image.append(svg('line', { x1: left, x2: width, y1: y, y2: y }));
  }
  image.append(svg('text', { x: 0, y: 14 }, count(most)), svg('text', { x: 0, y: height - bottom }, '0'));
  image.append(svg('text', { x: left, y: height - 2 }, `${slots * 5} s ago`));
  image.append(svg('text', { x: width, y: height - 2, 'text-anchor': 'end' }, 'now'));
  const step = (width - left) / slots;
  windows.forEach((window, at) => {
    let y = 6 + room;
    for (const part of parts) {
      const tall = room * part.of(window) / most;
      if (tall <= 0) continue;
      y -= tall;
      const x = left + (slots - windows.length + at) * step;
      image.append(svg('rect', { class: part.class, x: x + 1, y, width: step - 2, height: tall, rx: 1 }));
    }
  });
  byId(id).replaceChildren(image);
}

function charts(windows) {
  const codes = (...digits) => (window) => digits.reduce((sum, digit) => sum + (window.status_codes[`${digit}0x`] || 0), 0);
  chart('requests', 'Requests', windows, [
    { class: 'ok', of: codes(1, 2, 3) }, { class: 'client', of: codes(4) }, { class: 'server', of: codes(5) },
  ]);
  chart('dns', 'DNS questions', windows, [{ class: 'ok', of: (window) => window.dns }]);
  const done = windows.length > 1 ? windows[windows.length - 2] : null;
  show('requests-now', done ? `${(done.total_reqs / 5).toFixed(1)} a second` : '');
  show('dns-now', done ? `${(done.dns / 5).toFixed(1)} a second` : '');
}

// What is read aloud when it changes, and beside it what changes all the time.
function status(kind, text, age = '') {
  byId('status').className = `status ${kind}`;
  show('status-text', text);
  show('status-age', age);
  document.title = kind === 'good' ? 'skyhound' : `skyhound: ${text}`;
}

function glance(view) {
  const { state: is } = view;
  const store = is.store;
  if (is.catalog === 'following') status('good', 'following the store');
  else if (is.catalog === 'stale') status('old', 'the store is away;', `this is what was known ${duration(is.stale_seconds)} ago`);
  else status('bad', 'the store was never read');
  show('version', view.version);
  show('tile-services', count(view.all_services));
  show('tile-entries', count(is.entries));
  show('tile-claims', count(is.claims));
  show('tile-quarantine', count(is.quarantined));
  byId('tile-bad').classList.toggle('some', is.quarantined > 0);
  if (is.quarantined > 0) byId('tile-quarantine').setAttribute('href', '#quarantine-box');
  else byId('tile-quarantine').removeAttribute('href');
  show('tile-up', duration(Math.max(0, view.now - view.started)));
  show('tile-memory', `${view.memory_mb.toFixed(1)} MiB`);
  show('store', store.reachable
    ? `Store: ${store.kind} ${store.version || ''} ${store.place || ''}, revision ${store.revision}${store.revision === is.revision ? '' : `; known here: ${is.revision}`}`
    : `${store.error[0].toUpperCase()}${store.error.slice(1)}; known here: revision ${is.revision}`);
}

const COLUMNS = [
  ['Address', (one) => one.address], ['Id', (one) => one.id], ['Version', (one) => one.version],
  ['Through', (one) => el('span', { class: 'badge' }, one.dialect || 'the store')],
  ['Priority / weight', (one) => `${one.priority} / ${one.weight}`], ['Stays', (one) => one.held],
];

function service(one, open) {
  const names = COLUMNS.map(([name]) => el('th', { scope: 'col' }, name));
  const head = el('thead', {}, el('tr', {}, ...names));
  // The store has them by keys that say nothing to people.
  const byAddress = (a, b) => a.address.localeCompare(b.address, 'en', { numeric: true });
  const rows = [...one.instances].sort(byAddress).map((instance) => el('tr', { title: instance.key },
    ...COLUMNS.map(([name, of]) => el('td', { 'data-label': name }, of(instance)))));
  const box = el('details', { class: 'service', 'data-name': one.name },
    el('summary', {}, one.name, el('span', { class: 'faint' }, plural(one.count, 'instance'))),
    el('table', {}, head, el('tbody', {}, ...rows)));
  if (one.count > one.instances.length) {
    box.append(el('p', { class: 'more faint' }, `and ${count(one.count - one.instances.length)} more`));
  }
  box.open = open;
  return box;
}

function services(view) {
  const list = byId('list');
  const text = JSON.stringify(view.services);
  if (list.dataset.shown !== text) {
    list.dataset.shown = text;
    const known = new Map([...list.children].map((box) => [box.dataset.name, box.open]));
    const few = view.services.length <= 12;
    const focus = document.activeElement && document.activeElement.closest ? document.activeElement.closest('.service') : null;
    list.replaceChildren(...view.services.map((one) => service(one, known.get(one.name) ?? few)));
    // Whoever stood on a service stands on it still.
    if (focus) [...list.children].find((box) => box.dataset.name === focus.dataset.name)?.querySelector('summary').focus();
  }
  const filter = byId('filter').value.trim();
  const total = view.services.reduce((sum, one) => sum + one.count, 0);
  const named = filter ? ` with “${filter}”` : '';
  const all = view.services.length + view.more_services;
  let found = `${plural(total, 'instance')} of ${plural(view.services.length, 'service')}${named}`;
  if (view.more_services > 0) found = `The first ${count(view.services.length)} of ${count(all)} services${named}; filter for the others`;
  if (!filter && all === 0) found = 'Nobody has registered yet.';
  show('found', found);
}

const WORDS = { put: ['+', 'is there'], delete: ['−', 'has left'], expire: ['×', 'has expired'] };

function events(view, first) {
  const list = byId('events');
  const time = new Date();
  for (const change of view.changes) {
    const [sign, words] = WORDS[change.kind];
    const when = first
      ? el('span', { class: 'when' }, 'before')
      : el('time', { datetime: time.toISOString() }, time.toLocaleTimeString());
    list.prepend(el('li', { class: first ? change.kind : `${change.kind} new` },
      el('span', { class: 'what', 'aria-hidden': 'true' }, sign),
      el('span', { class: 'who' }, `${change.service} ${words}: ${change.address}`, change.dialect ? ` (${change.dialect})` : ''),
      when));
  }
  while (list.children.length > EVENTS_SHOWN) list.lastChild.remove();
  byId('no-events').hidden = list.children.length > 0;
}

function quarantine(view) {
  byId('quarantine-box').hidden = view.quarantine.length === 0;
  byId('quarantine').replaceChildren(...view.quarantine.map((bad) => el('li', {}, el('code', {}, bad.key), ` ${bad.reason}`)));
}

// One question at a time; what was asked for meanwhile is asked afterwards.
async function refresh() {
  if (state.asking) {
    state.again = true;
    return;
  }
  state.asking = true;
  clearTimeout(state.timer);
  try {
    const query = new URLSearchParams();
    const filter = byId('filter').value.trim();
    if (filter) query.set('q', filter);
    if (state.after !== null) query.set('after', state.after);
    const reply = await fetch(`stats/view?${query}`, { cache: 'no-store' });
    if (!reply.ok) throw new Error(`${reply.status}`);
    const view = await reply.json();
    const first = state.after === null || view.last_change < state.after;
    glance(view);
    state.view = view;
    charts(view.counters);
    services(view);
    events(view, first);
    quarantine(view);
    state.after = view.last_change;
    if (!state.watch) watch(view);
  } catch (error) {
    status('bad', 'this daemon does not answer; trying again');
  }
  state.last = Date.now();
  state.asking = false;
  document.documentElement.dataset.asked = String(Number(document.documentElement.dataset.asked || 0) + 1);
  // A page that nobody looks at asks only when something has changed.
  if (state.again || !document.hidden) state.timer = setTimeout(refresh, state.again ? LEAST_MS : EVERY_MS);
  state.again = false;
}

function soon() {
  if (state.asking) {
    state.again = true;
    return;
  }
  clearTimeout(state.timer);
  state.timer = setTimeout(refresh, Math.max(0, state.last + LEAST_MS - Date.now()));
}

// What it says is asked for from the view, which has everything; it only says when.
function watch(view) {
  state.watch = new EventSource(`${view.watch}?last-event-id=${encodeURIComponent(view.position)}`);
  for (const kind of ['set', 'put', 'delete', 'expire']) state.watch.addEventListener(kind, soon);
  // A lost connection is taken up again by itself; after a refusal (the daemon stops) the next answer starts anew.
  state.watch.addEventListener('error', (event) => {
    if (event.target.readyState !== EventSource.CLOSED) return;
    if (state.watch === event.target) state.watch = null;
    soon();
  });
}

let typing = 0;
byId('filter').addEventListener('input', () => {
  clearTimeout(typing);
  typing = setTimeout(() => refresh(), 200);
});
addEventListener('resize', () => state.view && charts(state.view.counters));
document.addEventListener('visibilitychange', () => {
  if (!document.hidden) soon();
});
refresh();
