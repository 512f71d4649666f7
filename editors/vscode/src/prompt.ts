// Shows the code, with what copies it, until the debuggee has come.

import * as vscode from 'vscode';

import type { Held } from './tunnels';
import { plain } from './words';

interface Choice extends vscode.QuickPickItem {
    readonly act: () => unknown;
    readonly ends?: boolean;
}

export async function copyCommand(held: Held | undefined): Promise<void> {
    await copy(held?.state.command, 'Copied. Run it on the debuggee\'s host.');
}

export async function copyCode(held: Held | undefined): Promise<void> {
    await copy(held?.state.code, 'The code is copied.');
}

async function copy(text: string | undefined, said: string): Promise<void> {
    if (text !== undefined) {
        await vscode.env.clipboard.writeText(text);
        vscode.window.setStatusBarMessage(said, 4000);
    }
}

/** A picker that stays while the code is of use. `cancel` is called if the user gives up. */
export class Prompt implements vscode.Disposable {
    private readonly picker = vscode.window.createQuickPick<Choice>();
    private shownCode: string | undefined;

    constructor(private readonly held: Held, private readonly actions: { cancel(): void; useCode(): void }) {
        this.picker.title = 'p2pdbg: waiting for the debuggee';
        this.picker.ignoreFocusOut = true;
        this.picker.busy = true;
        this.picker.onDidAccept(() => void this.accept());
    }

    dispose(): void {
        this.picker.dispose();
    }

    /** Shows what there is to show by now. A picker that was closed by Escape comes back with a new code only. */
    update(): void {
        const { state, wanted } = this.held;
        const name = state.code ?? wanted.peer;
        if (name === undefined || name === this.shownCode) {
            return;
        }
        this.shownCode = name;
        this.picker.placeholder = state.code === undefined ? `p2pdbg connect must run on ${wanted.peer}` : 'Run this on the debuggee\'s host';
        const stop: Choice = { label: '$(close) Stop Waiting', act: () => this.actions.cancel(), ends: true };
        this.picker.items = state.code === undefined ? [...this.forPeer(), stop] : [...this.forCode(state.code), stop];
        this.picker.show();
    }

    show(): void {
        this.picker.show();
    }

    private forCode(code: string): Choice[] {
        const line = this.held.state.withoutInstall;
        const bare: Choice = {
            label: `$(cloud-download) Copy a Line for a Host without p2pdbg`, description: 'Linux; fetches it, and leaves nothing behind',
            act: () => copy(line, 'Copied. Run it in a shell of the debuggee\'s host.'),
        };
        return [
            { label: `$(copy) Copy the Command`, detail: plain(this.held.state.command ?? ''), act: () => copyCommand(this.held) },
            { label: `$(key) Copy the Code`, description: plain(code), act: () => copyCode(this.held) },
            ...(line === undefined ? [] : [bare]),
        ];
    }

    private forPeer(): Choice[] {
        const peer = plain(this.held.wanted.peer ?? '');
        return [{ label: `$(key) Use a Code Instead`, description: `of ${peer}`, act: () => this.actions.useCode(), ends: true }];
    }

    private async accept(): Promise<void> {
        const choice = this.picker.selectedItems[0];
        if (choice?.ends === true) {
            this.picker.hide();
        }
        await choice?.act();
    }
}
