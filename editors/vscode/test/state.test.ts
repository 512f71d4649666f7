import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Lines, parseEvent, parseLine } from '../src/events';
import { BEGIN, type State, after, forwardFor, isAwaited, isOf, running } from '../src/state';
import { differWords, failureWords, pathWords, plain, progressWords, statusText, tooltip } from '../src/words';

const tell = (...lines: string[]): State =>
    lines.reduce((state, line) => {
        const event = parseEvent(line);
        return event === undefined ? state : after(state, event);
    }, BEGIN);

const READY = '{"event":"ready","code":"482913-orbit-lemon-tiger","command":"p2pdbg connect 482913-orbit-lemon-tiger"}';
const PAIRED = '{"event":"paired","peer":"web-1","known":false}';
const FORWARD = '{"event":"forward","direction":"to_debuggee","listen":"127.0.0.1:5678","to":"localhost:5678","debugger":"debugpy"}';
const DIRECT = '{"event":"path","kind":"direct","via":"udp","rtt_ms":40.2,"after_ms":1,"why":"punched"}';

test('lines are cut wherever the pieces are', () => {
    const lines = new Lines();
    assert.deepEqual(lines.push('{"a"'), []);
    assert.deepEqual(lines.push(':1}\n\n{"b":2}\n{'), ['{"a":1}', '{"b":2}']);
    assert.deepEqual(lines.push('}\n'), ['{}']);
});

test('a line without end is dropped, and the next one read', () => {
    const lines = new Lines();
    assert.deepEqual(lines.push('x'.repeat((1 << 20) + 1)), []);
    assert.deepEqual(lines.push('tail'), []);
    assert.deepEqual(lines.push('end\n{}\n'), ['{}']);
});

test('what is no event, or of a wrong shape, is passed over', () => {
    for (const line of ['', 'hello', '[]', 'null', '{"event":5}', '{"event":"of-tomorrow"}']) {
        assert.equal(parseEvent(line), undefined, line);
    }
    const odd = parseEvent('{"event":"sources","differ":[1,"a.py",null],"more":"x"}');
    assert.deepEqual(odd, { event: 'sources', differ: ['a.py'], more: 0 });
});

test('a session goes from code to path', () => {
    assert.equal(tell(READY).phase, 'code');
    assert.equal(statusText(tell(READY)), '$(key) 482913-orbit-lemon-tiger');
    const up = tell(READY, PAIRED, FORWARD, DIRECT);
    assert.equal(up.phase, 'connected');
    assert.equal(up.code, undefined);
    assert.equal(statusText(up), '$(plug) web-1 · direct · 40 ms');
    assert.deepEqual(forwardFor(up, 'debugpy', undefined)?.port, 5678);
    assert.equal(forwardFor(up, 'node', undefined), undefined);
    assert.equal(forwardFor(up, 'debugpy', 5679), undefined);
});

test('the line for a host without p2pdbg is known as long as its code, and goes when a code comes without one', () => {
    const ready = '{"event":"ready","code":"1-a-b-c","command":"p2pdbg connect 1-a-b-c","without_install":"fetch it"}';
    assert.equal(tell(ready).withoutInstall, 'fetch it');
    assert.equal(tell(ready).command, 'p2pdbg connect 1-a-b-c');
    assert.equal(tell(READY).withoutInstall, undefined);
    for (const line of [READY, PAIRED, '{"event":"resumed","gap_ms":1,"streams":0}', '{"event":"error","code":"x","message":"y"}']) {
        assert.equal(tell(ready, line).withoutInstall, undefined, line);
    }
});

test('an outage shows, and its end', () => {
    const lost = tell(READY, PAIRED, FORWARD, DIRECT, '{"event":"peer_lost","streams":1}');
    assert.equal(statusText(lost), '$(sync~spin) web-1 is out of reach');
    assert.match(tooltip(lost), /held until it is back/);
    assert.equal(lost.forwards.length, 1);
    const back = after(lost, { event: 'resumed', gapMs: 5, streams: 1 });
    assert.equal(back.phase, 'connected');
});

test('a new code in an outage leaves it one, and is gone with it', () => {
    const lost = tell(PAIRED, FORWARD, '{"event":"peer_lost","streams":1}', READY);
    assert.equal(statusText(lost), '$(sync~spin) web-1 is out of reach');
    assert.equal(lost.code, '482913-orbit-lemon-tiger');
    const back = after(lost, { event: 'resumed', gapMs: 5, streams: 1 });
    assert.deepEqual([back.phase, back.code, back.command], ['connected', undefined, undefined]);
});

