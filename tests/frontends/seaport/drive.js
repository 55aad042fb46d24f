// Drives the original seaport for a test: commands come as JSON lines, answers and events go as JSON lines.
'use strict';
const fs = require('fs');
const [modules, arg] = process.argv.slice(2);
const seaport = require(modules + '/seaport');
const options = arg ? JSON.parse(fs.readFileSync(arg, 'utf8')) : {};
const say = (value) => process.stdout.write(JSON.stringify(value) + '\n');
let ports;

function begin(made) {
    ports = made;
    for (const event of ['register', 'free']) ports.on(event, (meta) => say({ event, meta }));
    for (const event of ['connect', 'disconnect', 'synced', 'reject']) ports.on(event, () => say({ event }));
}

const verbs = {
    connect: (port, host) => begin(seaport.connect(port, host, options)),
    listen: (port, host) => {
        begin(seaport.createServer(Object.assign({}, options)));
        ports.listen(port, host, () => say({ event: 'listening', port: ports.address().port }));
    },
    peer: (port, host) => ports.peer(port, host),
    register: (role, more) => ports.registerMeta(role, more || {}),
    query: (pattern) => ports.query(pattern || undefined),
    get: (pattern) => { ports.get(pattern, (found) => say({ event: 'got', found })); },
    free: (what) => ports.free(what),
    set: (id, meta) => ports.set(id, meta),
    close: () => ports.close(),
};

let text = '';
process.stdin.on('data', (chunk) => {
    const lines = (text += chunk).split('\n');
    text = lines.pop();
    for (const line of lines) {
        const [verb, ...args] = JSON.parse(line);
        const value = verbs[verb](...args);
        if (['register', 'query'].includes(verb)) say({ answer: value });
    }
});
process.stdin.on('end', () => process.exit(0));
