// What F5 does to a configuration with the property "p2pdbg": has the tunnel stand, and fills in where it leads.

import * as vscode from 'vscode';

import { type Configuration, choose, fill, lacks, parseIdeOutput, prepared, refusal } from './fill';
import { type Host, directoryOf } from './host';
import { Prompt } from './prompt';
import { type State, isAwaited } from './state';
import { run } from './tunnel';
import type { Held, Taken, Tunnels } from './tunnels';
import { BadConfiguration, type Wanted, isAskedFor, keyOf, parseWanted } from './wanted';
import { failureWords, progressWords } from './words';

/** Marks a configuration that is done with the tunnel it has. Child sessions inherit it. */
export const MARK = '__p2pdbg';

/** By which use of its tunnel a configuration came to be. Child sessions inherit it too. */
export const USE = '__p2pdbg_use';

/**
 * A session whose adapter has not been started so long after its configuration was filled in never will be: VS Code says
 * nothing of one that it gave up. The adapter's own extension may have something to ask meanwhile.
 */
const BEGINS_MS = 60_000;

/** For how long the debuggee's directory, and then the comparison of the files, is waited for once the forward stands. */
const FACTS_MS = 5000;
const SOURCES_MS = 2000;

const REMEMBERED = 'peers';

export class Attach implements vscode.DebugConfigurationProvider {
    private prompt: Prompt | undefined;

    constructor(private readonly host: Host, private readonly tunnels: Tunnels) {}

    resolveDebugConfiguration(
        _folder: vscode.WorkspaceFolder | undefined,
        configuration: vscode.DebugConfiguration,
    ): vscode.DebugConfiguration {
        const isOurs = isAskedFor(configuration['p2pdbg']) && configuration[MARK] === undefined;
        return isOurs ? (prepared(configuration) as vscode.DebugConfiguration) : configuration;
    }

    async resolveDebugConfigurationWithSubstitutedVariables(
        folder: vscode.WorkspaceFolder | undefined,
        configuration: vscode.DebugConfiguration,
        token?: vscode.CancellationToken,
    ): Promise<vscode.DebugConfiguration | undefined> {
        const asked = configuration['p2pdbg'];
        // A child of js-debug's or debugpy's goes where its parent went.
        if (!isAskedFor(asked) || configuration[MARK] !== undefined || configuration['__pendingTargetId'] !== undefined) {
            return configuration;
        }
        try {
            const said = parseWanted(asked, configuration.type, configuration['listen'] !== undefined);
            // Nothing known of a folder: a workspace without any.
            const here = folder ?? vscode.workspace.workspaceFolders?.[0];
            const taken = await this.reach(said, here, token);
            return taken === undefined ? undefined : await this.begin(configuration, taken, here);
        } catch (error) {
            const message = error instanceof Error ? error.message : String(error);
            const where = error instanceof BadConfiguration ? `"${configuration.name}" in launch.json: ` : '';
            void this.host.complain(where + message, error);
            return undefined;
        }
    }

    showCode(): void {
        this.prompt?.show();
    }

    /** Takes codes again rather than the peers of before. */
    async forgetPeers(): Promise<void> {
        await this.host.context.workspaceState.update(REMEMBERED, undefined);
    }

    private remembered(): Record<string, string> {
        return this.host.context.workspaceState.get<Record<string, string>>(REMEMBERED) ?? {};
    }

    /** A tunnel with somebody at the other end and the forward open; nothing if the user gave up or it failed. */
    private async reach(
        said: Wanted,
        folder: vscode.WorkspaceFolder | undefined,
        token: vscode.CancellationToken | undefined,
    ): Promise<Taken | undefined> {
        const key = keyOf(said, folder?.uri.fsPath);
        const known = said.peer ?? this.remembered()[key];
        const { held, use } = await this.tunnels.take(known === undefined ? said : { ...said, peer: known }, folder);
        let useCode = false;
        const isThere = await vscode.window.withProgress(
            { location: vscode.ProgressLocation.Notification, title: 'p2pdbg', cancellable: true },
            async (progress, cancelled) => {
                const giveUp = new vscode.CancellationTokenSource();
                const prompt = new Prompt(held, {
                    cancel: () => giveUp.cancel(),
                    useCode: () => {
                        useCode = true;
                        giveUp.cancel();
                    },
                });
                this.prompt = prompt;
                const update = (): void => {
                    progress.report({ message: progressWords(held.state, held.wanted.peer) });
                    if (isAwaited(held.state)) {
                        prompt.update();
                    }
                };
                const links = [
                    cancelled.onCancellationRequested(() => giveUp.cancel()),
                    token?.onCancellationRequested(() => giveUp.cancel()),
                    this.tunnels.onChange(change => change.held === held && update()),
                ];
                update();
                try {
                    return await this.stands(held, giveUp.token, prompt);
                } finally {
                    links.forEach(link => link?.dispose());
                    prompt.dispose();
                    giveUp.dispose();
                    this.prompt = undefined;
                }
            },
        );
        if (isThere) {
            this.offerToRemember(key, held, known);
            return { held, use };
        }
        const failure = held.state.failure;
        // Nobody uses a code whose window was closed; but another configuration may wait for the same peer, or debug.
        held.uses.giveBack(use);
        // A code is asked for in place of a peer that has not come, and the port has to be free for it.
        await (useCode ? this.tunnels.stop(held) : this.tunnels.stopIfFree(held));
        if (useCode) {
            await this.host.context.workspaceState.update(REMEMBERED, { ...this.remembered(), [key]: undefined });
            const { peer: _peer, ...anybody } = said;
            return this.reach(anybody, folder, token);
        }
        if (failure !== undefined) {
            void this.host.complain(failureWords(failure));
        }
        return undefined;
    }

