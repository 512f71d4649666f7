// One item of the status bar: how this window is connected.

import * as vscode from 'vscode';

import type { Tunnels } from './tunnels';
import { statusText, tooltip } from './words';

export class StatusItem implements vscode.Disposable {
    private readonly item = vscode.window.createStatusBarItem('p2pdbg.status', vscode.StatusBarAlignment.Left, 10);
    private readonly link: vscode.Disposable;

    constructor(private readonly tunnels: Tunnels) {
        this.item.name = 'p2pdbg';
        this.item.command = 'p2pdbg.showActions';
        this.link = tunnels.onChange(() => this.update());
    }

    dispose(): void {
        this.link.dispose();
        this.item.dispose();
    }

    private update(): void {
        const held = this.tunnels.foremost();
        const all = this.tunnels.list();
        const is = (name: string, value: boolean): void => void vscode.commands.executeCommand('setContext', `p2pdbg.${name}`, value);
        is('hasTunnel', all.length > 0);
        is('hasCode', all.some(one => one.state.code !== undefined));
        is('isConnected', all.some(one => one.state.phase === 'connected'));
        is('hasDifferences', all.some(one => one.state.differ.length > 0));
        if (held === undefined) {
            this.item.hide();
            return;
        }
        this.item.text = statusText(held.state);
        this.item.tooltip = tooltip(held.state);
        const isWrong = held.state.phase === 'lost' || held.state.failure !== undefined;
        this.item.backgroundColor = isWrong ? new vscode.ThemeColor('statusBarItem.warningBackground') : undefined;
        this.item.show();
    }
}
