"""Lays out the npm packages: npm.py OUT TARGET=TREE...

`p2pdbg` is a launcher of a few lines with one optional dependency for each platform, of which npm installs the one that
fits (`os`, `cpu`); that one holds the program. No script runs at installation, so --ignore-scripts does no harm.
"""

import json
import os
import pathlib
import shutil
import sys

PLATFORMS = {
    "x86_64-unknown-linux-musl": ("linux", "x64"),
    "aarch64-unknown-linux-musl": ("linux", "arm64"),
    "x86_64-pc-windows-gnu": ("win32", "x64"),
}
ROOT = pathlib.Path(__file__).parents[2]


def manifest(name: str, **more: object) -> str:
    common = {
        "name": name,
        "version": os.environ["VERSION"],
        "description": "Connects an IDE's debugger to a program on another host when both sit behind NATs",
        "license": "MIT OR Apache-2.0",
        "keywords": ["debugger", "nat", "tunnel", "inspector"],
    }
    return json.dumps(common | more, indent=2) + "\n"


def main(out: pathlib.Path, trees: dict[str, pathlib.Path]) -> None:
    for target, tree in trees.items():
        system, processor = PLATFORMS[target]
        package = out / f"p2pdbg-{system}-{processor}"
        (package / "bin").mkdir(parents=True)
        (package / "share" / "p2pdbg").mkdir(parents=True)
        for program in (tree / "bin").iterdir():
            shutil.copy(program, package / "bin" / program.name)
        shutil.copy(tree / "share/p2pdbg/offer.sha256", package / "share/p2pdbg/offer.sha256")
        shutil.copy(tree / "share/doc/p2pdbg/copyright", package / "LICENSE")
        fits = {"os": [system], "cpu": [processor], "preferUnplugged": True}
        (package / "package.json").write_text(manifest(package.name, **fits))
    launcher = out / "p2pdbg"
    shutil.copytree(ROOT / "packaging" / "npm", launcher)
    # All platforms that there are, also when only some are made here.
    names = [f"p2pdbg-{system}-{processor}" for system, processor in PLATFORMS.values()]
    (launcher / "package.json").write_text(
        manifest(
            "p2pdbg",
            bin={"p2pdbg": "bin/p2pdbg.js", "p2pdbg-rendezvous": "bin/p2pdbg-rendezvous.js"},
            engines={"node": ">=18"},
            optionalDependencies={name: os.environ["VERSION"] for name in names},
        )
    )
    shutil.copy(ROOT / "LICENSE-MIT", launcher / "LICENSE")


if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    pairs = (argument.split("=", 1) for argument in sys.argv[2:])
    main(pathlib.Path(sys.argv[1]), {target: pathlib.Path(tree) for target, tree in pairs})
