// Drives a real VS Code, code-server in Chromium, as its user would: opens a file, sets a breakpoint, presses F5.
//
//   node drive.mjs STEPS.json
//
// STEPS.json: { "modules", "chromium", "codeServer": [program, …], "project", "file", "line", "configuration", "shots",
// "steps": [step, …] }. What is seen is said on standard output, one JSON object a line. Ends with status 0 if every step was
// seen to work; with a picture of the last state in `shots` otherwise.

import { spawn } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

const plan = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const { chromium } = createRequire(`${plan.modules}/`)('playwright-core');

/** How long anything may take. A machine with two cores starts all of this slowly. */
const PATIENCE = 120_000;

const say = (event, more = {}) => console.log(JSON.stringify({ event, ...more }));

const freePort = () =>
    new Promise(resolve => {
        const server = createServer().listen(0, '127.0.0.1', () => {
            const { port } = server.address();
            server.close(() => resolve(port));
        });
    });

/** Waits until something is so. */
async function until(what, isSo) {
    const end = Date.now() + PATIENCE;
    for (;;) {
        const found = await isSo();
        if (found) {
            return found;
        }
        if (Date.now() > end) {
            throw new Error(`still no ${what}`);
        }
        await pause(100);
    }
}

const port = await freePort();
const [program, ...args] = plan.codeServer;
const server = spawn(program, [...args, '--bind-addr', `127.0.0.1:${port}`, plan.project], { stdio: ['ignore', 'pipe', 'pipe'] });
server.stdout.on('data', data => process.stderr.write(data));
server.stderr.on('data', data => process.stderr.write(data));
await until('VS Code', async () => {
    try {
        return (await fetch(`http://127.0.0.1:${port}/healthz`)).ok;
    } catch {
        return false;
    }
});

const browser = await chromium.launch({ executablePath: plan.chromium, args: ['--no-sandbox', '--disable-gpu'] });
const context = await browser.newContext({ viewport: { width: 1280, height: 960 } });
await context.grantPermissions(['clipboard-read', 'clipboard-write'], { origin: `http://127.0.0.1:${port}` });
const page = await context.newPage();
page.setDefaultTimeout(PATIENCE);
mkdirSync(plan.shots, { recursive: true });

const shot = name => page.screenshot({ path: join(plan.shots, `${plan.configuration}-${name}.png`.replaceAll(' ', '-')) });

/** Runs a command by its title, as the palette has it. */
async function command(title) {
    await page.keyboard.press('F1');
    const input = page.locator('.quick-input-widget input').first();
    await input.fill(`>${title}`);
    await page.locator('.quick-input-list .monaco-list-row', { hasText: title }).first().waitFor();
    await page.keyboard.press('Enter');
}

const item = () => page.locator('.statusbar-item[id*="p2pdbg.status"]');
const status = async () => ((await item().allInnerTexts())[0] ?? '').trim();

/** Where the program stands, by the call stack of the paused thread. */
async function paused(line) {
    await page.locator('.debug-top-stack-frame-column, .debug-top-stack-frame-line').first().waitFor();
    const place = page.locator('.debug-call-stack .monaco-list-row', { hasText: plan.file.split('/').pop() });
    const found = await until(`pause at line ${line}`, async () => {
        const rows = await place.allInnerTexts().catch(() => []);
        return rows.find(row => new RegExp(`\\b${line}(:\\d+)?\\b`).test(row));
    });
    return found.replaceAll('\n', ' ');
}

const attachButton = () => page.locator('.debug-toolbar');

