// Files that are not the same at the debuggee: a badge in the explorer, and a warning among the problems.

import * as vscode from 'vscode';

import type { Host } from './host';
import type { Tunnels } from './tunnels';
import { fileOf } from './view';

/** More than that would bury other problems. */
const MAX_PROBLEMS = 200;

export class Drift implements vscode.FileDecorationProvider, vscode.Disposable {
    private readonly problems = vscode.languages.createDiagnosticCollection('p2pdbg');
    private readonly emitter = new vscode.EventEmitter<vscode.Uri[]>();
    readonly onDidChangeFileDecorations = this.emitter.event;
    private marked = new Map<string, { uri: vscode.Uri; peer: string }>();
    private readonly links: vscode.Disposable[];

    constructor(private readonly host: Host, private readonly tunnels: Tunnels) {
        this.links = [
            vscode.window.registerFileDecorationProvider(this),
            tunnels.onChange(() => this.update()),
            vscode.workspace.onDidChangeConfiguration(change => change.affectsConfiguration('p2pdbg') && this.update()),
        ];
    }

    dispose(): void {
        this.links.forEach(link => link.dispose());
        this.problems.dispose();
        this.emitter.dispose();
    }

    provideFileDecoration(uri: vscode.Uri): vscode.FileDecoration | undefined {
        const mark = this.marked.get(uri.toString());
        return mark === undefined
            ? undefined
            : new vscode.FileDecoration('≠', `Not the same on ${mark.peer}`, new vscode.ThemeColor('list.warningForeground'));
    }

    private update(): void {
        const marked: typeof this.marked = new Map();
        for (const held of this.tunnels.list()) {
            const isShown = this.host.setting('showSourceDrift', held.folder, true);
            for (const name of isShown ? held.state.differ.slice(0, MAX_PROBLEMS) : []) {
                const uri = fileOf(held, name);
                if (uri !== undefined) {
                    marked.set(uri.toString(), { uri, peer: held.state.peer ?? 'the debuggee' });
                }
            }
        }
        const isSame = marked.size === this.marked.size && [...marked].every(([key, { peer }]) => this.marked.get(key)?.peer === peer);
        if (isSame) {
            return;
        }
        const touched = [...this.marked.values(), ...marked.values()].map(mark => mark.uri);
        this.marked = marked;
        this.problems.clear();
        for (const { uri, peer } of marked.values()) {
            const message = `This file is not the same on ${peer}: breakpoints may land on other lines. Push it, or bring both to the same commit.`;
            const problem = new vscode.Diagnostic(new vscode.Range(0, 0, 0, 0), message, vscode.DiagnosticSeverity.Warning);
            problem.source = 'p2pdbg';
            this.problems.set(uri, [problem]);
        }
        this.emitter.fire(touched);
    }
}
