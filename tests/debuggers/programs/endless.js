// A program that runs until it is ended, for debuggers that attach to what runs.
let n = 0;
console.log("running");
setInterval(() => {
  n += 1;
}, 50);
