import assert from 'node:assert/strict';
import { chmodSync, copyFileSync, existsSync, mkdtempSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { NoBinary, type Places, candidates, find, judge, parseVersion } from '../src/binary';
import type { TunnelEvent } from '../src/events';
import { Tunnel } from '../src/tunnel';

const root = mkdtempSync(join(tmpdir(), 'p2pdbg-binary-'));
after(() => rmSync(root, { recursive: true }));

/** A directory with a program of this name in it that does this. */
function program(directory: string, script: string, mode = 0o755): string {
    const path = join(root, directory, 'p2pdbg');
    mkdirSync(join(root, directory), { recursive: true });
    writeFileSync(path, `#!/bin/sh\n${script}\n`);
    chmodSync(path, mode);
    return path;
}

const places = (changes: Partial<Places>): Places => ({
    setting: '', environmentPath: '', home: join(root, 'home'), extension: join(root, 'extension'), isWindows: false, ...changes,
});

const SAYS = 'echo "p2pdbg 0.1.0"';

test('the setting, then the PATH, then cargo\'s, then the bundled one', () => {
    const all = candidates(places({ environmentPath: '/a:relative::/b' }));
    assert.deepEqual(all, ['/a/p2pdbg', '/b/p2pdbg', join(root, 'home/.cargo/bin/p2pdbg'), join(root, 'extension/bin/p2pdbg')]);
    assert.deepEqual(candidates(places({ setting: '~/x' })), [join(root, 'home/x')]);
    assert.match(candidates(places({ isWindows: true }))[0] ?? '', /p2pdbg\.exe$/);
});

test('a file that cannot be run is passed over', async () => {
    program('not-executable', SAYS, 0o644);
    const bundled = program('extension/bin', SAYS);
    const found = await find(places({ environmentPath: join(root, 'not-executable') }));
    assert.deepEqual(found, { path: bundled, version: '0.1.0' });
    rmSync(bundled);
});

test('nothing anywhere is said with what was looked at', async () => {
    await assert.rejects(find(places({})), /not on the PATH, not in ~\/\.cargo\/bin/);
    await assert.rejects(find(places({ setting: '/nowhere/p2pdbg' })), /no program at \/nowhere\/p2pdbg.*p2pdbg\.path/);
});

test('another program, one that fails, and versions that do not fit are refused', async () => {
    for (const [script, expected] of [
        ['echo hello', /is not a p2pdbg that runs here: it says "hello/],
        ['exit 3', /is not a p2pdbg that runs here/],
        ['echo "p2pdbg 0.0.9"', /is version 0\.0\.9.*update p2pdbg/],
        ['echo "p2pdbg 1.0.0"', /is version 1\.0\.0.*update the extension/],
    ] as const) {
        const path = program('other', script);
        await assert.rejects(find(places({ setting: path })), (error: Error) => error instanceof NoBinary && expected.test(error.message));
    }
});

test('a version may have more behind it', () => {
    assert.equal(parseVersion('p2pdbg 0.1.0 (4a1f6c0 x86_64-unknown-linux-musl)\n'), '0.1.0');
    assert.equal(parseVersion('p2pdbg 0.1.0.5'), undefined);
    assert.equal(judge('0.9.12'), undefined);
});

/** Runs a program in place of p2pdbg until it has ended. */
function tunnel(path: string): Promise<Tunnel> {
    return new Promise(resolve => {
        const start = { program: path, arguments: ['listen'], directory: root, environment: process.env };
        const it: Tunnel = new Tunnel(start, {
            changed: (state, _event: TunnelEvent | undefined) => state.phase === 'ended' && setImmediate(() => resolve(it)),
            log: () => {},
        });
    });
}

test('a program that ends without a word of its own is a failure with its status and what it said', async () => {
    const path = program('silent', 'echo "cannot do it" >&2; exit 7');
    assert.equal((await tunnel(path)).state.failure?.message, 'p2pdbg listen has ended with status 7: cannot do it');
});

test('a program that was killed is a failure that names the signal', async () => {
    const path = program('killed', 'kill -KILL $$');
    assert.equal((await tunnel(path)).state.failure?.message, 'p2pdbg listen has ended by SIGKILL');
});

test('a program that is gone is a failure, not an exception', async () => {
    assert.match((await tunnel(join(root, 'gone'))).state.failure?.message ?? '', /cannot run .*gone/);
});

test('the failure that p2pdbg tells is the one that is shown', async () => {
    const path = program('told', `echo '{"event":"error","code":"port_in_use","message":"m","hint":"h"}'; exit 1`);
    assert.equal((await tunnel(path)).state.failure?.code, 'port_in_use');
});

/** Runs a program in place of p2pdbg until it has said that it waits for somebody. */
function waiting(path: string): Promise<Tunnel> {
    return new Promise(resolve => {
        const start = { program: path, arguments: ['listen'], directory: root, environment: process.env };
        const it: Tunnel = new Tunnel(start, { changed: state => state.phase === 'waiting' && resolve(it), log: () => {} });
    });
}

test('the round-trip time is learnt also of a p2pdbg behind a launcher', async () => {
    const session = '{"peer":"web-1","state":"connected","rtt_ms":7.5}';
    const path = program('launcher', `
        if [ "$1" = status ]; then
            printf '{"pid":1,"parent":%s,"command":"listen","sessions":[%s]}' "$(cat "$0.pid")" '${session}'
            exit
        fi
        echo $$ >"$0.pid"
        echo '{"event":"paired","peer":"web-1","known":true}'
        cat`);
    const start = { program: path, arguments: ['listen'], directory: root, environment: process.env };
    const learnt = await new Promise<Tunnel>(resolve => {
        const it: Tunnel = new Tunnel(start, { changed: state => state.rttMs === 7.5 && resolve(it), log: () => {} });
    });
    await learnt.stop();
});

const WAITS = `echo '{"event":"waiting","for":"peer"}'; while :; do sleep 0.1; done`;

test('stopping is by SIGTERM, which is no failure', async () => {
    const started = await waiting(program('stopped', `trap 'exit 143' TERM; ${WAITS}`));
    await started.stop();
    assert.equal(started.state.phase, 'ended');
    assert.equal(started.state.failure, undefined);
});

/** Whether a process lives. */
function lives(pid: number): boolean {
    try {
        return process.kill(pid, 0);
    } catch {
        return false;
    }
}

test('stopping npm\'s launcher ends the program that it started', { timeout: 60_000 }, async () => {
    const launcher = join(__dirname, '../../../../packaging/npm/bin');
    const name = `launcher/node_modules/p2pdbg-${process.platform}-${process.arch}/bin`;
    program(name, `echo $$ >"$0.pid"; ${WAITS}`);
    for (const file of ['p2pdbg.js', 'run.js']) {
        mkdirSync(join(root, 'launcher/bin'), { recursive: true });
        copyFileSync(join(launcher, file), join(root, 'launcher/bin', file));
    }
    const path = join(root, 'launcher/bin/p2pdbg.js');
    chmodSync(path, 0o755);
    const started = await waiting(path);
    await started.stop();
    assert.equal(lives(Number(readFileSync(join(root, name, 'p2pdbg.pid'), 'utf8'))), false);
    assert.equal(started.state.failure, undefined);
});

test('stopping is by the end of standard input where no signal is taken, as on Windows', async () => {
    const path = program('input', `[ "$2" = --until-stdin-ends ] || exit 2; trap '' TERM
        echo '{"event":"waiting","for":"peer"}'; cat >/dev/null; echo >"$0.ended"`);
    const started = await waiting(path);
    await started.stop();
    assert.equal(existsSync(`${path}.ended`), true);
    assert.equal(started.state.failure, undefined);
});

test('a program whose launcher was killed outright ends with its input', { timeout: 60_000 }, async () => {
    const path = program('orphan', `(cat >/dev/null; echo >"$0.ended") <&0 & ${WAITS}`);
    const started = await waiting(path);
    process.kill(started.pid ?? 0, 'SIGKILL');
    while (started.state.phase !== 'ended' || !existsSync(`${path}.ended`)) {
        await new Promise(resolve => setTimeout(resolve, 20));
    }
    assert.match(started.state.failure?.message ?? '', /SIGKILL/);
});

test('a program that leaves another behind, which holds its pipes, has ended all the same', { timeout: 60_000 }, async () => {
    const path = program('leaves', `sleep 1000 & echo $! >"$0.pid"; ${WAITS}`);
    const started = await waiting(path);
    await started.stop();
    assert.equal(started.state.phase, 'ended');
    process.kill(Number(readFileSync(`${path}.pid`, 'utf8')));
});

test('a program that is stopped is said not to answer, and a tunnel that is stopped is ended all the same', async () => {
    const silent = program('silent', 'kill -STOP $$');
    await assert.rejects(find(places({ setting: silent }), 300), /does not answer, or is stopped/);
    const started = await waiting(program('halted', WAITS));
    process.kill(started.pid ?? 0, 'SIGSTOP');
    await started.stop();
    assert.equal(started.state.phase, 'ended');
    assert.equal(started.state.failure, undefined);
});

test('the extension runs where the workspace is, and not in one that is not trusted or has no files of a host', () => {
    const manifest = JSON.parse(readFileSync(join(__dirname, '../../package.json'), 'utf8'));
    assert.deepEqual(manifest.extensionKind, ['workspace']);
    assert.equal(manifest.capabilities.untrustedWorkspaces.supported, false);
    assert.equal(manifest.capabilities.virtualWorkspaces.supported, false);
    // A path of this host's is none on another.
    assert.equal(manifest.contributes.configuration.properties['p2pdbg.path'].scope, 'machine-overridable');
});
