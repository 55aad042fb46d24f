// The page of /stats. It requests `stats/view` every few seconds, and at once when `v1/watch` reports a change.
// External data is inserted as text, never as markup.
'use strict';

const INTERVAL_MS = 5000;
// The shortest interval between two requests, however many changes there are.
const INTERVAL_MIN_MS = 700;
const EVENTS_SHOWN = 100;

const byId = (id) => document.getElementById(id);
const state = { after: null, loading: false, again: false, last: 0, timer: 0, watch: null, view: null };

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

// A bar per window; `parts` has the class and the value of each layer.
function chart(id, label, windows, parts) {
  // The width in pixels, so that its text has the size of all other text.
  const width = Math.max(240, byId(id).clientWidth);
  const [height, left, bottom] = [112, 34, 14];
  const slots = Math.max(24, windows.length);
  const sums = windows.map((window) => parts.reduce((sum, part) => sum + part.of(window), 0));
  const max = Math.max(1, ...sums);
  const image = svg('svg', { viewBox: `0 0 ${width} ${height}`, role: 'img' });
  const total = sums.reduce((sum, one) => sum + one, 0);
  const name = `${label}: ${count(total)} in the last ${windows.length * 5} seconds, at most ${count(Math.max(0, ...sums))} in 5 seconds`;
  image.append(svg('title', {}, name));
  const room = height - bottom - 6;
  for (const share of [0, 0.5, 1]) {
    const y = 6 + room * (1 - share);
    image.append(svg('line', { x1: left, x2: width, y1: y, y2: y }));
  }
  image.append(svg('text', { x: 0, y: 14 }, count(max)), svg('text', { x: 0, y: height - bottom }, '0'));
  image.append(svg('text', { x: left, y: height - 2 }, `${slots * 5} s ago`));
  image.append(svg('text', { x: width, y: height - 2, 'text-anchor': 'end' }, 'now'));
  const step = (width - left) / slots;
  windows.forEach((window, at) => {
    let y = 6 + room;
    for (const part of parts) {
      const tall = room * part.of(window) / max;
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
  chart('dns', 'DNS queries', windows, [{ class: 'ok', of: (window) => window.dns }]);
  const complete = windows.length > 1 ? windows[windows.length - 2] : null;
  show('requests-now', complete ? `${(complete.total_reqs / 5).toFixed(1)} per second` : '');
  show('dns-now', complete ? `${(complete.dns / 5).toFixed(1)} per second` : '');
}

// The text is announced by screen readers when it changes; the age beside it changes all the time and is not.
function status(kind, text, age = '') {
  byId('status').className = `status ${kind}`;
  show('status-text', text);
  show('status-age', age);
  document.title = kind === 'good' ? 'skyhound' : `skyhound: ${text}`;
}

function summary(view) {
  const { state: is } = view;
  const store = is.store;
  if (is.catalog === 'current') status('good', 'catalog is current');
  else if (is.catalog === 'stale') status('old', 'the store is unavailable;', `the catalog is ${duration(is.stale_seconds)} old`);
  else status('bad', 'the store was never loaded');
  show('version', view.version);
  show('tile-services', count(view.service_count));
  show('tile-entries', count(is.entries));
  show('tile-claims', count(is.claims));
  show('tile-quarantine', count(is.quarantined));
  byId('tile-bad').classList.toggle('some', is.quarantined > 0);
  if (is.quarantined > 0) byId('tile-quarantine').setAttribute('href', '#quarantine-box');
  else byId('tile-quarantine').removeAttribute('href');
  show('tile-up', duration(Math.max(0, view.now - view.started)));
  show('tile-memory', `${view.memory_mb.toFixed(1)} MiB`);
  show('store', store.reachable
    ? `Store: ${store.kind} ${store.version || ''} ${store.location || ''}, revision ${store.revision}${store.revision === is.revision ? '' : `; catalog at revision ${is.revision}`}`
    : `${store.error[0].toUpperCase()}${store.error.slice(1)}; catalog at revision ${is.revision}`);
}

const COLUMNS = [
  ['Address', (one) => one.address], ['Id', (one) => one.id], ['Version', (one) => one.version],
  ['Frontend', (one) => el('span', { class: 'badge' }, one.frontend || 'none')],
  ['Priority / weight', (one) => `${one.priority} / ${one.weight}`], ['Lifetime', (one) => one.lifetime],
];

function service(one, open) {
  const names = COLUMNS.map(([name]) => el('th', { scope: 'col' }, name));
  const head = el('thead', {}, el('tr', {}, ...names));
  // The keys, by which the store orders them, mean nothing to a reader.
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
    const opened = new Map([...list.children].map((box) => [box.dataset.name, box.open]));
    const few = view.services.length <= 12;
    const focus = document.activeElement && document.activeElement.closest ? document.activeElement.closest('.service') : null;
    list.replaceChildren(...view.services.map((one) => service(one, opened.get(one.name) ?? few)));
    // A service that had the focus keeps it.
    if (focus) [...list.children].find((box) => box.dataset.name === focus.dataset.name)?.querySelector('summary').focus();
  }
  const filter = byId('filter').value.trim();
  const total = view.services.reduce((sum, one) => sum + one.count, 0);
  const named = filter ? ` with “${filter}”` : '';
  const all = view.services.length + view.more_services;
  let found = `${plural(total, 'instance')} of ${plural(view.services.length, 'service')}${named}`;
  if (view.more_services > 0) found = `The first ${count(view.services.length)} of ${count(all)} services${named}; filter for the others`;
  if (!filter && all === 0) found = 'No services are registered.';
  show('found', found);
}

const WORDS = { put: ['+', 'registered'], delete: ['−', 'deregistered'], expire: ['×', 'expired'] };

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
      el('span', { class: 'who' }, `${change.service} ${words}: ${change.address}`, change.frontend ? ` (${change.frontend})` : ''),
      when));
  }
  while (list.children.length > EVENTS_SHOWN) list.lastChild.remove();
  byId('no-events').hidden = list.children.length > 0;
}