test('a new code in an outage is shown to who starts debugging, until the peer is back', () => {
    const lost = tell(PAIRED, FORWARD, '{"event":"peer_lost","streams":1}');
    assert.deepEqual([isAwaited(lost), progressWords(lost, 'web-1')], [false, 'web-1 is out of reach; waiting for it']);
    const offered = after(lost, { event: 'ready', code: '482913-orbit-lemon-tiger', command: 'p2pdbg connect' });
    assert.ok(isAwaited(offered));
    assert.equal(progressWords(offered, 'web-1'), 'web-1 is out of reach; waiting for it, or code 482913-orbit-lemon-tiger');
    assert.ok(!isAwaited(after(offered, { event: 'resumed', gapMs: 5, streams: 1 })));
    assert.deepEqual([tell(READY), tell(PAIRED), BEGIN].map(isAwaited), [true, false, false]);
});

test('a session that is over leaves nothing of its own', () => {
    const over = tell(READY, PAIRED, FORWARD, DIRECT, '{"event":"sources","differ":["a"]}', '{"event":"closed","why":"x"}');
    assert.deepEqual([over.phase, over.forwards.length, over.differ.length, over.path], ['waiting', 0, 0, undefined]);
    assert.equal(tell(READY, PAIRED, '{"event":"closed","why":"x"}', READY).phase, 'code');
});

test('a failure ends it', () => {
    const failed = tell('{"event":"error","code":"port_in_use","message":"cannot open port 1","hint":"end it"}');
    assert.equal(failed.phase, 'ended');
    assert.equal(failureWords(failed.failure ?? { message: '' }), 'Cannot open port 1. To mend it: end it.');
});

test('streams come and go, with what was seen of the debugger', () => {
    const open = '{"event":"stream","id":1,"state":"open","to":"localhost:5678","debugger":{"protocol":"dap","name":"debugpy","version":"1.8","program":"stopped","file":"/srv/app/app.py","line":17}}';
    const state = tell(READY, PAIRED, FORWARD, open);
    assert.equal(state.streams.get(1)?.debugger, 'debugpy 1.8, stopped at app.py:17');
    assert.equal(tell(READY, PAIRED, open, '{"event":"stream","id":1,"state":"closed","to":"x"}').streams.size, 0);
});

test('a peer cannot open streams in the window without end', () => {
    let state = tell(PAIRED);
    for (let id = 0; id < 600; id += 1) {
        state = after(state, { event: 'stream', id, state: 'open', to: 'x' });
    }
    assert.equal(state.streams.size, 500);
});

test('text of the peer is no icon', () => {
    const state = tell('{"event":"paired","peer":"$(alert) root","known":true}', DIRECT);
    assert.ok(!statusText(state).includes('$(alert)'));
    assert.equal(plain('x'.repeat(1000)).length, 300);
});

test('words for ways and differences', () => {
    const relay = tell(PAIRED, '{"event":"path","kind":"relay","via":"tcp","rtt_ms":3.14,"why":""}');
    assert.equal(pathWords(relay), 'relay over TCP · 3.1 ms');
    const web = tell(PAIRED, '{"event":"path","kind":"relay","via":"websocket","rtt_ms":3.14,"why":""}');
    assert.equal(pathWords(web), 'relay by WebSocket · 3.1 ms');
    assert.equal(differWords({ ...BEGIN, differ: ['a'] }), '1 file differs');
    assert.equal(differWords({ ...BEGIN, differ: ['a', 'b'], more: 3 }), '5 files differ');
});

test('the sessions of other windows are read from the status', () => {
    const line =
        '{"pid":42,"command":"listen","sessions":[{"peer":"web","known":true,"state":"connected","rtt_ms":7,' +
        '"paths":[{"kind":"direct","via":"udp"}],"forwards":[' +
        '{"direction":"to_debuggee","listen":"127.0.0.1:9229","to":"localhost:9229","debugger":"node","state":"up"},' +
        '{"direction":"to_debuggee","listen":"127.0.0.1:1","to":"localhost:1","state":"failed"}],"streams":[{"id":1,"to":"a"}]}]}';
    const all = running([parseLine(line), parseLine('{"pid":1,"command":"connect","sessions":[]}'), undefined, {}]);
    assert.equal(all.length, 1);
    assert.equal(all[0]?.pid, 42);
    assert.deepEqual(all[0]?.state.forwards, [{ toDebuggee: true, port: 9229, debugger: 'node' }]);
    assert.equal(all[0]?.state.rttMs, 7);
});

test('a session is of the process that was started, or of the launcher that was', () => {
    const [one] = running([parseLine('{"pid":42,"parent":41,"command":"listen","sessions":[{"peer":"web","state":"connected"}]}')]);
    assert.ok(one !== undefined);
    assert.deepEqual([42, 41, 40, undefined].map(pid => isOf(one, pid)), [true, true, false, false]);
    const { parent: _parent, ...untold } = one;
    assert.equal(isOf(untold, undefined), false);
});
