"""Writes recipes of package managers for the archives that are there: recipes.py DIST.

Reads DIST/SHA256SUMS, and writes DIST/recipes: Homebrew and Nix for the Linux archives, Scoop and winget where there is a
zip for Windows. Where the archives can be fetched is P2PDBG_RELEASE_URL, the directory of a release.
"""

import json
import os
import pathlib
import sys

VERSION = os.environ["VERSION"]
URL = os.environ.get("P2PDBG_RELEASE_URL", f"https://p2pdbg.example.org/releases/{VERSION}").rstrip("/")
HOMEPAGE = os.environ.get("P2PDBG_HOMEPAGE", "https://p2pdbg.example.org")
DESCRIPTION = "Connects an IDE's debugger to a program on another host, through NATs"


def archive(target: str, suffix: str = "tar.gz") -> str:
    return f"p2pdbg-{VERSION}-{target}.{suffix}"


def homebrew(sums: dict[str, str]) -> str:
    branches = []
    for condition, target in (
        ("on_intel", "x86_64-unknown-linux-musl"),
        ("on_arm", "aarch64-unknown-linux-musl"),
    ):
        name = archive(target)
        if name in sums:
            branches += [
                f"    {condition} do",
                f'      url "{URL}/{name}"',
                f'      sha256 "{sums[name]}"',
                "    end",
            ]
    body = "\n".join(branches)
    return f"""class P2pdbg < Formula
  desc "{DESCRIPTION}"
  homepage "{HOMEPAGE}"
  version "{VERSION}"
  license any_of: ["MIT", "Apache-2.0"]
  depends_on :linux

  on_linux do
{body}
  end

  def install
    bin.install Dir["bin/*"]
    man1.install Dir["share/man/man1/*"]
    bash_completion.install Dir["share/bash-completion/completions/*"]
    zsh_completion.install Dir["share/zsh/site-functions/*"]
    fish_completion.install Dir["share/fish/vendor_completions.d/*"]
    (share/"p2pdbg").install Dir["share/p2pdbg/*"]
  end

  test do
    assert_match version.to_s, shell_output("#{{bin}}/p2pdbg --version")
  end
end
"""


def nix(sums: dict[str, str]) -> str:
    systems = []
    for system, target in (
        ("x86_64-linux", "x86_64-unknown-linux-musl"),
        ("aarch64-linux", "aarch64-unknown-linux-musl"),
    ):
        name = archive(target)
        if name in sums:
            systems.append(f'    {system} = {{ name = "{name}"; sha256 = "{sums[name]}"; }};')
    body = "\n".join(systems)
    return f"""{{ stdenvNoCC, fetchurl, lib }}:
let
  archives = {{
{body}
  }};
  archive = archives.${{stdenvNoCC.hostPlatform.system}} or (throw "p2pdbg: no program for this system");
in
stdenvNoCC.mkDerivation {{
  pname = "p2pdbg";
  version = "{VERSION}";
  src = fetchurl {{
    url = "{URL}/${{archive.name}}";
    inherit (archive) sha256;
  }};
  installPhase = "mkdir -p $out && cp -r bin share lib $out/";
  # The programs are static.
  dontFixup = true;
  meta = {{
    description = "{DESCRIPTION}";
    homepage = "{HOMEPAGE}";
    license = with lib.licenses; [ mit asl20 ];
    platforms = builtins.attrNames archives;
    mainProgram = "p2pdbg";
  }};
}}
"""


def scoop(name: str, digest: str) -> str:
    recipe = {
        "version": VERSION,
        "description": DESCRIPTION,
        "homepage": HOMEPAGE,
        "license": "MIT|Apache-2.0",
        "architecture": {"64bit": {"url": f"{URL}/{name}", "hash": digest}},
        "extract_dir": name.removesuffix(".zip"),
        "bin": ["bin\\p2pdbg.exe", "bin\\p2pdbg-rendezvous.exe"],
    }
    return json.dumps(recipe, indent=4) + "\n"


def winget(name: str, digest: str) -> str:
    folder = name.removesuffix(".zip")
    return f"""PackageIdentifier: p2pdbg.p2pdbg
PackageVersion: {VERSION}
PackageLocale: en-US
Publisher: p2pdbg
PackageName: p2pdbg
License: MIT OR Apache-2.0
ShortDescription: {DESCRIPTION}
Installers:
  - Architecture: x64
    InstallerType: zip
    NestedInstallerType: portable
    NestedInstallerFiles:
      - RelativeFilePath: {folder}\\bin\\p2pdbg.exe
        PortableCommandAlias: p2pdbg
      - RelativeFilePath: {folder}\\bin\\p2pdbg-rendezvous.exe
        PortableCommandAlias: p2pdbg-rendezvous
    InstallerUrl: {URL}/{name}
    InstallerSha256: {digest.upper()}
ManifestType: singleton
ManifestVersion: 1.6.0
"""


def main(dist: pathlib.Path) -> None:
    lines = (dist / "SHA256SUMS").read_text().splitlines()
    sums = {name: digest for digest, name in (line.split(maxsplit=1) for line in lines)}
    recipes = dist / "recipes"
    recipes.mkdir(exist_ok=True)
    if any(name.endswith("-linux-musl.tar.gz") for name in sums):
        (recipes / "p2pdbg.rb").write_text(homebrew(sums))
        (recipes / "p2pdbg.nix").write_text(nix(sums))
    windows = archive("x86_64-pc-windows-gnu", "zip")
    if windows in sums:
        (recipes / "p2pdbg.json").write_text(scoop(windows, sums[windows]))
        (recipes / "p2pdbg.winget.yaml").write_text(winget(windows, sums[windows]))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
