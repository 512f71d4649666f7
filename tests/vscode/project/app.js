// A program that comes back to its breakpoint for ever.
const { answer } = require('./helper');

function tick(count) {
    const doubled = answer() * count; // the breakpoint
    const shown = `${count}: ${doubled}`;
    return shown;
}

let count = 0;
setInterval(() => tick((count += 1)), 200);
