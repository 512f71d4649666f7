import assert from 'node:assert/strict';
import { test } from 'node:test';

import { chosen } from '../src/chosen';

const isFile = (one: unknown): one is string => typeof one === 'string';

test('a push without a file and without an editor is of nothing, and not of all that differs', () => {
    assert.equal(chosen(isFile, undefined, undefined, undefined), undefined);
    assert.equal(chosen(isFile, undefined, [], undefined), undefined);
    assert.equal(chosen(isFile, { untitled: 1 }, [{ untitled: 1 }], undefined), undefined);
});

test('what was selected is pushed, else what the command was called on, else the file of the editor', () => {
    assert.deepEqual(chosen(isFile, 'a', ['a', 'b', 7], 'open'), ['a', 'b']);
    assert.deepEqual(chosen(isFile, 'a', undefined, 'open'), ['a']);
    assert.deepEqual(chosen(isFile, undefined, undefined, 'open'), ['open']);
});
