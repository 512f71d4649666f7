"""Tries the recipes of package managers, and what `cargo binstall` reads: recipes.py DIST

Each is read by the language it is written in (Ruby, Nix, JSON, YAML); what it fetches has to be a file of DIST with the sum
that it names, and what it takes out of the archive has to be in there. No package manager runs. Needs ruby and nix-bin.
"""

import fnmatch
import hashlib
import json
import pathlib
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile

ROOT = pathlib.Path(__file__).parents[2]
# What cargo-binstall tries on a host, the last being what is released for it; and the ends of a format's names.
BINSTALL = {
    "x86_64-unknown-linux-musl": ["x86_64-unknown-linux-gnu", "x86_64-unknown-linux-musl"],
    "aarch64-unknown-linux-musl": ["aarch64-unknown-linux-gnu", "aarch64-unknown-linux-musl"],
    "x86_64-pc-windows-gnu": ["x86_64-pc-windows-msvc", "x86_64-pc-windows-gnu"],
}
SUFFIXES = {"tgz": [".tgz", ".tar.gz"], "zip": [".zip"]}
# What Nix' own library gives to a recipe, as far as ours asks for it.
NIX = """(import %s {
  stdenvNoCC = { mkDerivation = given: given; hostPlatform.system = "%s"; };
  fetchurl = given: given;
  lib.licenses = { mit = "MIT"; asl20 = "Apache-2.0"; };
}).src"""


def output(*command: str) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


class Dist:
    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = directory
        self.targets = sorted(path.name for path in (directory / "programs").iterdir())

    def recipe(self, name: str) -> pathlib.Path:
        return self.directory / "recipes" / name

    def names(self, archive: str) -> list[str]:
        """Of the files in an archive of DIST."""
        path = self.directory / archive
        if archive.endswith(".zip"):
            return zipfile.ZipFile(path).namelist()
        with tarfile.open(path) as tar:
            return [entry.name for entry in tar if entry.isfile()]

    def fetched(self, url: str, digest: str) -> str:
        """The archive that a recipe fetches."""
        archive = url.rsplit("/", 1)[1]
        assert hashlib.sha256((self.directory / archive).read_bytes()).hexdigest() == digest, url
        return archive


def homebrew(dist: Dist) -> list[str]:
    path = dist.recipe("p2pdbg.rb")
    output("ruby", "-c", str(path))
    text = path.read_text()
    fetched = re.findall(r'url "(.*)"\n\s*sha256 "(.*)"', text)
    archives = [dist.fetched(url, digest) for url, digest in fetched]
    for archive in archives:
        names = [name.split("/", 1)[1] for name in dist.names(archive)]
        for pattern in re.findall(r'Dir\["(.*)"\]', text):
            assert fnmatch.filter(names, pattern), f"{archive} has no {pattern}"
    return archives


def nix(dist: Dist) -> list[str]:
    archives = []
    for target in dist.targets:
        if "-linux-" in target:
            system = target.split("-")[0] + "-linux"
            text = NIX % (dist.recipe("p2pdbg.nix"), system)
            command = ("nix-instantiate", "--store", "dummy://", "--eval", "--strict", "--json", "-E", text)
            source = json.loads(output(*command))
            archives.append(dist.fetched(source["url"], source["sha256"]))
            folders = {name.split("/")[1] for name in dist.names(archives[-1])}
            assert folders == {"bin", "share", "lib"}, folders
    return archives


def scoop(dist: Dist) -> list[str]:
    recipe = json.loads(dist.recipe("p2pdbg.json").read_text())
    source = recipe["architecture"]["64bit"]
    archive = dist.fetched(source["url"], source["hash"])
    names = dist.names(archive)
    for program in recipe["bin"]:
        assert f"{recipe['extract_dir']}/{program}".replace("\\", "/") in names, program
    return [archive]


def winget(dist: Dist) -> list[str]:
    read = "puts JSON.generate(YAML.safe_load(File.read(ARGV[0])))"
    recipe = json.loads(output("ruby", "-ryaml", "-rjson", "-e", read, str(dist.recipe("p2pdbg.winget.yaml"))))
    assert isinstance(recipe["PackageVersion"], str), recipe
    [installer] = recipe["Installers"]
    archive = dist.fetched(installer["InstallerUrl"], installer["InstallerSha256"].lower())
    names = dist.names(archive)
    for file in installer["NestedInstallerFiles"]:
        assert file["RelativeFilePath"].replace("\\", "/") in names, file
    return [archive]


def binstall(dist: Dist, folder: str) -> list[str]:
    """The archives that are found by the metadata of the package in a folder."""
    package = tomllib.loads((ROOT / folder / "Cargo.toml").read_text())["package"]
    version = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    metadata = package["metadata"]["binstall"]
    archives = []
    for released in dist.targets:
        for target in BINSTALL[released]:
            told = metadata | metadata.get("overrides", {}).get(target, {})
            values = {"repo": "", "version": version, "target": target, "bin": package["name"]}
            values["binary-ext"] = ".exe" if "-windows-" in target else ""

            def fill(template: str, **more: str) -> str:
                return re.sub(r"\{ (\S+) \}", lambda found: (values | more)[found[1]], template)

            urls = [fill(told["pkg-url"], **{"archive-suffix": suffix}) for suffix in SUFFIXES[told["pkg-fmt"]]]
            there = [name for url in urls if (dist.directory / (name := url.rsplit("/", 1)[1])).exists()]
            if there:
                assert fill(told["bin-dir"]) in dist.names(there[0]), there
                archives += there
    return archives


def main(dist: Dist) -> None:
    linux = {target for target in dist.targets if "-linux-" in target}
    for tried, expected in [
        (homebrew, linux),
        (nix, linux),
        (scoop, set(dist.targets) - linux),
        (winget, set(dist.targets) - linux),
        (lambda dist: binstall(dist, "."), set(dist.targets)),
        (lambda dist: binstall(dist, "rendezvous"), set(dist.targets)),
    ]:
        if expected:
            archives = tried(dist)
            found = {target for target in expected if any(target in archive for archive in archives)}
            assert found == expected, f"{tried} finds {archives}"


if __name__ == "__main__":
    main(Dist(pathlib.Path(sys.argv[1]).resolve()))
