"""Makes the container image of the server: image.py PROGRAM ARCHITECTURE OUT.

An OCI image layout in one tar, which `podman load`, `docker load`, `skopeo copy oci-archive:…` take. It holds the static
program, an empty state directory, and nothing else; it runs as nobody. The same as packaging/container/Containerfile
makes, without a container engine.
"""

import gzip
import hashlib
import io
import json
import os
import pathlib
import sys
import tarfile
import time
from typing import Any

NOBODY = 65532


def tar(entries: list[tuple[str, bytes | None, int, int]]) -> bytes:
    """A tar of (name, content or None for a directory, mode, owner)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, content, mode, owner in entries:
            entry = tarfile.TarInfo(name)
            entry.mode, entry.uid, entry.gid = mode, owner, owner
            entry.mtime = int(os.environ["SOURCE_DATE_EPOCH"])
            if content is None:
                entry.type = tarfile.DIRTYPE
                archive.addfile(entry)
            else:
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def main(program: pathlib.Path, architecture: str, out: pathlib.Path) -> None:
    version = os.environ["VERSION"]
    layer = tar(
        [
            ("p2pdbg-rendezvous", program.read_bytes(), 0o755, 0),
            ("state", None, 0o700, NOBODY),
        ]
    )
    packed = gzip.compress(layer, 9, mtime=0)
    epoch = time.gmtime(int(os.environ["SOURCE_DATE_EPOCH"]))
    config = {
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", epoch),
        "architecture": architecture,
        "os": "linux",
        "config": {
            "User": f"{NOBODY}:{NOBODY}",
            "ExposedPorts": {"3478/tcp": {}, "3478/udp": {}, "3479/tcp": {}, "3479/udp": {}},
            "Entrypoint": ["/p2pdbg-rendezvous", "--state", "/state"],
            "Volumes": {"/state": {}},
            "Labels": {
                "org.opencontainers.image.title": "p2pdbg-rendezvous",
                "org.opencontainers.image.version": version,
                "org.opencontainers.image.revision": os.environ["P2PDBG_COMMIT"],
                "org.opencontainers.image.licenses": "MIT OR Apache-2.0",
            },
            "StopSignal": "SIGTERM",
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        "history": [{"created_by": "scripts/release"}],
    }
    blobs: dict[str, bytes] = {}

    def blob(content: bytes, media: str) -> dict[str, object]:
        digest = hashlib.sha256(content).hexdigest()
        blobs[digest] = content
        kind = f"application/vnd.oci.image.{media}"
        return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(content)}

    def blob_path(described: dict[str, object]) -> str:
        return "blobs/" + str(described["digest"]).replace(":", "/")

    manifest: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": blob(json.dumps(config).encode(), "config.v1+json"),
        "layers": [blob(packed, "layer.v1.tar+gzip")],
    }
    entry = blob(json.dumps(manifest).encode(), "manifest.v1+json")
    entry["platform"] = {"architecture": architecture, "os": "linux"}
    entry["annotations"] = {"org.opencontainers.image.ref.name": f"p2pdbg-rendezvous:{version}"}
    index = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [entry],
    }
    # What `docker load` reads, unless Docker keeps its images in containerd: it refuses an OCI layout alone.
    docker = {
        "Config": blob_path(manifest["config"]),
        "RepoTags": [f"p2pdbg-rendezvous:{version}"],
        "Layers": [blob_path(layer) for layer in manifest["layers"]],
    }
    layout = [
        ("oci-layout", b'{"imageLayoutVersion":"1.0.0"}', 0o644, 0),
        ("manifest.json", json.dumps([docker]).encode(), 0o644, 0),
        ("index.json", json.dumps(index).encode(), 0o644, 0),
        ("blobs", None, 0o755, 0),
        ("blobs/sha256", None, 0o755, 0),
        *((f"blobs/sha256/{digest}", content, 0o644, 0) for digest, content in sorted(blobs.items())),
    ]
    out.write_bytes(tar(layout))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), sys.argv[2], pathlib.Path(sys.argv[3]))
