"""Makes the wheel of one target: wheel.py TREE TARGET OUT.

The wheel holds the Python module and both programs. Those for Linux are static, so the wheel suits every Linux of its
processor, whatever its C library, and says so by both tags. The version is the workspace's; the time is SOURCE_DATE_EPOCH.
"""

import base64
import hashlib
import os
import pathlib
import sys
import time
import tomllib
import zipfile

PLATFORMS = {
    "x86_64-unknown-linux-musl": "manylinux2014_x86_64.manylinux_2_17_x86_64.musllinux_1_1_x86_64",
    "x86_64-pc-windows-gnu": "win_amd64",
    "aarch64-unknown-linux-musl": "manylinux2014_aarch64.manylinux_2_17_aarch64.musllinux_1_1_aarch64",
}
PYTHON = pathlib.Path(__file__).parents[2] / "python"


def metadata(version: str) -> str:
    project = tomllib.loads((PYTHON / "pyproject.toml").read_text())["project"]
    lines = [
        "Metadata-Version: 2.4",
        f"Name: {project['name']}",
        f"Version: {version}",
        f"Summary: {project['description']}",
        f"Keywords: {','.join(project['keywords'])}",
        *(f"Classifier: {classifier}" for classifier in project["classifiers"]),
        f"License-Expression: {project['license']}",
        f"Requires-Python: {project['requires-python']}",
        "Description-Content-Type: text/markdown",
        "",
        (PYTHON / project["readme"]).read_text(),
    ]
    return "\n".join(lines)


def main(tree: pathlib.Path, target: str, out: pathlib.Path) -> None:
    version = os.environ["VERSION"]
    platforms = PLATFORMS[target]
    info, data = f"p2pdbg-{version}.dist-info", f"p2pdbg-{version}.data"
    tags = [f"Tag: py3-none-{platform}" for platform in platforms.split(".")]
    wheel = ["Wheel-Version: 1.0", "Generator: p2pdbg", "Root-Is-Purelib: false", *tags, ""]
    module = PYTHON / "src" / "p2pdbg"
    files = {
        f"p2pdbg/{path.name}": (path.read_bytes(), 0o644)
        for path in sorted(module.iterdir())
        if path.suffix == ".py" or path.name == "py.typed"
    }
    for program in ("p2pdbg", "p2pdbg-rendezvous"):
        program += ".exe" if "-windows-" in target else ""
        files[f"{data}/scripts/{program}"] = ((tree / "bin" / program).read_bytes(), 0o755)
    sums = tree / "share" / "p2pdbg" / "offer.sha256"
    files[f"{data}/data/share/p2pdbg/offer.sha256"] = (sums.read_bytes(), 0o644)
    files[f"{info}/licenses/LICENSE"] = ((tree / "share/doc/p2pdbg/copyright").read_bytes(), 0o644)
    files[f"{info}/METADATA"] = (metadata(version).encode(), 0o644)
    files[f"{info}/WHEEL"] = ("\n".join(wheel).encode(), 0o644)

    record = []
    for name, (content, _) in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
        record.append(f"{name},sha256={digest},{len(content)}")
    record.append(f"{info}/RECORD,,")
    files[f"{info}/RECORD"] = (("\n".join(record) + "\n").encode(), 0o644)

    date = time.gmtime(int(os.environ["SOURCE_DATE_EPOCH"]))[:6]
    with zipfile.ZipFile(out / f"p2pdbg-{version}-py3-none-{platforms}.whl", "w") as archive:
        for name, (content, mode) in files.items():
            entry = zipfile.ZipInfo(name, date)
            entry.external_attr = (0o100000 | mode) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content, compresslevel=9)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), sys.argv[2], pathlib.Path(sys.argv[3]))
