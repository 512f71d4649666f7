// What is known of a tunnel, from its events. No I/O and no VS Code.

import { type TunnelEvent, fields, list } from './events';

export type Phase = 'starting' | 'code' | 'waiting' | 'connected' | 'lost' | 'ended';

export interface Forward {
    readonly toDebuggee: boolean;
    /** The port beside the IDE. */
    readonly port: number;
    readonly debugger?: string;
    readonly start?: string;
}

export interface Stream {
    readonly state: string;
    readonly to: string;
    readonly debugger?: string;
}

export interface State {
    readonly phase: Phase;
    readonly code?: string;
    readonly command?: string;
    /** A line in place of the command, for a host where p2pdbg is not installed. */
    readonly withoutInstall?: string;
    readonly peer?: string;
    readonly isKnown: boolean;
    readonly path?: { readonly kind: string; readonly via: string; readonly why: string };
    readonly rttMs?: number;
    readonly forwards: readonly Forward[];
    readonly streams: ReadonlyMap<number, Stream>;
    readonly hasFacts: boolean;
    readonly hasSources: boolean;
    readonly differ: readonly string[];
    readonly more: number;
    /** The directory here whose files are compared. */
    readonly sourcesHere?: string;
    /** Where a port must listen before anything goes on. */
    readonly waitingAt?: string;
    readonly failure?: { readonly code: string; readonly message: string; readonly hint?: string };
}

export const BEGIN: State = {
    phase: 'starting',
    isKnown: false,
    forwards: [],
    streams: new Map(),
    hasFacts: false,
    hasSources: false,
    differ: [],
    more: 0,
};

/** How many streams are kept; what is closed is forgotten, so more are the peer's doing or the user's wish. */
const MAX_STREAMS = 500;

const GONE = new Set(['closed', 'reset', 'gave_up']);

/** The last number of HOST:PORT. */
export function portIn(address: string): number {
    return Number(/:(\d+)$/.exec(address)?.[1] ?? 0);
}

/** What is known after an event. */
export function after(state: State, event: TunnelEvent): State {
    switch (event.event) {
        case 'ready': {
            const { event: _ready, ...offered } = event;
            // While a peer is away, its place is offered by a new code.
            return { ...withoutCode(state), phase: ['connected', 'lost'].includes(state.phase) ? state.phase : 'code', ...offered };
        }
        case 'waiting':
            return waiting(state, event.for, event.at);
        case 'paired': {
            // The code is used up, and what was known belongs to an earlier session.
            const { path: _path, rttMs: _rtt, ...rest } = withoutCode(state);
            return {
                ...rest, phase: 'connected', peer: event.peer, isKnown: event.known, forwards: [], streams: new Map(),
                hasFacts: false, hasSources: false, differ: [], more: 0,
            };
        }
        case 'facts':
            return { ...state, hasFacts: true };
        case 'sources':
            return {
                ...state, hasSources: true, differ: event.differ, more: event.more,
                ...(event.here === undefined ? {} : { sourcesHere: event.here }),
            };
        case 'forward': {
            const port = portIn(event.toDebuggee ? event.listen : event.to);
            const forward: Forward = {
                toDebuggee: event.toDebuggee, port,
                ...(event.debugger === undefined ? {} : { debugger: event.debugger }),
                ...(event.start === undefined ? {} : { start: event.start }),
            };
            const others = state.forwards.filter(one => one.port !== port || one.toDebuggee !== event.toDebuggee);
            return { ...state, forwards: [...others, forward] };
        }
        case 'path': {
            const { rttMs: _old, ...rest } = state;
            return {
                ...rest, path: { kind: event.kind, via: event.via, why: event.why },
                ...(event.rttMs === undefined ? {} : { rttMs: event.rttMs }),
            };
        }
        case 'stream': {
            const streams = new Map(state.streams);
            if (GONE.has(event.state)) {
                streams.delete(event.id);
            } else if (streams.has(event.id) || streams.size < MAX_STREAMS) {
                const named = event.debugger ?? streams.get(event.id)?.debugger;
                streams.set(event.id, { state: event.state, to: event.to, ...(named === undefined ? {} : { debugger: named }) });
            }
            const { waitingAt: _at, ...rest } = state;
            return { ...(event.state === 'open' ? rest : state), streams };
        }
        case 'peer_lost':
            return { ...state, phase: 'lost' };
        case 'resumed':
            // It has its place again, so the code that offered it is no use.
            return { ...withoutCode(state), phase: 'connected' };
        case 'error':
            return { ...ended(state), failure: event };
        case 'closed':
            return { ...ended(state), phase: 'waiting' };
        case 'warning':
        case 'received':
            return state;
    }
}

