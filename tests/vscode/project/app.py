"""A program that comes back to its breakpoint for ever."""
import time


def tick(count):
    doubled = 42 * count  # the breakpoint
    shown = f"{count}: {doubled}"
    return shown


count = 0
while True:
    count += 1
    tick(count)
    time.sleep(0.2)
