// The tunnels of this window: at most one for what a configuration asks for, started when it is first wanted.

import * as vscode from 'vscode';

import type { TunnelEvent } from './events';
import { type Host, directoryOf } from './host';
import { BEGIN, type Forward, type Running, type State, ended, forwardFor, isOf } from './state';
import { Tunnel, status } from './tunnel';
import { Uses, forget } from './uses';
import { type Wanted, keyOf, partsOf, toArguments } from './wanted';

/** How often sessions of other windows are looked at. */
const POLL_MS = 3000;

/** A restart begins its new session within this time of the old one's end. */
const RESTART_MS = 3000;

/** A tunnel, and what it is for. */
export class Held {
    readonly uses = new Uses();
    private readonly waiters = new Set<() => void>();
    state: State;
    tunnel: Tunnel | undefined;

    constructor(
        readonly key: string,
        readonly wanted: Wanted,
        readonly folder: vscode.WorkspaceFolder | undefined,
        readonly program: string,
        readonly environment: NodeJS.ProcessEnv,
        /** A session of another window's, or of a terminal's: it is used and not ended. */
        readonly borrowed: Running | undefined,
    ) {
        this.state = borrowed?.state ?? BEGIN;
    }

    /** Waits until something is so, or the tunnel has ended, or is told to stop. */
    async until(isSo: (state: State) => boolean, token: vscode.CancellationToken): Promise<boolean> {
        while (!isSo(this.state)) {
            if (this.state.phase === 'ended' || token.isCancellationRequested) {
                return false;
            }
            await new Promise<void>(resolve => {
                const cancelled = token.onCancellationRequested(() => wake());
                const wake = (): void => {
                    cancelled.dispose();
                    this.waiters.delete(wake);
                    resolve();
                };
                this.waiters.add(wake);
            });
        }
        return true;
    }

    become(state: State): void {
        this.state = state;
        [...this.waiters].forEach(wake => wake());
    }

    /** The forward that its configuration is for. */
    forward(): Forward | undefined {
        const { preset, port } = this.wanted.forward === undefined ? { preset: undefined, port: undefined } : partsOf(this.wanted.forward);
        return forwardFor(this.state, preset, port);
    }
}

/** A tunnel with the name of the use that somebody makes of it. */
export interface Taken {
    readonly held: Held;
    readonly use: string;
}

function taken(held: Held): Taken {
    return { held, use: held.uses.begin() };
}

export interface Change {
    readonly held: Held;
    readonly event: TunnelEvent | undefined;
}

export class Tunnels implements vscode.Disposable {
    private readonly all = new Map<string, Held>();
    private readonly starting = new Map<string, Promise<Held>>();
    private readonly emitter = new vscode.EventEmitter<Change>();
    readonly onChange = this.emitter.event;

    private readonly poll = setInterval(() => void this.lookElsewhere(), POLL_MS);

    constructor(private readonly host: Host) {}

    dispose(): void {
        clearInterval(this.poll);
        this.emitter.dispose();
    }

    list(): Held[] {
        return [...this.all.values()];
    }

    /** The one that the status item is of: connected rather than not, else the last. */
    foremost(): Held | undefined {
        const all = this.list().reverse();
        return all.find(one => one.state.phase === 'connected') ?? all[0];
    }

    byKey(key: string): Held | undefined {
        return this.all.get(key);
    }

    /** Starts a tunnel, or takes the one that is there. Throws `NoBinary`. */
    take(wanted: Wanted, folder: vscode.WorkspaceFolder | undefined): Promise<Taken> {
        const key = keyOf(wanted, folder?.uri.fsPath);
        const there = this.all.get(key) ?? this.list().find(held => isFor(held, wanted, folder));
        if (there !== undefined && there.state.phase !== 'ended') {
            return Promise.resolve(taken(there));
        }
        // Two configurations of a compound ask at once.
        const begun = this.starting.get(key) ?? this.start(key, wanted, folder).finally(() => this.starting.delete(key));
        this.starting.set(key, begun);
        return begun.then(taken);
    }

