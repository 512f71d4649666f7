// What is shown of a tunnel, in words. The peer's name and text come from outside: they go into plain text only, never
// into Markdown or into icons of a label.

import type { State } from './state';

/** A text that VS Code shows as it is: `$(name)` would be an icon in a label. */
export function plain(text: string): string {
    return text.replaceAll('$(', '$\u200b(').slice(0, 300);
}

/** A round-trip time. */
export function rtt(ms: number): string {
    return ms < 10 ? `${ms.toFixed(1)} ms` : ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

/** How the peers are connected. */
export function pathWords(state: State): string {
    const path = state.path;
    if (path === undefined) {
        return '';
    }
    const kind = path.kind === 'direct' ? 'direct' : path.via === 'tcp' ? 'relay over TCP'
        : path.via === 'websocket' ? 'relay by WebSocket' : 'relay';
    return state.rttMs === undefined ? kind : `${kind} · ${rtt(state.rttMs)}`;
}

/** The status item's text. */
export function statusText(state: State): string {
    const peer = plain(state.peer ?? 'p2pdbg');
    switch (state.phase) {
        case 'starting':
            return '$(sync~spin) p2pdbg';
        case 'code':
            return `$(key) ${plain(state.code ?? 'p2pdbg')}`;
        case 'waiting':
            return '$(watch) p2pdbg: waiting';
        case 'connected':
            return `$(plug) ${[peer, pathWords(state)].filter(part => part !== '').join(' · ')}`;
        case 'lost':
            return `$(sync~spin) ${peer} is out of reach`;
        case 'ended':
            return '$(debug-disconnect) p2pdbg';
    }
}

/** What a debug session that is to begin waits for. */
export function progressWords(state: State, peer: string | undefined): string {
    switch (state.phase) {
        case 'starting':
            return 'asking the rendezvous…';
        case 'code':
            return `waiting for the debuggee, code ${state.code ?? ''}`;
        case 'waiting':
            return `waiting for ${peer ?? 'the debuggee'}`;
        case 'connected':
            return `connected with ${state.peer ?? 'the debuggee'}, attaching…`;
        case 'lost': {
            const code = state.code === undefined ? '' : `, or code ${state.code}`;
            return `${state.peer ?? 'the debuggee'} is out of reach; waiting for it${code}`;
        }
        case 'ended':
            return 'ended';
    }
}

/** The status item's tooltip, as plain text. */
export function tooltip(state: State): string {
    const lines = [
        state.peer === undefined ? 'No debuggee yet' : `Debuggee: ${state.peer}`,
        state.path === undefined ? '' : `Path: ${pathWords(state)}${state.path.why === '' ? '' : ` (${state.path.why})`}`,
        ...state.forwards.map(one => `Port ${one.port}${one.debugger === undefined ? '' : `: ${one.debugger}`}`),
        state.differ.length === 0 ? '' : differWords(state),
        state.phase === 'lost' ? 'Connections are held until it is back.' : '',
    ];
    return lines.filter(line => line !== '').join('\n');
}

/** How many files are not the same. */
export function differWords(state: State): string {
    const count = state.differ.length + state.more;
    return count === 1 ? '1 file differs' : `${count} files differ`;
}

/** What a failure of p2pdbg's is to the user: one sentence and what to do. */
export function failureWords(failure: { message: string; hint?: string }): string {
    const message = failure.message.charAt(0).toUpperCase() + failure.message.slice(1);
    return failure.hint === undefined ? `${message}.` : `${message}. To mend it: ${failure.hint}.`;
}
