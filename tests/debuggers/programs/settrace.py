"""The program under test: calls pydevd_pycharm.settrace as PyCharm's dialogue tells its users to.

    settrace.py HOST PORT [alone|processes]
"""

import multiprocessing
import subprocess
import sys
from pathlib import Path

import pydevd_pycharm

import steps
import worker


def main(host: str, port: int, how: str) -> int:
    pydevd_pycharm.settrace(host, port=port, stdout_to_server=True, stderr_to_server=True,
                            patch_multiprocessing=how == "processes")
    print("settrace has returned", flush=True)
    if how == "processes":
        process = multiprocessing.get_context("fork").Process(target=worker.work, args=("fork",))
        process.start()
        command = subprocess.Popen([sys.executable, str(Path(__file__).with_name("worker.py")), "command"])
        process.join()
        print(f"statuses={[process.exitcode, command.wait()]}", flush=True)
    return steps.main()


if __name__ == "__main__":
    host, port, how = sys.argv[1:]
    sys.argv[1:] = []
    sys.exit(main(host, int(port), how))