function quarantine(view) {
  byId('quarantine-box').hidden = view.quarantine.length === 0;
  byId('quarantine').replaceChildren(...view.quarantine.map((bad) => el('li', {}, el('code', {}, bad.key), ` ${bad.reason}`)));
}

// One request at a time; a refresh that is wanted meanwhile follows it.
async function refresh() {
  if (state.loading) {
    state.again = true;
    return;
  }
  state.loading = true;
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
    summary(view);
    state.view = view;
    charts(view.counters);
    services(view);
    events(view, first);
    quarantine(view);
    state.after = view.last_change;
    if (!state.watch) watch(view);
  } catch (error) {
    status('bad', 'this daemon does not respond; trying again');
  }
  state.last = Date.now();
  state.loading = false;
  document.documentElement.dataset.refreshes = String(Number(document.documentElement.dataset.refreshes || 0) + 1);
  // A hidden page is refreshed only after a change.
  if (state.again || !document.hidden) state.timer = setTimeout(refresh, state.again ? INTERVAL_MIN_MS : INTERVAL_MS);
  state.again = false;
}

function refreshSoon() {
  if (state.loading) {
    state.again = true;
    return;
  }
  clearTimeout(state.timer);
  state.timer = setTimeout(refresh, Math.max(0, state.last + INTERVAL_MIN_MS - Date.now()));
}

// The events only trigger a refresh: the view has all the data.
function watch(view) {
  state.watch = new EventSource(`${view.watch}?last-event-id=${encodeURIComponent(view.position)}`);
  for (const kind of ['set', 'put', 'delete', 'expire']) state.watch.addEventListener(kind, refreshSoon);
  // The browser reconnects after a lost connection. After an error response (the daemon stops), the next refresh starts
  // a new stream.
  state.watch.addEventListener('error', (event) => {
    if (event.target.readyState !== EventSource.CLOSED) return;
    if (state.watch === event.target) state.watch = null;
    refreshSoon();
  });
}

let typing = 0;
byId('filter').addEventListener('input', () => {
  clearTimeout(typing);
  typing = setTimeout(() => refresh(), 200);
});
addEventListener('resize', () => state.view && charts(state.view.counters));
document.addEventListener('visibilitychange', () => {
  if (!document.hidden) refreshSoon();
});
refresh();