    private async start(key: string, wanted: Wanted, folder: vscode.WorkspaceFolder | undefined): Promise<Held> {
        const binary = await this.host.binary(folder);
        const environment = await this.host.environment();
        const borrowed = await this.elsewhere(binary.path, environment, wanted);
        const held = new Held(key, wanted, folder, binary.path, environment, borrowed);
        this.all.set(key, held);
        if (borrowed === undefined) {
            const extra = this.host.setting<string[]>('extraArguments', folder, []);
            const args = toArguments(wanted, folder !== undefined, extra);
            this.host.log.info(`${binary.path} ${args.join(' ')}`);
            const start = { program: binary.path, arguments: args, directory: directoryOf(folder), environment };
            held.tunnel = new Tunnel(start, {
                changed: (state, event) => {
                    held.become(state);
                    this.emitter.fire({ held, event });
                },
                log: line => this.host.log.debug(withoutCode(line)),
            });
        } else {
            this.host.log.info(`using the session with ${borrowed.peer} of process ${borrowed.pid}`);
        }
        this.emitter.fire({ held, event: undefined });
        return held;
    }

    /** A session of another process of this user's that has the forward. */
    private async elsewhere(program: string, environment: NodeJS.ProcessEnv, wanted: Wanted): Promise<Running | undefined> {
        if (wanted.forward === undefined || wanted.L.length + wanted.R.length > 0) {
            return undefined;
        }
        const { preset, port } = partsOf(wanted.forward);
        const own = this.list().map(held => held.tunnel?.pid);
        const fits = (one: Running): boolean =>
            !own.some(pid => isOf(one, pid)) &&
            (wanted.peer === undefined || wanted.peer === one.peer) &&
            one.state.forwards.some(forward => forward.debugger === preset && (port === undefined || forward.port === port));
        return (await status(program, environment)).find(fits);
    }

    /** What the sessions of other windows have come to. */
    private async lookElsewhere(): Promise<void> {
        for (const held of this.list().filter(one => one.borrowed !== undefined && one.state.phase !== 'ended')) {
            const now = (await status(held.program, held.environment)).find(
                one => one.pid === held.borrowed?.pid && one.peer === held.borrowed.peer,
            );
            held.become(now?.state ?? ended(held.state));
            this.emitter.fire({ held, event: undefined });
        }
    }

    /** Somebody is done with it for now. Where the user wants it so, one that nobody uses is stopped after a while. */
    afterDebugging(held: Held): void {
        if (this.host.setting<string>('afterDebugging', held.folder, 'keep') === 'stop') {
            setTimeout(() => void (this.byKey(held.key) === held && this.stopIfFree(held)), RESTART_MS);
        }
    }

    /** Stops one that nobody uses any more. */
    async stopIfFree(held: Held): Promise<void> {
        if (held.uses.isFree) {
            await this.stop(held);
        }
    }

    async stop(held: Held): Promise<void> {
        forget(this.all, held.key, held);
        await held.tunnel?.stop();
        this.emitter.fire({ held, event: undefined });
    }

    async stopAll(): Promise<void> {
        await Promise.all(this.list().map(held => this.stop(held)));
    }
}

/** Whether a tunnel that was started without a name has met the peer that is now asked for. */
function isFor(held: Held, wanted: Wanted, folder: vscode.WorkspaceFolder | undefined): boolean {
    const { peer, ...anybody } = wanted;
    const { peer: _peer, ...itsOwn } = held.wanted;
    const path = folder?.uri.fsPath;
    return (
        held.state.phase === 'connected' &&
        (peer === undefined || peer === held.state.peer) &&
        keyOf(itsOwn, held.folder?.uri.fsPath) === keyOf(anybody, path)
    );
}

/** A log is shown to others; a code is an invitation. */
function withoutCode(line: string): string {
    return line.replaceAll(/\d{6,8}-[a-z]+-[a-z]+-[a-z]+/g, '(code)');
}
