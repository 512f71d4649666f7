// Which of p2pdbg's presets a type of VS Code's is for: what the rows in crates/debugger/src/presets say, as a test of
// src/ide prints it.

export const PRESETS: Readonly<Record<string, string>> = {
    debugpy: 'debugpy',
    python: 'debugpy',
    cppdbg: 'gdbserver',
    lldb: 'lldb',
    'lldb-dap': 'lldb',
    go: 'delve',
    java: 'jdwp',
    node: 'node',
    'pwa-node': 'node',
    rdbg: 'rdbg',
    php: 'xdebug',
};