    private async stands(held: Held, token: vscode.CancellationToken, prompt: Prompt): Promise<boolean> {
        const isUp = (state: State): boolean => state.phase === 'connected' && held.forward() !== undefined;
        if (!(await held.until(isUp, token))) {
            return false;
        }
        prompt.dispose();
        // A peer that says nothing of itself, or compares nothing, is attached to without mappings.
        await this.within(FACTS_MS, token, held, state => state.hasFacts);
        if (held.folder !== undefined && held.wanted.sources !== false) {
            await this.within(SOURCES_MS, token, held, state => state.hasSources);
        }
        return !token.isCancellationRequested;
    }

    private async within(ms: number, token: vscode.CancellationToken, held: Held, isSo: (state: State) => boolean): Promise<void> {
        const over = new vscode.CancellationTokenSource();
        const timer = setTimeout(() => over.cancel(), ms);
        const link = token.onCancellationRequested(() => over.cancel());
        await held.until(isSo, over.token);
        clearTimeout(timer);
        link.dispose();
        over.dispose();
    }

    private offerToRemember(key: string, held: Held, known: string | undefined): void {
        const { peer, isKnown } = held.state;
        if (peer === undefined || known !== undefined || isKnown || held.borrowed !== undefined) {
            return;
        }
        const remember = 'Remember for This Configuration';
        const message = `Connected with ${peer}. The two hosts know each other now: next time no code is needed.`;
        void vscode.window.showInformationMessage(message, remember).then(async chosen => {
            if (chosen === remember) {
                await this.host.context.workspaceState.update(REMEMBERED, { ...this.remembered(), [key]: peer });
            }
        });
    }

    /** Fills the configuration in. The use passes to its session, and comes back of one that never begins. */
    private async begin(
        configuration: vscode.DebugConfiguration,
        { held, use }: Taken,
        folder: vscode.WorkspaceFolder | undefined,
    ): Promise<vscode.DebugConfiguration> {
        let patience = 0;
        try {
            const filled = await this.filled(configuration, held, folder);
            filled[USE] = use;
            patience = BEGINS_MS;
            return filled;
        } finally {
            // A session that ended meanwhile had left the tunnel to it.
            setTimeout(
                () => void (held.uses.giveBack(use) && held.uses.wasDebugged && this.tunnels.afterDebugging(held)),
                patience,
            );
        }
    }

    private async filled(
        configuration: vscode.DebugConfiguration,
        held: Held,
        folder: vscode.WorkspaceFolder | undefined,
    ): Promise<vscode.DebugConfiguration> {
        const port = held.forward()?.port ?? 0;
        const directory = directoryOf(folder);
        const args = ['ide', 'vscode', '--dir', directory, ...(held.state.peer === undefined ? [] : ['--peer', held.state.peer])];
        const made = await run(held.program, args, directory, held.environment);
        made.stderr.split('\n').filter(line => line !== '').forEach(line => this.host.log.info(line));
        const why = refusal(configuration.type, held.wanted.forward, made);
        if (why !== undefined) {
            throw new Error(why);
        }
        const chosen = choose(parseIdeOutput(made.stdout), configuration.type, port);
        const own = this.own(configuration, folder);
        const lacking = lacks(own);
        if (lacking !== undefined) {
            void vscode.window.showWarningMessage(`"${configuration.name}" in launch.json: ${lacking}`);
        }
        const { configuration: after, leftOut } = fill(configuration, own, chosen, port, folder?.uri.fsPath);
        for (const key of leftOut) {
            this.host.log.warn(`left ${key} out: something in it looks like a variable`);
            void vscode.window.showWarningMessage(
                `p2pdbg fills in no ${key}: the debuggee's directory has "\${" in its name, which VS Code may take for a variable.`,
            );
        }
        delete after['p2pdbg'];
        after[MARK] = held.key;
        return after as vscode.DebugConfiguration;
    }

    /** The configuration as the user wrote it, before defaults were put in. */
    private own(configuration: vscode.DebugConfiguration, folder: vscode.WorkspaceFolder | undefined): Configuration {
        const all = vscode.workspace.getConfiguration('launch', folder).get<Configuration[]>('configurations') ?? [];
        return all.find(one => one['name'] === configuration.name) ?? configuration;
    }
}