const steps = {
    /** Opens the file, sets the breakpoint and presses F5. */
    async open() {
        await page.goto(`http://127.0.0.1:${port}/?folder=${encodeURIComponent(plan.project)}`);
        await page.locator('.monaco-workbench').waitFor();
        await page.keyboard.press('Control+P');
        await page.locator('.quick-input-widget input').first().fill(`${plan.file}:${plan.line}`);
        await page.locator('.quick-input-list .monaco-list-row', { hasText: plan.file }).first().waitFor();
        await page.keyboard.press('Enter');
        await page.locator('.view-lines', { hasText: 'the breakpoint' }).waitFor();
        await page.keyboard.press('F9');
        await page.locator('.codicon-debug-breakpoint, .codicon-debug-breakpoint-unverified').first().waitFor();
        await page.keyboard.press('F5');
    },
    /** The same; tells the code that is shown. */
    async f5() {
        await steps.open();
        const row = page.locator('.quick-input-list .monaco-list-row', { hasText: 'Copy the Command' });
        await row.waitFor();
        await shot('1-code');
        await row.click();
        const copied = await until('copied command', async () => {
            const text = await page.evaluate(() => navigator.clipboard.readText());
            return text.startsWith('p2pdbg connect ') && text;
        });
        say('code', { command: copied, status: await status() });
    },
    async paused() {
        const at = await paused(plan.line);
        const shown = await until('direct path', async () => /direct/.test(await status()) && (await status()));
        await shot('2-paused');
        say('paused', { at, status: shown });
    },
    /** The path is cut when this says that it waits, and mended when it has seen it. */
    async outage() {
        say('cut');
        const shown = await until('outage', async () => /out of reach/.test(await status()) && (await status()));
        await shot('3-outage');
        say('lost', { status: shown });
        const back = await until('return', async () => /direct|relay/.test(await status()) && (await status()));
        await page.keyboard.press('F10');
        const at = await paused(plan.line + 1);
        await shot('4-after-the-outage');
        say('stepped', { at, status: back });
    },
    /** Pushes the file that differs, from the view. */
    async push() {
        const header = page.locator('.pane-header', { hasText: /^p2pdbg/i });
        if ((await header.getAttribute('aria-expanded')) === 'false') {
            await header.click();
        }
        await page.getByText('1 file differs').first().waitFor();
        await shot('5-drift');
        await command('p2pdbg: Push All Files That Differ');
        await page.getByText('Sources are the same').first().waitFor();
        await shot('6-pushed');
        say('pushed');
    },
    async restart() {
        await page.keyboard.press('F5');
        await paused(plan.line);
        await page.keyboard.press('Control+Shift+F5');
        await until('new session', async () => (await page.locator('.debug-top-stack-frame-line, .debug-top-stack-frame-column').count()) === 0);
        const at = await paused(plan.line);
        say('restarted', { at, status: await status() });
    },
    /** Detaching leaves the tunnel, and the next F5 needs no code. */
    async detach() {
        await page.keyboard.press('Shift+F5');
        await attachButton().waitFor({ state: 'hidden' });
        const shown = await status();
        await page.keyboard.press('F5');
        const at = await paused(plan.line);
        say('attached_again', { at, status: shown });
        await page.keyboard.press('Shift+F5');
        await attachButton().waitFor({ state: 'hidden' });
    },
    /** p2pdbg is killed when this says so: that is said, and the next F5 begins anew. */
    async killed() {
        say('kill');
        await page.getByText('p2pdbg listen has ended by SIGKILL').first().waitFor();
        await shot('7-killed');
        await attachButton().waitFor({ state: 'hidden' });
        await page.keyboard.press('F5');
        await page.locator('.quick-input-list .monaco-list-row', { hasText: 'Copy the Command' }).waitFor();
        say('code_again', { status: await status() });
    },
    async stop() {
        await command('p2pdbg: Stop the Tunnel');
        await until('end of the status item', async () => (await status()) === '');
        say('stopped');
    },
};

let failed = false;
try {
    for (const step of plan.steps) {
        await steps[step]();
    }
    say('done');
} catch (error) {
    failed = true;
    await shot('failed').catch(() => {});
    say('failed', { why: String(error), status: await status().catch(() => ''), notifications: await page.locator('.notification-list-item').allInnerTexts().catch(() => []) });
} finally {
    await browser.close();
    server.kill('SIGTERM');
}
process.exit(failed ? 1 : 0);
