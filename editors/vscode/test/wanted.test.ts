import assert from 'node:assert/strict';
import { test } from 'node:test';

import { BadConfiguration, isAskedFor, keyOf, parseWanted, partsOf, toArguments } from '../src/wanted';

test('the property true asks for the debugger of the type', () => {
    const args = (type: string, isListening = false): string[] => toArguments(parseWanted(true, type, isListening), true, []);
    assert.deepEqual(args('node'), ['listen', '--json', 'node']);
    assert.deepEqual(args('pwa-node'), ['listen', '--json', 'node']);
    assert.deepEqual(args('debugpy'), ['listen', '--json', 'debugpy']);
    assert.deepEqual(args('debugpy', true), ['listen', '--json', 'debugpy-connect']);
    assert.deepEqual(args('go'), ['listen', '--json', 'delve']);
});

test('every part of an object becomes an argument of its own', () => {
    const wanted = parseWanted(
        { forward: 'debugpy:5679', peer: 'web 1', L: ['8000:localhost:80'], R: ['9000:localhost:9000'], path: 'relay', sources: false },
        'debugpy',
        false,
    );
    assert.deepEqual(toArguments(wanted, true, ['--stun', 'x']), [
        'listen', '--json', 'debugpy:5679', '-L', '8000:localhost:80', '-R', '9000:localhost:9000',
        '--peer', 'web 1', '--path', 'relay', '--no-sources', '--stun', 'x',
    ]);
});

test('no value can become an option', () => {
    for (const property of ['--peer', { forward: '-v' }, { peer: '--state=/x' }, { L: ['-R'] }, { path: '-p' }, { sources: '--json' }]) {
        assert.throws(() => parseWanted(property, 'debugpy', false), BadConfiguration, JSON.stringify(property));
    }
});

test('what is no such property is refused with its name', () => {
    assert.throws(() => parseWanted({ pear: 'web' }, 'debugpy', false), /no property "pear"/);
    for (const property of [5, [], { peer: 5 }, { L: 'x' }, { L: [5] }, { forward: 'a b' }, { forward: '' }]) {
        assert.throws(() => parseWanted(property, 'debugpy', false), BadConfiguration, JSON.stringify(property));
    }
});

test('a type that p2pdbg has no debugger for needs a forward', () => {
    assert.throws(() => parseWanted(true, 'mystery', false), /which debugger "mystery" is for/);
    assert.deepEqual(parseWanted({ L: ['0:localhost:1'] }, 'mystery', false).L, ['0:localhost:1']);
});

test('no folder, no comparison of files', () => {
    assert.deepEqual(toArguments(parseWanted(true, 'node', false), false, []), ['listen', '--json', 'node', '--no-sources']);
});

test('false and nothing ask for nothing', () => {
    assert.deepEqual([false, undefined, null].map(isAskedFor), [false, false, false]);
    assert.deepEqual([true, 'node', {}].map(isAskedFor), [true, true, true]);
});

test('configurations share a tunnel if they ask for the same in the same folder', () => {
    const key = (property: unknown, folder?: string): string => keyOf(parseWanted(property, 'debugpy', false), folder);
    assert.equal(key(true, '/a'), key('debugpy', '/a'));
    assert.notEqual(key(true, '/a'), key(true, '/b'));
    assert.notEqual(key(true, '/a'), key({ peer: 'web' }, '/a'));
    assert.deepEqual(partsOf('debugpy:5679'), { preset: 'debugpy', port: 5679 });
});
