"""Packs a directory into a zip with nothing of this host in it: zip.py DIRECTORY NAME OUT.

Its files get NAME before their paths, SOURCE_DATE_EPOCH as their time, and a fixed order.
"""

import os
import pathlib
import sys
import time
import zipfile


def main(directory: pathlib.Path, name: str, out: pathlib.Path) -> None:
    date = time.gmtime(int(os.environ["SOURCE_DATE_EPOCH"]))[:6]
    with zipfile.ZipFile(out, "w") as archive:
        for path in sorted(directory.rglob("*")):
            if path.is_dir() or path == directory / "complete":
                continue
            entry = zipfile.ZipInfo(f"{name}/{path.relative_to(directory).as_posix()}", date)
            mode = 0o755 if path.stat().st_mode & 0o100 else 0o644
            entry.external_attr = (0o100000 | mode) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, path.read_bytes(), compresslevel=9)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), sys.argv[2], pathlib.Path(sys.argv[3]))
