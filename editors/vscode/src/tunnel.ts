// A running `p2pdbg listen --json` and what is known of it. No VS Code, so that tests run it with the real program.

import { type ChildProcess, execFile, spawn } from 'node:child_process';

import { Lines, type TunnelEvent, parseEvent, parseLine } from './events';
import { BEGIN, type Running, type State, after, ended, isOf, running } from './state';

/** How long p2pdbg has to say goodbye to the peer before it is killed. */
const GOODBYE_MS = 3000;

/** For how long the pipes of a program that has ended are read: one that it left behind may hold them open for ever. */
const DRAIN_MS = 1000;

/** How often the round-trip time is asked for while somebody is connected. */
const POLL_MS = 3000;

/** How much of what p2pdbg writes to standard error is kept for a message, in characters. */
const KEPT_ERROR = 4000;

export interface Listener {
    /** Something has changed. `event` is what came, if it was an event. */
    changed(state: State, event: TunnelEvent | undefined): void;
    log(line: string): void;
}

export interface Start {
    readonly program: string;
    readonly arguments: readonly string[];
    readonly directory: string;
    readonly environment: NodeJS.ProcessEnv;
}

export class Tunnel {
    private current: State = BEGIN;
    private readonly child: ChildProcess;
    private errorText = '';
    private isStopping = false;
    private readonly poll: NodeJS.Timeout;
    private readonly whenGone: Promise<void>;

    constructor(private readonly start: Start, private readonly listener: Listener) {
        // It ends with its standard input: so it does where there are no signals, and when this process is killed.
        this.child = spawn(start.program, [...start.arguments, '--until-stdin-ends'], {
            cwd: start.directory,
            env: start.environment,
            // Not through a shell, so that nothing in an argument means anything.
            shell: false,
            stdio: ['pipe', 'pipe', 'pipe'],
            windowsHide: true,
        });
        // Nothing is written there, and a program that has ended is told of elsewhere.
        this.child.stdin?.on('error', () => {});
        const lines = new Lines();
        this.child.stdout?.setEncoding('utf8').on('data', (piece: string) => lines.push(piece).forEach(line => this.on(line)));
        this.child.stderr?.setEncoding('utf8').on('data', (piece: string) => {
            this.errorText = (this.errorText + piece).slice(-KEPT_ERROR);
            piece.trimEnd().split('\n').forEach(line => listener.log(line));
        });
        this.whenGone = new Promise(resolve => {
            this.child.once('error', error => {
                this.fail('cannot_start', `cannot run ${start.program}: ${error.message}`);
                resolve();
            });
            let drained: NodeJS.Timeout | undefined;
            this.child.once('exit', () => {
                // Without its pipes it is closed, and 'close' comes.
                drained = setTimeout(() => [this.child.stdout, this.child.stderr].forEach(pipe => pipe?.destroy()), DRAIN_MS);
            });
            this.child.once('close', (status, signal) => {
                clearTimeout(drained);
                this.onClose(status, signal);
                resolve();
            });
        });
        this.poll = setInterval(() => void this.askStatus(), POLL_MS);
        this.poll.unref();
    }

    get state(): State {
        return this.current;
    }

    get pid(): number | undefined {
        return this.child.pid;
    }

    /**
     * Ends it, as ^C does: the peer is told. By the end of its input, and where there are signals by SIGTERM as well: npm's
     * launcher leaves SIGINT to the terminal, which gives it to the launcher's child too. Windows knows no signal but death.
     */
    async stop(): Promise<void> {
        this.isStopping = true;
        clearInterval(this.poll);
        this.child.stdin?.end();
        if (process.platform !== 'win32') {
            this.child.kill('SIGTERM');
        }
        const kill = setTimeout(() => this.child.kill('SIGKILL'), GOODBYE_MS);
        await this.whenGone;
        clearTimeout(kill);
    }

    private on(line: string): void {
        this.listener.log(line);
        const event = parseEvent(line);
        if (event !== undefined) {
            this.become(after(this.current, event), event);
        }
    }

    private onClose(status: number | null, signal: NodeJS.Signals | null): void {
        clearInterval(this.poll);
        if (this.current.failure !== undefined || this.isStopping) {
            this.become(ended(this.current), undefined);
            return;
        }
        const how = signal === null ? `with status ${status}` : `by ${signal}`;
        const said = this.errorText.trim().split('\n')[0] ?? '';
        this.fail('ended', `p2pdbg listen has ended ${how}${said === '' ? '' : `: ${said}`}`);
    }

    private fail(code: string, message: string): void {
        const event = { event: 'error' as const, code, message };
        this.become(after(this.current, event), event);
    }

    private become(state: State, event: TunnelEvent | undefined): void {
        this.current = state;
        this.listener.changed(state, event);
    }

    private async askStatus(): Promise<void> {
        if (this.current.phase !== 'connected') {
            return;
        }
        const all = await status(this.start.program, this.start.environment);
        const own = all.find(one => isOf(one, this.child.pid));
        const now = own?.state.rttMs;
        if (now !== undefined && this.current.phase === 'connected' && now !== this.current.rttMs) {
            this.become({ ...this.current, rttMs: now }, undefined);
        }
    }
}

/** The sessions of all `p2pdbg listen` of this user on this host; none where it cannot be asked. */
export function status(program: string, environment: NodeJS.ProcessEnv): Promise<Running[]> {
    return new Promise(resolve => {
        execFile(program, ['status', '--json'], { env: environment, timeout: 5000, maxBuffer: 8 << 20 }, (_, stdout) =>
            resolve(running(stdout.split('\n').map(parseLine))),
        );
    });
}

/** What `p2pdbg` prints with these arguments; the exit status is not 0 where it fails. */
export function run(
    program: string,
    args: readonly string[],
    directory: string,
    environment: NodeJS.ProcessEnv,
    signal?: AbortSignal,
): Promise<{ status: number; stdout: string; stderr: string }> {
    return new Promise(resolve => {
        const options = { cwd: directory, env: environment, maxBuffer: 8 << 20, encoding: 'utf8' as const, ...(signal === undefined ? {} : { signal }) };
        execFile(program, args, options, (error, stdout, stderr) => {
            const status = error === null ? 0 : typeof error.code === 'number' ? error.code : 1;
            resolve({ status, stdout, stderr: stderr === '' && error !== null ? error.message : stderr });
        });
    });
}
