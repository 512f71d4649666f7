// Puts the parts together.

import * as vscode from 'vscode';

import { Attach } from './attach';
import { chosen } from './chosen';
import { Drift } from './drift';
import { Host } from './host';
import { copyCode, copyCommand } from './prompt';
import { push } from './push';
import { Sessions } from './sessions';
import { StatusItem } from './statusItem';
import { type Held, Tunnels } from './tunnels';
import { Node, View } from './view';

let active: Tunnels | undefined;

export function activate(context: vscode.ExtensionContext): void {
    const host = new Host(context);
    const tunnels = new Tunnels(host);
    active = tunnels;
    const attach = new Attach(host, tunnels);
    const withCode = (node: unknown): Held | undefined =>
        node instanceof Node ? node.held : tunnels.list().find(held => held.state.code !== undefined);
    const commands: Record<string, (...args: never[]) => unknown> = {
        copyCommand: (node?: unknown) => copyCommand(withCode(node)),
        copyCode: (node?: unknown) => copyCode(withCode(node)),
        showCode: () => attach.showCode(),
        stopTunnel: (node?: unknown) => (node instanceof Node ? tunnels.stop(node.held) : stopOne(tunnels)),
        push: (target?: unknown, selected?: unknown) => pushThese(host, tunnels, target, selected),
        pushDifferences: (node?: unknown) => push(host, tunnels, [], node instanceof Node ? node.held : undefined),
        setRendezvous: () => host.setRendezvous(),
        chooseBinary: () => host.chooseBinary(),
        forgetPeers: () => attach.forgetPeers(),
        showLog: () => host.log.show(),
        showActions: () => showActions(tunnels),
    };
    context.subscriptions.push(
        host,
        tunnels,
        new StatusItem(tunnels),
        new View(tunnels),
        new Drift(host, tunnels),
        new Sessions(host, tunnels),
        // After those of the debuggers themselves, which put their defaults in.
        vscode.debug.registerDebugConfigurationProvider('*', attach),
        ...Object.entries(commands).map(([name, run]) => vscode.commands.registerCommand(`p2pdbg.${name}`, run)),
    );
}

/** The window closes: the peers are told. */
export async function deactivate(): Promise<void> {
    await active?.stopAll();
}

async function stopOne(tunnels: Tunnels): Promise<void> {
    const all = tunnels.list();
    const items = all.map(held => ({ label: held.state.peer ?? held.wanted.forward ?? 'p2pdbg', held }));
    const one = all.length < 2 ? items[0] : await vscode.window.showQuickPick(items, { title: 'Stop which tunnel?' });
    if (one !== undefined) {
        await tunnels.stop(one.held);
    }
}

/** A file of this host's: what has no name yet, or lies in an archive, is none. */
function isFile(one: unknown): one is vscode.Uri {
    return one instanceof vscode.Uri && one.scheme === 'file';
}

async function pushThese(host: Host, tunnels: Tunnels, target: unknown, selected: unknown): Promise<void> {
    const [on, held] = target instanceof Node ? [target.resourceUri, target.held] : [target, undefined];
    const uris = chosen(isFile, on, held === undefined ? selected : [], vscode.window.activeTextEditor?.document.uri);
    if (uris === undefined) {
        void vscode.window.showWarningMessage('There is no file to push: open it, or select it in the explorer.');
        return;
    }
    await push(host, tunnels, uris, held);
}

async function showActions(tunnels: Tunnels): Promise<void> {
    const all = tunnels.list();
    const action = (label: string, command: string): vscode.QuickPickItem & { command: string } => ({ label, command });
    const items = [
        ...(all.some(held => held.state.code !== undefined)
            ? [action('$(key) Show the Code', 'p2pdbg.showCode'), action('$(copy) Copy the Command', 'p2pdbg.copyCommand')]
            : []),
        action('$(list-tree) Show Peers and Streams', 'p2pdbg.tunnels.focus'),
        ...(all.some(held => held.state.differ.length > 0) ? [action('$(cloud-upload) Push All Files That Differ', 'p2pdbg.pushDifferences')] : []),
        action('$(debug-disconnect) Stop the Tunnel', 'p2pdbg.stopTunnel'),
        action('$(output) Show the Log', 'p2pdbg.showLog'),
    ];
    const chosen = await vscode.window.showQuickPick(items, { title: 'p2pdbg' });
    if (chosen !== undefined) {
        await vscode.commands.executeCommand(chosen.command);
    }
}
