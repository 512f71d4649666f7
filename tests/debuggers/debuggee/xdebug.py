#!/usr/bin/env python3
"""The debuggee of Xdebug: programs/steps.php, which connects to the IDE.

    xdebug.py --port P
"""

import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fixture import paths, programs, scenario  # noqa: E402
from fixture.children import Child, require  # noqa: E402


def main() -> None:
    parser = scenario.arguments(__doc__, "where the IDE listens")
    args = parser.parse_args()

    def body(run: scenario.Scenario) -> None:
        php = require("php", "php-cli")
        modules = subprocess.run([php, "-m"], capture_output=True, text=True, timeout=run.remaining()).stdout
        if "Xdebug" not in modules:
            raise scenario.MissingTool("Xdebug is not installed (Debian package php-xdebug)")
        run.emit("connecting")
        settings = ["mode=debug", "start_with_request=yes", f"client_host={args.host}", f"client_port={args.port}"]
        options = [each for setting in settings for each in ("-d", f"xdebug.{setting}")]
        child = Child(run, "php", [php, *options, str(paths.PROGRAMS / "steps.php")])
        programs.ended_as_told(run, child, "steps.php", 0)

    scenario.run("xdebug", args.timeout, body)


main()
