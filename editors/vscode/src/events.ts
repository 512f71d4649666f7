// What `p2pdbg listen --json` and `p2pdbg status --json` print, from bytes to values (docs/JSON.md).
//
// Fields, events and codes are only ever added there, so what is not known here is passed over. Nothing in a line is
// trusted to be of the right type: much of it is the peer's text.

/** The longest line that is read, in characters; a longer one is dropped whole. */
const MAX_LINE = 1 << 20;

export interface PathEvent {
    readonly event: 'path';
    readonly kind: string;
    readonly via: string;
    readonly rttMs?: number;
    readonly why: string;
}

export type TunnelEvent =
    | { readonly event: 'ready'; readonly code: string; readonly command: string; readonly withoutInstall?: string }
    | { readonly event: 'paired'; readonly peer: string; readonly known: boolean }
    | { readonly event: 'facts' }
    | { readonly event: 'sources'; readonly differ: readonly string[]; readonly more: number; readonly here?: string }
    | {
          readonly event: 'forward';
          readonly toDebuggee: boolean;
          readonly listen: string;
          readonly to: string;
          readonly debugger?: string;
          readonly start?: string;
      }
    | PathEvent
    | { readonly event: 'waiting'; readonly for: string; readonly at?: string }
    | { readonly event: 'stream'; readonly id: number; readonly state: string; readonly to: string; readonly debugger?: string }
    | { readonly event: 'peer_lost'; readonly streams: number }
    | { readonly event: 'resumed'; readonly gapMs: number; readonly streams: number }
    | { readonly event: 'received'; readonly name: string }
    | { readonly event: 'warning' | 'error'; readonly code: string; readonly message: string; readonly hint?: string }
    | { readonly event: 'closed'; readonly why: string };

type Fields = Record<string, unknown>;

const text = (value: unknown): string => (typeof value === 'string' ? value : '');
const number = (value: unknown): number => (typeof value === 'number' && Number.isFinite(value) ? value : 0);
const optional = <K extends string>(key: K, value: unknown): { [P in K]?: string } =>
    (typeof value === 'string' ? { [key]: value } : {}) as { [P in K]?: string };

export function fields(value: unknown): Fields | undefined {
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Fields) : undefined;
}

export function list(value: unknown): readonly unknown[] {
    return Array.isArray(value) ? value : [];
}

/** A line as an object, or nothing if it is none. */
export function parseLine(line: string): Fields | undefined {
    try {
        return fields(JSON.parse(line));
    } catch {
        return undefined;
    }
}

/** The event of a line, or nothing if it is none that is known here. */
export function parseEvent(line: string): TunnelEvent | undefined {
    const f = parseLine(line);
    switch (f?.['event']) {
        case 'ready':
            return {
                event: 'ready', code: text(f['code']), command: text(f['command']),
                ...(typeof f['without_install'] === 'string' ? { withoutInstall: f['without_install'] } : {}),
            };
        case 'paired':
            return { event: 'paired', peer: text(f['peer']), known: f['known'] === true };
        case 'facts':
            return { event: 'facts' };
        case 'sources': {
            const differ = list(f['differ']).filter(name => typeof name === 'string');
            return { event: 'sources', differ, more: number(f['more']), ...optional('here', f['here']) };
        }
        case 'forward':
            return {
                event: 'forward',
                toDebuggee: f['direction'] === 'to_debuggee',
                listen: text(f['listen']),
                to: text(f['to']),
                ...optional('debugger', f['debugger']),
                ...optional('start', f['start']),
            };
        case 'path':
            return {
                event: 'path',
                kind: text(f['kind']),
                via: text(f['via']),
                ...(typeof f['rtt_ms'] === 'number' ? { rttMs: f['rtt_ms'] } : {}),
                why: text(f['why']),
            };
        case 'waiting':
            return { event: 'waiting', for: text(f['for']), ...optional('at', f['at']) };
        case 'stream':
            return {
                event: 'stream',
                id: number(f['id']),
                state: text(f['state']),
                to: text(f['to']),
                ...describeDebugger(f['debugger']),
            };
        case 'peer_lost':
            return { event: 'peer_lost', streams: number(f['streams']) };
        case 'resumed':
            return { event: 'resumed', gapMs: number(f['gap_ms']), streams: number(f['streams']) };
        case 'received':
            return { event: 'received', name: text(f['name']) };
        case 'warning':
        case 'error':
            return {
                event: f['event'],
                code: text(f['code']),
                message: text(f['message']),
                ...optional('hint', f['hint']),
            };
        case 'closed':
            return { event: 'closed', why: text(f['why']) };
        default:
            return undefined;
    }
}

/** What was seen of a debugger, in words. */
function describeDebugger(value: unknown): { debugger?: string } {
    const f = fields(value);
    if (f === undefined) {
        return {};
    }
    const name = [text(f['name']) || text(f['protocol']), text(f['version'])].filter(part => part !== '').join(' ');
    const file = text(f['file']).split(/[\\/]/).pop() ?? '';
    const stopped = file === '' ? 'stopped' : `stopped at ${file}:${number(f['line'])}`;
    const program = f['program'] === 'stopped' ? stopped : text(f['program']);
    return { debugger: [name, text(f['runtime']), program].filter(part => part !== '').join(', ') };
}

/** Cuts what comes in pieces into lines. */
export class Lines {
    private rest = '';
    private isSkipping = false;

    push(piece: string): string[] {
        const parts = (this.rest + piece).split('\n');
        this.rest = parts.pop() ?? '';
        const first = this.isSkipping && parts.length > 0 ? 1 : 0;
        this.isSkipping &&= parts.length === 0;
        if (this.rest.length > MAX_LINE) {
            this.rest = '';
            this.isSkipping = true;
        }
        return parts.slice(first).filter(line => line !== '' && line.length <= MAX_LINE);
    }
}