/** Whether there is something for the debuggee's user to do: a code that is of use, or a command to start. */
export function isAwaited(state: State): boolean {
    return ['code', 'waiting'].includes(state.phase) || (state.phase === 'lost' && state.code !== undefined);
}

function waiting(state: State, what: string, at: string | undefined): State {
    if (what === 'peer') {
        return state.phase === 'starting' ? { ...state, phase: 'waiting' } : state;
    }
    return what === 'debuggee' && at !== undefined ? { ...state, waitingAt: at } : state;
}

/** Without the code, and the lines that it is in. */
function withoutCode(state: State): State {
    const { code: _code, command: _command, withoutInstall: _line, ...rest } = state;
    return rest;
}

/** Once the process is gone, or the session with nobody in its place. */
export function ended(state: State): State {
    const { path: _path, rttMs: _rtt, waitingAt: _at, ...rest } = withoutCode(state);
    return { ...rest, phase: 'ended', forwards: [], streams: new Map(), differ: [], more: 0 };
}

/** The forward that a configuration is for: of this debugger, or of this port, or the first. */
export function forwardFor(state: State, preset: string | undefined, port: number | undefined): Forward | undefined {
    const fits = (one: Forward): boolean =>
        (preset === undefined || one.debugger === undefined || one.debugger === preset) &&
        (port === undefined || one.port === port);
    return state.forwards.find(fits);
}

/** A session of a `p2pdbg listen` of this host that another window or a terminal has started. */
export interface Running {
    readonly pid: number;
    /** What started it, where that is told. */
    readonly parent?: number;
    readonly peer: string;
    readonly state: State;
}

/** Whether it is of the process that was started as this one: npm's launcher is not p2pdbg itself, but its parent. */
export function isOf(one: Running, started: number | undefined): boolean {
    return started !== undefined && (one.pid === started || one.parent === started);
}

/** The sessions in the output of `p2pdbg status --json`. */
export function running(lines: readonly (Record<string, unknown> | undefined)[]): Running[] {
    return lines.flatMap(line => {
        if (line?.['command'] !== 'listen' || typeof line['pid'] !== 'number') {
            return [];
        }
        const [pid, above] = [line['pid'], line['parent']];
        const parent = typeof above === 'number' ? { parent: above } : {};
        return list(line['sessions']).flatMap(value => {
            const session = fields(value);
            return session === undefined ? [] : [{ pid, ...parent, peer: String(session['peer']), state: ofSession(session) }];
        });
    });
}

function ofSession(session: Record<string, unknown>): State {
    const paths = list(session['paths']).map(fields);
    const path = paths[paths.length - 1];
    const up = list(session['forwards']).map(fields).filter(one => ['up', 'closed'].includes(String(one?.['state'])));
    const forwards = up.map(one => {
        const toDebuggee = one?.['direction'] === 'to_debuggee';
        const named = one?.['debugger'];
        return {
            toDebuggee,
            port: portIn(String((toDebuggee ? one?.['listen'] : one?.['to']) ?? '')),
            ...(typeof named === 'string' ? { debugger: named } : {}),
        };
    });
    const streams = list(session['streams']).map(fields).filter(one => typeof one?.['id'] === 'number');
    return {
        ...BEGIN,
        phase: session['state'] === 'connected' ? 'connected' : 'lost',
        peer: String(session['peer']),
        isKnown: session['known'] === true,
        forwards,
        streams: new Map(streams.map(one => [one?.['id'] as number, { state: String(one?.['state'] ?? 'dialled'), to: String(one?.['to']) }])),
        hasFacts: true,
        hasSources: true,
        ...(typeof session['rtt_ms'] === 'number' ? { rttMs: session['rtt_ms'] } : {}),
        ...(path === undefined ? {} : { path: { kind: String(path['kind']), via: String(path['via']), why: String(path['why'] ?? '') } }),
    };
}
