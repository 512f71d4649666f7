// Holds a launch.json and a tasks.json against the schemas of VS Code itself, which @codingame/monaco-vscode-api
// publishes as VS Code has them. What belongs to a single debugger is not in them: its extension brings that.
//
//   node vscode.mjs NODE_MODULES launch.json tasks.json
//
// Prints what does not conform and ends with status 1, if anything does not.

import { webcrypto } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const [modules, launchFile, tasksFile] = process.argv.slice(2);
const require = createRequire(`${modules}/`);
const load = name => import(pathToFileURL(require.resolve(name)));

// Written for browsers; node 18 has this under its own name alone.
globalThis.crypto ??= webcrypto;

const contrib = area => `@codingame/monaco-vscode-${area}-service-override/vscode/vs/workbench/contrib`;
const { launchSchema } = await load(`${contrib('debug')}/debug/common/debugSchemas`);
const { default: tasksSchema } = await load(`${contrib('task')}/tasks/common/jsonSchema_v2`);
// VS Code's schemas say `prefixItems`, which came with this draft.
const { default: Ajv } = await load('ajv/dist/2020');

// One alternative for each debugger that is installed, and one name for each configuration: VS Code fills them in.
delete launchSchema.properties.configurations.items.oneOf;
delete launchSchema.properties.compounds;

// Their own schemas are not quite what the specification of schemas allows: one icon is listed twice.
const ajv = new Ajv({ strict: false, allErrors: true, validateFormats: false, validateSchema: false });
let conform = true;
for (const [file, schema] of [[launchFile, launchSchema], [tasksFile, tasksSchema]]) {
    // Only what JSON can say of it: the descriptions are made when somebody looks.
    const { id, ...rest } = JSON.parse(JSON.stringify(schema));
    const validate = ajv.compile(rest);
    if (!validate(JSON.parse(readFileSync(file, 'utf8')))) {
        conform = false;
        for (const error of validate.errors) {
            console.log(`${file}${error.instancePath}: ${error.message} ${JSON.stringify(error.params)}`);
        }
    }
}
process.exit(conform ? 0 : 1);
