import assert from 'node:assert/strict';
import { test } from 'node:test';

import { choose, fill, lacks, parseIdeOutput, portOf, prepared, refusal } from '../src/fill';

const OUTPUT = `=== .vscode/launch.json
{ "version": "0.2.0", "configurations": [
  { "name": "p2pdbg node", "type": "node", "request": "attach", "address": "127.0.0.1", "port": 9229,
    "localRoot": "\${workspaceFolder}/web", "remoteRoot": "/srv/app" },
  { "name": "p2pdbg debugpy", "type": "debugpy", "request": "attach", "connect": { "host": "127.0.0.1", "port": 5679 },
    "pathMappings": [{ "localRoot": "\${workspaceFolder}", "remoteRoot": "/srv/app" }] },
  { "name": "p2pdbg debugpy, with the tunnel", "type": "debugpy", "request": "attach", "preLaunchTask": "p2pdbg tunnel",
    "connect": { "host": "127.0.0.1", "port": 5679 } }
] }

=== .vscode/tasks.json
{ "version": "2.0.0" }
`;
const made = parseIdeOutput(OUTPUT);
const NODE = made[0];
const PYTHON = made[1];

test('the configurations are found in what p2pdbg ide prints', () => {
    assert.deepEqual(made.map(one => one['name']), ['p2pdbg node', 'p2pdbg debugpy']);
    assert.deepEqual(parseIdeOutput('error: no session'), []);
    assert.deepEqual(parseIdeOutput('=== .vscode/launch.json\n[1]\n'), []);
});

test('one is chosen by type and port', () => {
    assert.equal(choose(made, 'pwa-node', 9229), NODE);
    assert.equal(choose(made, 'python', 5679), PYTHON);
    assert.equal(choose(made, 'debugpy', 5678), undefined);
});

test('the port is found wherever a debugger has it', () => {
    assert.equal(portOf({ miDebuggerServerAddress: '127.0.0.1:1234' }), 1234);
    assert.equal(portOf({ processCreateCommands: ['gdb-remote 127.0.0.1:1235'] }), 1235);
    assert.equal(portOf({ debugPort: '127.0.0.1:12345' }), 12345);
    assert.equal(portOf({ listen: { port: 5678 } }), 5678);
    assert.equal(portOf({ port: '5' }), undefined);
});

test('port and mapping are filled in, over the defaults of the debugger', () => {
    const own = { name: 'n', type: 'node', request: 'attach', p2pdbg: true };
    const resolved = { ...own, type: 'pwa-node', port: 9000, localRoot: null, remoteRoot: null, skipFiles: [] };
    const { configuration } = fill(resolved, own, NODE, 9229, '/home/me/app');
    assert.deepEqual(configuration, {
        ...resolved, address: '127.0.0.1', port: 9229, localRoot: '/home/me/app/web', remoteRoot: '/srv/app',
    });
});

test('the mapping of the user stays, the port is the tunnel\'s', () => {
    const own = { type: 'debugpy', host: 'x', port: 1, pathMappings: [{ localRoot: '/a', remoteRoot: '/b' }] };
    const { configuration } = fill(own, own, PYTHON, 5679, '/f');
    assert.deepEqual(configuration, { type: 'debugpy', pathMappings: own.pathMappings, connect: { host: '127.0.0.1', port: 5679 } });
});

test('a debugger that p2pdbg has no configuration for gets host and port', () => {
    const { configuration } = fill({ type: 'x', port: 7 }, {}, undefined, 9, undefined);
    assert.deepEqual(configuration, { type: 'x', host: '127.0.0.1', port: 9 });
});

test('what looks like a variable in the path of the peer is left out', () => {
    for (const remoteRoot of ['/srv/${env:SECRET}', '${command:evil}', '/x:${workspaceFolder}${env:HOME}']) {
        const evil = { type: 'debugpy', connect: { port: 5 }, pathMappings: [{ localRoot: '${workspaceFolder}', remoteRoot }] };
        const { configuration, leftOut } = fill({ type: 'debugpy' }, {}, evil, 5, '/f');
        assert.deepEqual(leftOut, ['pathMappings'], remoteRoot);
        assert.deepEqual(configuration, { type: 'debugpy', connect: { port: 5 } });
    }
    const key = { type: 'go', sourceFileMap: { '/a/${file}': '${workspaceFolder}' }, port: 1 };
    assert.deepEqual(fill({}, {}, key, 1, '/f').leftOut, ['sourceFileMap']);
});

test('rdbg\'s list has the folder in it', () => {
    const rdbg = { type: 'rdbg', debugPort: '127.0.0.1:12345', localfsMap: '/srv:${workspaceFolder},/real:${workspaceFolder}' };
    assert.equal(fill({}, {}, rdbg, 12345, '/f').configuration['localfsMap'], '/srv:/f,/real:/f');
    assert.deepEqual(fill({}, {}, rdbg, 12345, undefined).leftOut, ['localfsMap']);
});

test('what the debugger\'s extension has put in gives way to p2pdbg\'s, what the user wrote stays', () => {
    const go = { type: 'go', request: 'attach', mode: 'remote', host: '127.0.0.1', port: 2345 };
    const own = { type: 'go', request: 'attach', p2pdbg: true };
    assert.equal(fill({ ...own, mode: 'local', processId: 1 }, own, go, 2345, '/f').configuration['mode'], 'remote');
    assert.equal(fill({ ...own, mode: 'mine' }, { ...own, mode: 'mine' }, go, 2345, '/f').configuration['mode'], 'mine');
    assert.match(lacks(own) ?? '', /"mode": "remote"/);
    assert.equal(lacks({ ...own, mode: 'remote' }), undefined);
});

test('Java\'s extension is given a place to attach to, which the tunnel\'s replaces', () => {
    const own = { type: 'java', request: 'attach', p2pdbg: true };
    const before = prepared(own);
    assert.deepEqual(before, { ...own, hostName: '127.0.0.1', port: 1 });
    const made = { type: 'java', request: 'attach', hostName: '127.0.0.1', port: 5005 };
    assert.equal(fill(before, own, made, 5005, '/f').configuration['port'], 5005);
    for (const other of [{ ...own, port: 5 }, { ...own, processId: '7' }, { ...own, request: 'launch' }, { ...own, type: 'go' }]) {
        assert.equal(prepared(other), other);
    }
});

test('without what p2pdbg ide says a debugger that it knows is not attached to', () => {
    const failed = { status: 1, stderr: 'error: several sessions run: a; b\n' };
    assert.match(refusal('cppdbg', 'gdbserver', failed) ?? '', /several sessions run/);
    assert.match(refusal('cppdbg', 'gdbserver', { status: 3, stderr: '' }) ?? '', /status 3/);
    assert.equal(refusal('cppdbg', 'gdbserver', { status: 0, stderr: 'note: x' }), undefined);
    assert.equal(refusal('cppdbg', undefined, failed), undefined);
    assert.equal(refusal('mystery', 'gdbserver', failed), undefined);
});
