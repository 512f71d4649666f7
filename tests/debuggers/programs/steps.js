// The program under test for node's inspector: a function to stop in and lines to step over.

function double(n) {
  let result = n * 2; // BREAK: step
  result += 1;
  result += 1;
  result += 1;
  result += 1;
  result += 1;
  result += 1;
  result += 1;
  result -= 7;
  return result;
}

console.log(`answer=${double(21)}`);
