import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Uses, forget } from '../src/uses';

test('one of two that wait gives up, and the tunnel stays for the other', () => {
    const uses = new Uses();
    const [first, second] = [uses.begin(), uses.begin()];
    assert.equal(uses.giveBack(first), true);
    assert.equal(uses.isFree, false);
    assert.equal(uses.giveBack(second), true);
    assert.equal(uses.isFree, true);
});

test('who gives up during an outage leaves the tunnel to the sessions that use it', () => {
    const uses = new Uses();
    uses.started('session', uses.begin());
    uses.giveBack(uses.begin());
    assert.equal(uses.isFree, false);
    assert.equal(uses.isDebugged, true);
    uses.ended('session', undefined);
    assert.equal(uses.isFree, true);
});

test('a use passes to its session, and is no more given back', () => {
    const uses = new Uses();
    const use = uses.begin();
    uses.started('parent', use);
    uses.started('child', use);
    uses.started('child', use);
    assert.equal(uses.giveBack(use), false);
    uses.ended('parent', use);
    assert.equal(uses.isFree, false);
    uses.ended('child', use);
    assert.equal(uses.isFree, true);
});

test('a session that is just starting keeps the tunnel when another one ends', () => {
    const uses = new Uses();
    uses.started('old', uses.begin());
    const use = uses.begin();
    assert.equal(uses.wasDebugged, false);
    uses.ended('old', undefined);
    assert.equal(uses.wasDebugged, true);
    assert.equal(uses.isFree, false);
    assert.equal(uses.isDebugged, false);
    // It never starts.
    assert.equal(uses.giveBack(use), true);
    assert.equal(uses.isFree, true);
});

test('a session of an earlier tunnel takes no use of the one in its place', () => {
    const [earlier, uses] = [new Uses(), new Uses()];
    const [old, use] = [earlier.begin(), uses.begin()];
    uses.ended('old', old);
    uses.started('its child', old);
    uses.ended('its child', old);
    assert.equal(uses.isFree, false);
    assert.equal(uses.giveBack(use), true);
});

test('a session that failed before it was told of has its use no more', () => {
    const uses = new Uses();
    const use = uses.begin();
    uses.ended('failed', use);
    assert.equal(uses.isFree, true);
    assert.equal(uses.giveBack(use), false);
});

test('a tunnel that is stopped twice takes no newer one with it', () => {
    const all = new Map([['key', 'old']]);
    forget(all, 'key', 'old');
    all.set('key', 'new');
    forget(all, 'key', 'old');
    assert.deepEqual([...all], [['key', 'new']]);
});
