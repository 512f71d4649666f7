// The view in Run and Debug: peers, their streams, and the files that differ.

import * as vscode from 'vscode';

import { directoryOf } from './host';
import type { Held, Tunnels } from './tunnels';
import { differWords, pathWords, plain, statusText } from './words';

/** How many files are listed; the rest is a number. */
const MAX_FILES = 200;

export class Node extends vscode.TreeItem {
    constructor(
        label: string,
        readonly held: Held,
        readonly children: () => Node[] = () => [],
        state = vscode.TreeItemCollapsibleState.None,
    ) {
        super(plain(label), state);
    }

    with(changes: Partial<Pick<vscode.TreeItem, 'description' | 'iconPath' | 'contextValue' | 'resourceUri' | 'command' | 'tooltip'>>): this {
        return Object.assign(this, changes);
    }
}

const icon = (name: string): vscode.ThemeIcon => new vscode.ThemeIcon(name);
const OPEN = vscode.TreeItemCollapsibleState.Expanded;

export class View implements vscode.TreeDataProvider<Node>, vscode.Disposable {
    private readonly emitter = new vscode.EventEmitter<undefined>();
    readonly onDidChangeTreeData = this.emitter.event;
    private readonly links: vscode.Disposable[];

    constructor(private readonly tunnels: Tunnels) {
        this.links = [
            vscode.window.registerTreeDataProvider('p2pdbg.tunnels', this),
            tunnels.onChange(() => this.emitter.fire(undefined)),
        ];
    }

    dispose(): void {
        this.links.forEach(link => link.dispose());
        this.emitter.dispose();
    }

    getTreeItem(node: Node): vscode.TreeItem {
        return node;
    }

    getChildren(node?: Node): Node[] {
        return node === undefined ? this.tunnels.list().map(held => tunnel(held)) : node.children();
    }
}

function tunnel(held: Held): Node {
    const { state } = held;
    const name = state.peer ?? held.wanted.peer ?? held.wanted.forward ?? 'p2pdbg';
    const failed = state.failure === undefined ? '' : state.failure.message;
    const waits = state.phase === 'connected' || state.phase === 'lost' ? pathWords(state) : failed;
    const phase = state.phase === 'lost' ? 'out of reach' : '';
    const description = [phase, waits, held.borrowed === undefined ? '' : 'of another window'].filter(part => part !== '').join(' · ');
    return new Node(name, held, () => parts(held), OPEN).with({
        description,
        iconPath: icon(state.phase === 'connected' ? 'vm-active' : state.phase === 'ended' ? 'error' : 'vm-connect'),
        contextValue: 'tunnel',
        tooltip: state.path?.why ?? failed,
    });
}

function parts(held: Held): Node[] {
    const { state } = held;
    const nodes: Node[] = [];
    if (state.code !== undefined) {
        nodes.push(new Node(state.code, held).with({ iconPath: icon('key'), contextValue: 'code', description: 'for p2pdbg connect' }));
    } else if (state.phase === 'waiting') {
        nodes.push(new Node(statusText(state).replace(/^\$\(.*?\) /, ''), held).with({ iconPath: icon('watch') }));
    }
    for (const forward of state.forwards) {
        const streams = [...state.streams.values()].filter(stream => state.forwards.length === 1 || stream.to.endsWith(`:${forward.port}`));
        const children = (): Node[] =>
            streams.map(stream => new Node(stream.debugger ?? stream.to, held).with({ description: plain(stream.state), iconPath: icon('arrow-swap') }));
        const title = `${forward.toDebuggee ? 'Port' : 'Listens at'} ${forward.port}`;
        nodes.push(new Node(title, held, children, OPEN).with({ description: plain(forward.debugger ?? ''), iconPath: icon('debug') }));
    }
    if (state.differ.length > 0) {
        nodes.push(new Node(differWords(state), held, () => differences(held), OPEN).with({ iconPath: icon('diff'), contextValue: 'differences' }));
    } else if (state.hasSources && state.phase === 'connected' && held.borrowed === undefined) {
        nodes.push(new Node('Sources are the same', held).with({ iconPath: icon('check') }));
    }
    return nodes;
}

/** Where a name of the comparison is on this host, if it stays below the directory that is compared. */
export function fileOf(held: Held, name: string): vscode.Uri | undefined {
    if (name.split(/[\\/]/).includes('..')) {
        return undefined;
    }
    return vscode.Uri.joinPath(vscode.Uri.file(held.state.sourcesHere ?? directoryOf(held.folder)), name);
}

function differences(held: Held): Node[] {
    const files = held.state.differ.slice(0, MAX_FILES).flatMap(name => {
        const uri = fileOf(held, name);
        return uri === undefined
            ? []
            : [
                  new Node(name, held).with({
                      resourceUri: uri,
                      contextValue: 'difference',
                      iconPath: vscode.ThemeIcon.File,
                      command: { command: 'vscode.open', title: 'Open', arguments: [uri] },
                  }),
              ];
    });
    const more = held.state.differ.length + held.state.more - files.length;
    return more > 0 ? [...files, new Node(`and ${more} more`, held)] : files;
}
