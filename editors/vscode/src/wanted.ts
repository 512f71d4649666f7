// What a configuration's property "p2pdbg" asks for, and what `p2pdbg listen` is given for it.

import { fields } from './events';
import { PRESETS } from './presets';

/** What a tunnel is started with. */
export interface Wanted {
    /** A preset, perhaps with :PORT, as `p2pdbg listen` takes it. Nothing where `L` and `R` are all there is. */
    readonly forward?: string;
    readonly peer?: string;
    readonly L: readonly string[];
    readonly R: readonly string[];
    readonly path?: string;
    /** Which directory's files are compared; false: none. */
    readonly sources?: string | false;
}

/** A configuration that asks for what there is not; the message is for the user. */
export class BadConfiguration extends Error {}

const NAME = /^[a-z][a-z-]*(:\d{1,5})?$/;
const KEYS = ['forward', 'peer', 'L', 'R', 'path', 'sources'];

/** Whether p2pdbg is asked for at all. */
export function isAskedFor(property: unknown): boolean {
    return property !== undefined && property !== null && property !== false;
}

/**
 * Reads the property of a configuration of this type. `isListening` says that the configuration has the IDE listen.
 * Throws `BadConfiguration`.
 */
export function parseWanted(property: unknown, type: string, isListening: boolean): Wanted {
    const preset = PRESETS[type] === 'debugpy' && isListening ? 'debugpy-connect' : PRESETS[type];
    const f = property === true ? {} : typeof property === 'string' ? { forward: property } : fields(property);
    if (f === undefined) {
        throw new BadConfiguration('"p2pdbg" is true, a debugger such as "debugpy", or an object.');
    }
    const unknown = Object.keys(f).find(key => !KEYS.includes(key));
    if (unknown !== undefined) {
        throw new BadConfiguration(`"p2pdbg" has no property "${unknown}"; it has ${KEYS.join(', ')}.`);
    }
    const text = (key: string): string | undefined => {
        const value = f[key];
        if (value !== undefined && (typeof value !== 'string' || value === '' || value.startsWith('-'))) {
            throw new BadConfiguration(`"${key}" of "p2pdbg" is a text that does not begin with "-".`);
        }
        return value as string | undefined;
    };
    const texts = (key: string): string[] => {
        const value = f[key] ?? [];
        if (!Array.isArray(value) || value.some(one => typeof one !== 'string' || one.startsWith('-'))) {
            throw new BadConfiguration(`"${key}" of "p2pdbg" is a list such as ["8000:localhost:80"].`);
        }
        return value as string[];
    };
    const [L, R] = [texts('L'), texts('R')];
    const forward = text('forward') ?? preset;
    if (forward === undefined && L.length + R.length === 0) {
        throw new BadConfiguration(
            `p2pdbg does not know which debugger "${type}" is for: say "p2pdbg": { "forward": "NAME" } ` +
                'or { "L": ["PORT:localhost:PORT"] }.',
        );
    }
    if (forward !== undefined && !NAME.test(forward)) {
        throw new BadConfiguration('"forward" of "p2pdbg" is NAME or NAME:PORT, such as "debugpy:5679".');
    }
    const sources = f['sources'] === true ? undefined : f['sources'] === false ? false : text('sources');
    const [peer, path] = [text('peer'), text('path')];
    return {
        ...(forward === undefined ? {} : { forward }),
        ...(peer === undefined ? {} : { peer }),
        L,
        R,
        ...(path === undefined ? {} : { path }),
        ...(sources === undefined ? {} : { sources }),
    };
}

/** The arguments of p2pdbg. */
export function toArguments(wanted: Wanted, hasFolder: boolean, extra: readonly string[]): string[] {
    const given = (option: string, value: string | undefined): string[] =>
        value === undefined ? [] : [option, value];
    const sources = typeof wanted.sources === 'string' ? ['--sources', wanted.sources] : ['--no-sources'];
    return [
        'listen',
        '--json',
        ...(wanted.forward === undefined ? [] : [wanted.forward]),
        ...wanted.L.flatMap(forward => ['-L', forward]),
        ...wanted.R.flatMap(forward => ['-R', forward]),
        ...given('--peer', wanted.peer),
        ...given('--path', wanted.path),
        // Without a folder the working directory is the user's home, which is nobody's business.
        ...(wanted.sources === undefined && hasFolder ? [] : sources),
        ...extra,
    ];
}

/** What makes two configurations share a tunnel: the same forwards, to the same peer, in the same folder. */
export function keyOf(wanted: Wanted, folder: string | undefined): string {
    return JSON.stringify([folder ?? null, toArguments(wanted, true, [])]);
}

/** The preset and the port of `forward`. */
export function partsOf(forward: string): { preset: string; port?: number } {
    const [preset = '', port] = forward.split(':');
    return port === undefined ? { preset } : { preset, port: Number(port) };
}
