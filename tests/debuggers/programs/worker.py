"""What each subprocess of spawning.py runs."""

import sys


def work(kind: str) -> None:
    name = f"worker {kind}"  # BREAK: work
    print(name, flush=True)


if __name__ == "__main__":
    work(sys.argv[1])
