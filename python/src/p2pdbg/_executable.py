"""Where the program p2pdbg is."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from pathlib import Path

_NAME = "p2pdbg.exe" if os.name == "nt" else "p2pdbg"


class NoExecutable(FileNotFoundError):
    """There is no program p2pdbg."""


def executable() -> str:
    """The path of the program that came with this package, or else of the one on PATH.

    Raises NoExecutable if there is neither.
    """
    scripts = [sysconfig.get_path("scripts"), str(Path(sys.executable).parent)]
    if sys.version_info >= (3, 10):
        scripts.append(sysconfig.get_path("scripts", sysconfig.get_preferred_scheme("user")))
    for directory in scripts:
        if directory and os.access(found := os.path.join(directory, _NAME), os.X_OK):
            return found
    on_path = shutil.which(_NAME)
    if on_path is None:
        raise NoExecutable(f"there is no {_NAME} in {scripts[0]} nor on PATH: reinstall the package p2pdbg")
    return on_path
