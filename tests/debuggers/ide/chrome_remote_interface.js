// The part of chrome_remote_interface.py that runs in node: debugs programs/steps.js by the npm package of that name.
//
//   node chrome_remote_interface.js NODE_MODULES HOST PORT URL LINE STEPS
//
// Prints what it saw as one line of JSON.

const [modules, host, port, url, line, steps] = process.argv.slice(2);
const CDP = require(require('node:path').join(modules, 'chrome-remote-interface'));

async function main() {
    const target = { host, port: Number(port), local: true };
    const version = await CDP.Version(target);
    const [page] = await CDP.List(target);
    // The address that node gives is its own; the package takes host and port from the caller with the id alone.
    const client = await CDP({ ...target, target: page.id });
    const { Debugger, Runtime } = client;
    const gone = new Promise(resolve => Runtime.executionContextDestroyed(resolve));
    // Stops come one at a time, since the program waits in each.
    const waiting = [];
    const stops = [];
    Debugger.paused(stop => (waiting.length ? waiting.shift()(stop) : stops.push(stop)));
    const stopped = () => (stops.length ? stops.shift() : new Promise(resolve => waiting.push(resolve)));

    await Runtime.enable();
    await Debugger.enable();
    await Debugger.setBreakpointByUrl({ url, lineNumber: line - 1 });
    await Runtime.runIfWaitingForDebugger();
    let frame = (await stopped()).callFrames[0];
    if (frame.location.lineNumber !== line - 1) {
        await Debugger.resume();
        frame = (await stopped()).callFrames[0];
    }
    const { result } = await Debugger.evaluateOnCallFrame({ callFrameId: frame.callFrameId, expression: 'n' });
    const lines = [frame.location.lineNumber + 1];
    for (let step = 0; step < steps; step++) {
        await Debugger.stepOver();
        lines.push((await stopped()).callFrames[0].location.lineNumber + 1);
    }
    await Debugger.resume();
    await gone;
    await client.close();
    console.log(JSON.stringify({ browser: version.Browser, n: result.value, lines }));
}

main();
