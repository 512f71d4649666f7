<?php
// The program under test for Xdebug: a function to stop in and lines to step over.

function double(int $n): int
{
    $result = $n * 2; // BREAK: step
    $result += 1;
    $result += 1;
    $result += 1;
    $result += 1;
    $result += 1;
    $result += 1;
    $result += 1;
    $result -= 7;
    return $result;
}

echo 'answer=' . double(21) . "\n";
