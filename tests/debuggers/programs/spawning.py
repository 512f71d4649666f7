"""The program under test: three processes at once, started in the three ways that Python has."""

import multiprocessing
import subprocess
import sys
from pathlib import Path

import worker


def main() -> int:
    processes = [multiprocessing.get_context(way).Process(target=worker.work, args=(way,)) for way in ("fork", "spawn")]
    for process in processes:
        process.start()
    command = subprocess.Popen([sys.executable, str(Path(__file__).with_name("worker.py")), "command"])
    for process in processes:
        process.join()
    statuses = [process.exitcode for process in processes] + [command.wait()]
    print(f"statuses={statuses}", flush=True)
    return max(statuses)


if __name__ == "__main__":
    sys.exit(main())
