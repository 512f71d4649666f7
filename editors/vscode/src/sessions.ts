// Debug sessions and the tunnels that they use: what detaching, stopping and losing the tunnel mean.

import * as vscode from 'vscode';

import { MARK, USE } from './attach';
import type { Host } from './host';
import type { Change, Held, Tunnels } from './tunnels';
import { failureWords } from './words';

export class Sessions implements vscode.Disposable {
    private readonly links: vscode.Disposable[];

    constructor(private readonly host: Host, private readonly tunnels: Tunnels) {
        this.links = [
            // Long before VS Code says that a session has started, which an attach that waits for its program puts off.
            vscode.debug.registerDebugAdapterTrackerFactory('*', { createDebugAdapterTracker: session => this.track(session) }),
            vscode.debug.onDidStartDebugSession(session => this.onStart(session)),
            vscode.debug.onDidTerminateDebugSession(session => this.onEnd(session)),
            tunnels.onChange(change => this.onChange(change)),
        ];
    }

    dispose(): void {
        this.links.forEach(link => link.dispose());
    }

    private heldBy(session: vscode.DebugSession): Held | undefined {
        const key: unknown = session.configuration[MARK];
        return typeof key === 'string' ? this.tunnels.byKey(key) : undefined;
    }

    private track(session: vscode.DebugSession): vscode.DebugAdapterTracker | undefined {
        if (this.heldBy(session) === undefined) {
            return undefined;
        }
        this.onStart(session);
        return { onWillStopSession: () => this.onEnd(session) };
    }

    private onStart(session: vscode.DebugSession): void {
        this.heldBy(session)?.uses.started(session.id, session.configuration[USE]);
    }

    private onEnd(session: vscode.DebugSession): void {
        const held = this.heldBy(session);
        if (held !== undefined) {
            held.uses.ended(session.id, session.configuration[USE]);
            this.tunnels.afterDebugging(held);
        }
    }

    private onChange({ held, event }: Change): void {
        switch (event?.event) {
            case 'warning':
                this.host.log.warn(`${event.code}: ${event.message}`);
                void vscode.window.showWarningMessage(failureWords(event));
                break;
            case 'error':
                // While F5 waits for the tunnel, it says so itself.
                if (held.uses.isDebugged) {
                    void this.host.complain(failureWords(event));
                }
                break;
            case 'closed':
                if (held.uses.isDebugged) {
                    void vscode.window.showInformationMessage(`p2pdbg: the session with the debuggee is over (${event.why}).`);
                }
                break;
            case 'waiting':
                if (event.for === 'debuggee') {
                    void this.sayHowToStart(held, event.at ?? '');
                }
                break;
            default:
        }
    }

    private async sayHowToStart(held: Held, at: string): Promise<void> {
        const start = held.forward()?.start;
        const copy = 'Copy How to Start It';
        const message = `The tunnel stands, and nothing listens at ${at} on the debuggee's host yet. VS Code attaches when it does.`;
        const chosen = await vscode.window.showInformationMessage(message, ...(start === undefined ? [] : [copy]));
        if (chosen === copy && start !== undefined) {
            await vscode.env.clipboard.writeText(start);
        }
    }
}
