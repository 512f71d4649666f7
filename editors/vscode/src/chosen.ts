// Which files a command is for. No VS Code.

/**
 * The files and folders that a push is of: those that were selected, else the one that the command was called on, else
 * that of the editor. None at all is no list: an empty one would mean everything that differs.
 */
export function chosen<T>(isFile: (one: unknown) => one is T, target: unknown, selected: unknown, editor: unknown): [T, ...T[]] | undefined {
    const asked = Array.isArray(selected) && selected.length > 0 ? selected : [target ?? editor];
    const [first, ...others] = asked.filter(isFile);
    return first === undefined ? undefined : [first, ...others];
}
