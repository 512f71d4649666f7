// Fills a configuration with what `p2pdbg ide vscode` says of the session: ports, and which path there is which here.
//
// This runs after VS Code has put its variables in, and what is filled in is not looked at again: a path of the peer's
// stays what it is, whatever `$` there is in it. Even so, a value with `${` in it is left out.

import { fields, list } from './events';
import { PRESETS } from './presets';

export type Configuration = Record<string, unknown>;

/** Where the debugger is reached: always the tunnel's. */
const CONNECTION = [
    'connect', 'listen', 'host', 'hostname', 'hostName', 'address', 'port', 'debugPort',
    'miDebuggerServerAddress', 'processCreateCommands',
];

/** Which path there is which here: the user's own, if there are any. */
const MAPPINGS = ['pathMappings', 'localRoot', 'remoteRoot', 'substitutePath', 'sourceFileMap', 'sourceMap', 'localfsMap'];

/** Of one debugger several names. */
const SAME: Readonly<Record<string, string>> = { 'pwa-node': 'node', python: 'debugpy' };

const FOLDER = '${workspaceFolder}';

/** The `launch.json` in the output of `p2pdbg ide vscode`. */
export function parseIdeOutput(output: string): Configuration[] {
    const begin = output.indexOf('=== .vscode/launch.json\n');
    const text = begin < 0 ? output : output.slice(output.indexOf('\n', begin) + 1).split(/^=== /m)[0] ?? '';
    let parsed: unknown;
    try {
        parsed = JSON.parse(text);
    } catch {
        return [];
    }
    const found = list(fields(parsed)?.['configurations']).map(fields);
    return found.filter(one => one !== undefined && one['preLaunchTask'] === undefined) as Configuration[];
}

/** The port in a configuration, wherever its debugger has it. */
export function portOf(configuration: Configuration): number | undefined {
    for (const key of ['connect', 'listen']) {
        const port = fields(configuration[key])?.['port'];
        if (typeof port === 'number') {
            return port;
        }
    }
    if (typeof configuration['port'] === 'number') {
        return configuration['port'];
    }
    const commands = list(configuration['processCreateCommands']);
    const texts = [configuration['debugPort'], configuration['miDebuggerServerAddress'], ...commands];
    for (const text of texts) {
        const port = typeof text === 'string' ? /:(\d+)$/.exec(text)?.[1] : undefined;
        if (port !== undefined) {
            return Number(port);
        }
    }
    return undefined;
}

/** The one for this type and port, of those that p2pdbg made. */
export function choose(made: readonly Configuration[], type: string, port: number): Configuration | undefined {
    const same = (one: Configuration): boolean => one['type'] === (SAME[type] ?? type);
    return made.find(one => same(one) && portOf(one) === port);
}

/**
 * Why a configuration is not to be attached by: `p2pdbg ide` knows debuggers of this type, and has failed. Nothing where it
 * has not, or where the forwards are the user's own (`L` and `R`).
 */
export function refusal(type: string, forward: string | undefined, made: { status: number; stderr: string }): string | undefined {
    if (made.status === 0 || forward === undefined || PRESETS[type] === undefined) {
        return undefined;
    }
    const said = made.stderr.trim();
    return `p2pdbg does not tell where to attach: ${said === '' ? `p2pdbg ide has ended with status ${made.status}` : said}`;
}

/**
 * A configuration as its debugger's extension will take it before the tunnel stands. Java's refuses an attach without a
 * place, so it gets one, which `fill` replaces.
 */
export function prepared(configuration: Configuration): Configuration {
    const isBare = configuration['type'] === 'java' && configuration['request'] === 'attach' &&
        !['hostName', 'port', 'processId'].some(key => isGiven(configuration[key]));
    return isBare ? { ...configuration, hostName: '127.0.0.1', port: 1 } : configuration;
}

/** What the user's own configuration lacks that no other can put in soon enough; words for the user. */
export function lacks(own: Configuration): string | undefined {
    // Before anybody else is asked, Go's takes a missing mode for "local" and has the user pick a process of this host.
    return own['type'] === 'go' && !isGiven(own['mode']) ? 'add "mode": "remote", or Go asks for a process of this host first.' : undefined;
}

export interface Filled {
    readonly configuration: Configuration;
    /** Which properties were left out, since something in them looks like a variable of VS Code's. */
    readonly leftOut: readonly string[];
}

/**
 * A configuration with the tunnel's values. `own` is what the user wrote, before the debugger's extension and VS Code
 * put anything in.
 */
export function fill(
    resolved: Configuration,
    own: Configuration,
    made: Configuration | undefined,
    port: number,
    folder: string | undefined,
): Filled {
    const configuration = { ...resolved };
    // A debugger that p2pdbg has no configuration for.
    const from: Configuration = made ?? { host: '127.0.0.1', port };
    const leftOut: string[] = [];
    if (CONNECTION.some(key => key in from)) {
        CONNECTION.forEach(key => delete configuration[key]);
    }
    const hasOwnMapping = MAPPINGS.some(key => isGiven(own[key]));
    for (const [key, value] of Object.entries(from)) {
        const isConnection = CONNECTION.includes(key);
        const isMapping = MAPPINGS.includes(key);
        if (['name', 'type', 'request'].includes(key)) {
            continue;
        }
        // A default of the debugger's extension, such as Go's mode, gives way to what fits the tunnel.
        if (!isConnection && (isMapping ? hasOwnMapping : isGiven(own[key]))) {
            continue;
        }
        const settled = settle(value, folder);
        if (settled === undefined) {
            leftOut.push(key);
        } else {
            configuration[key] = settled;
        }
    }
    return { configuration, leftOut };
}

const isGiven = (value: unknown): boolean => value !== undefined && value !== null;

/** A value with the folder's path where p2pdbg says the folder; nothing if anything else in it looks like a variable. */
function settle(value: unknown, folder: string | undefined): unknown {
    if (typeof value === 'string') {
        // rdbg has a list of THERE:HERE in one text.
        const parts = value.split(/([:,])/);
        const settled = parts.map(part => {
            const isFolder = part === FOLDER || part.startsWith(`${FOLDER}/`);
            const rest = isFolder ? part.slice(FOLDER.length) : part;
            return rest.includes('${') || (isFolder && folder === undefined) ? undefined : (isFolder ? folder : '') + rest;
        });
        return settled.includes(undefined) ? undefined : settled.join('');
    }
    if (Array.isArray(value)) {
        const settled = value.map(one => settle(one, folder));
        return settled.includes(undefined) ? undefined : settled;
    }
    const f = fields(value);
    if (f === undefined) {
        return value;
    }
    const settled = Object.entries(f).map(([key, one]) => [key, settle(one, folder)] as const);
    const isWhole = settled.every(([key, one]) => one !== undefined && !key.includes('${'));
    return isWhole ? Object.fromEntries(settled) : undefined;
}
