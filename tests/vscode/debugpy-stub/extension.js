// Registers the type debugpy, as the real extension does for an attach with `connect`: straight to the adapter's port.
const vscode = require('vscode');

exports.activate = context => {
    context.subscriptions.push(
        vscode.debug.registerDebugAdapterDescriptorFactory('debugpy', {
            createDebugAdapterDescriptor: session =>
                new vscode.DebugAdapterServer(session.configuration.connect.port, session.configuration.connect.host),
        }),
    );
};
