// Copies files to the debuggee, by `p2pdbg push`.

import * as vscode from 'vscode';

import { type Host, directoryOf } from './host';
import { run } from './tunnel';
import type { Held, Tunnels } from './tunnels';

/** Pushes these files and folders, or all that differ if there are none. */
export async function push(host: Host, tunnels: Tunnels, uris: readonly vscode.Uri[], of?: Held): Promise<void> {
    const connected = tunnels.list().filter(held => held.state.phase === 'connected');
    const held = of ?? (connected.length < 2 ? connected[0] : await choose(connected));
    if (held === undefined) {
        if (connected.length === 0) {
            void vscode.window.showWarningMessage('Nobody is connected to push to: start debugging first.');
        }
        return;
    }
    // What is not saved is not what the user sees.
    const unsaved = vscode.workspace.textDocuments.filter(document => document.isDirty && uris.some(uri => uri.fsPath === document.uri.fsPath));
    await Promise.all(unsaved.map(document => document.save()));
    const directory = directoryOf(held.folder);
    const root = typeof held.wanted.sources === 'string' ? held.wanted.sources : held.state.sourcesHere;
    const args = [
        'push',
        ...(root === undefined ? [] : ['--sources', root]),
        ...(held.state.peer === undefined ? [] : ['--peer', held.state.peer]),
        '--',
        ...uris.map(uri => uri.fsPath),
    ];
    const done = await vscode.window.withProgress(
        { location: vscode.ProgressLocation.Notification, title: `Pushing to ${held.state.peer ?? 'the debuggee'}`, cancellable: true },
        (_, token) => {
            const abort = new AbortController();
            token.onCancellationRequested(() => abort.abort());
            return run(held.program, args, directory, held.environment, abort.signal);
        },
    );
    const lines = done.stderr.trim().split('\n');
    lines.forEach(line => host.log.info(line));
    if (done.status === 0) {
        void vscode.window.showInformationMessage(lines[lines.length - 1] ?? 'Pushed.');
    } else {
        const why = lines.filter(line => !line.startsWith('    ')).slice(0, 3).join('; ');
        void host.complain(`Not everything was pushed: ${why}`);
    }
}

async function choose(connected: readonly Held[]): Promise<Held | undefined> {
    const items = connected.map(held => ({ label: held.state.peer ?? '?', held }));
    return (await vscode.window.showQuickPick(items, { title: 'Push to which debuggee?' }))?.held;
}
