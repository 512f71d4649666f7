// Who uses a tunnel: debug sessions, and F5s from the moment they ask for it until their session begins. No I/O and no
// VS Code. A tunnel that is used is not stopped because one of its users is done with it.

import { randomUUID } from 'node:crypto';

export class Uses {
    private readonly sessions = new Set<string>();
    private readonly starting = new Set<unknown>();
    private hasEnded = false;

    /**
     * An F5 asks for the tunnel. Gives the name by which its use passes to its session, or is given back. It is of this
     * tunnel alone: a session of an earlier one in the same place may name its own.
     */
    begin(): string {
        const use = randomUUID();
        this.starting.add(use);
        return use;
    }

    /** A session begins, or one that began is told of again. Children name the use that their parent had. */
    started(session: string, use: unknown): void {
        this.starting.delete(use);
        this.sessions.add(session);
    }

    /** A session is over, perhaps one of which nobody said that it began. */
    ended(session: string, use: unknown): void {
        this.starting.delete(use);
        this.sessions.delete(session);
        this.hasEnded = true;
    }

    /** An F5 comes to nothing. Whether the use was still its own: a session that began has it. */
    giveBack(use: string): boolean {
        return this.starting.delete(use);
    }

    /** Whether it has served a session that is over. */
    get wasDebugged(): boolean {
        return this.hasEnded;
    }

    get isDebugged(): boolean {
        return this.sessions.size > 0;
    }

    get isFree(): boolean {
        return this.sessions.size + this.starting.size === 0;
    }
}

/** Takes something out of a map, and leaves what has come to its place since. */
export function forget<K, V>(all: Map<K, V>, key: K, value: V): void {
    if (all.get(key) === value) {
        all.delete(key);
    }
}
