"""A program that runs until it is ended, for debuggers that attach to what runs."""

import time


def count(n):
    total = n + 1
    return total  # BREAK: count


def main():
    print("running", flush=True)
    n = 0
    while True:
        n = count(n)
        if n % 20 == 0:
            print(n, flush=True)
        time.sleep(0.05)


main()
