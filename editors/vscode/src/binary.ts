// Finds the program p2pdbg, and asks which version it is.

import { execFile } from 'node:child_process';
import { access, constants, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { delimiter, isAbsolute, join } from 'node:path';

/** The oldest version whose events this extension can read, and the first that may be another language. */
export const OLDEST = [0, 1, 0] as const;
export const TOO_NEW = [1, 0, 0] as const;

export interface Binary {
    readonly path: string;
    readonly version: string;
}

/** There is no program that can be used; the message is for the user. */
export class NoBinary extends Error {}

export interface Places {
    /** What the setting says; empty: nothing. */
    readonly setting: string;
    readonly environmentPath: string;
    readonly home: string;
    /** The extension's own directory, where one may have been packed. */
    readonly extension: string;
    readonly isWindows: boolean;
}

export function placesHere(setting: string, extension: string): Places {
    const isWindows = process.platform === 'win32';
    return { setting, environmentPath: process.env['PATH'] ?? '', home: homedir(), extension, isWindows };
}

/** Where it may be, in the order in which that is looked at. */
export function candidates(places: Places): string[] {
    const name = places.isWindows ? 'p2pdbg.exe' : 'p2pdbg';
    if (places.setting !== '') {
        const own = places.setting === '~' || places.setting.startsWith('~/') ? join(places.home, places.setting.slice(1)) : places.setting;
        return [own];
    }
    // An entry that is relative would be below whatever directory is open.
    const onPath = places.environmentPath.split(delimiter).filter(isAbsolute).map(directory => join(directory, name));
    return [...onPath, join(places.home, '.cargo', 'bin', name), join(places.extension, 'bin', name)];
}

/** The version in what `p2pdbg --version` prints: `p2pdbg 0.1.0`, perhaps with more behind it. */
export function parseVersion(output: string): string | undefined {
    return /^p2pdbg (\d+\.\d+\.\d+)(?![\d.])/.exec(output)?.[1];
}

/** Why a version cannot be used, or nothing. */
export function judge(version: string): string | undefined {
    const parts = version.split('.').map(Number);
    const isBefore = (limit: readonly number[]): boolean => {
        const at = limit.findIndex((part, index) => part !== parts[index]);
        return at >= 0 && (parts[at] ?? 0) < (limit[at] ?? 0);
    };
    if (isBefore(OLDEST)) {
        return `is version ${version}, and this extension needs ${OLDEST.join('.')} or newer: update p2pdbg`;
    }
    return isBefore(TOO_NEW) ? undefined : `is version ${version}, which is newer than this extension knows: update the extension`;
}

async function isProgram(path: string): Promise<boolean> {
    try {
        await access(path, constants.X_OK);
        return (await stat(path)).isFile();
    } catch {
        return false;
    }
}

/** For how long a program may think about which version it is, in milliseconds. */
const PATIENCE_MS = 10_000;

/** The first that is there. Throws `NoBinary`. */
export async function find(places: Places, patience = PATIENCE_MS): Promise<Binary> {
    const looked = candidates(places);
    for (const path of looked) {
        if (await isProgram(path)) {
            return ask(path, patience);
        }
    }
    throw new NoBinary(
        places.setting === ''
            ? 'The program p2pdbg is not here: not on the PATH, not in ~/.cargo/bin, and none came with the extension.'
            : `There is no program at ${looked[0]}, which the setting p2pdbg.path names.`,
    );
}

function ask(path: string, patience: number): Promise<Binary> {
    return new Promise((resolve, reject) => {
        // One that is stopped, by a debugger say, hears no other signal.
        const options = { timeout: patience, killSignal: 'SIGKILL' as const, maxBuffer: 1 << 16 };
        execFile(path, ['--version'], options, (error, stdout) => {
            const version = parseVersion(stdout);
            if (version === undefined) {
                const said = error === null ? `it says ${JSON.stringify(stdout.slice(0, 80))}` : error.message.slice(0, 200);
                const why = error?.killed === true ? 'it does not answer, or is stopped' : said;
                reject(new NoBinary(`${path} is not a p2pdbg that runs here: ${why}`));
                return;
            }
            const fault = judge(version);
            if (fault === undefined) {
                resolve({ path, version });
            } else {
                reject(new NoBinary(`${path} ${fault}.`));
            }
        });
    });
}
