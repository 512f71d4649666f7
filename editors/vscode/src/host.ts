// What all parts share of VS Code: settings, secrets, the log, and the environment that p2pdbg is run with.

import { homedir } from 'node:os';

import * as vscode from 'vscode';

import { type Binary, NoBinary, find, placesHere } from './binary';

const RENDEZVOUS = 'rendezvous';

export class Host implements vscode.Disposable {
    readonly log = vscode.window.createOutputChannel('p2pdbg', { log: true });

    constructor(readonly context: vscode.ExtensionContext) {}

    dispose(): void {
        this.log.dispose();
    }

    setting<T>(name: string, folder: vscode.WorkspaceFolder | undefined, otherwise: T): T {
        return vscode.workspace.getConfiguration('p2pdbg', folder).get<T>(name) ?? otherwise;
    }

    /** Throws `NoBinary`. */
    async binary(folder: vscode.WorkspaceFolder | undefined): Promise<Binary> {
        const binary = await find(placesHere(this.setting('path', folder, ''), this.context.extensionPath));
        this.log.info(`${binary.path}, version ${binary.version}`);
        return binary;
    }

    /** The access key goes by the environment, which other users cannot see. */
    async environment(): Promise<NodeJS.ProcessEnv> {
        const url = await this.context.secrets.get(RENDEZVOUS);
        return url === undefined ? process.env : { ...process.env, P2PDBG_RENDEZVOUS: url };
    }

    async setRendezvous(): Promise<void> {
        const url = await vscode.window.showInputBox({
            title: 'Where the hosts meet',
            prompt: 'The URL that p2pdbg-rendezvous printed. Empty: the one of the configuration file or the environment.',
            placeHolder: 'p2pdbg://KEY@HOST:3478#FINGERPRINT',
            password: true,
            ignoreFocusOut: true,
            validateInput: text => (text === '' || text.trim().startsWith('p2pdbg://') ? undefined : 'It begins with p2pdbg://'),
        });
        if (url === undefined) {
            return;
        }
        await (url === '' ? this.context.secrets.delete(RENDEZVOUS) : this.context.secrets.store(RENDEZVOUS, url.trim()));
    }

    async chooseBinary(): Promise<void> {
        const chosen = await vscode.window.showOpenDialog({ title: 'The program p2pdbg', canSelectMany: false });
        const path = chosen?.[0]?.fsPath;
        if (path !== undefined) {
            await vscode.workspace.getConfiguration('p2pdbg').update('path', path, vscode.ConfigurationTarget.Global);
        }
    }

    /** Says why something did not work, with what can be done at once. */
    async complain(message: string, error?: unknown): Promise<void> {
        this.log.error(message);
        const actions = new Map<string, () => unknown>([['Show the Log', () => this.log.show()]]);
        if (error instanceof NoBinary) {
            actions.set('Choose the Program…', () => this.chooseBinary());
        } else if (/rendezvous/i.test(message)) {
            actions.set('Set the Rendezvous…', () => this.setRendezvous());
        }
        const chosen = await vscode.window.showErrorMessage(message, ...actions.keys());
        await (chosen === undefined ? undefined : actions.get(chosen)?.());
    }
}

/** Where p2pdbg runs for a folder. */
export function directoryOf(folder: vscode.WorkspaceFolder | undefined): string {
    return folder === undefined ? homedir() : folder.uri.fsPath;
}
