"""Setting up: `make` installs once what the lock says, goes on after a failure, and keeps off the network afterwards.

The interpreter is a stand-in that notes how it is called; make itself and the Makefile are the real ones.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
STANDINS = ".ci/stand-ins"
APP = f"--no-compile -c constraints.txt -e . ./{STANDINS}/opencv-python"
DEV = "--no-compile -c constraints.txt -e .[dev]"
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")

PYTHON = """#!/bin/sh
echo "python $*" >> "$CALLS"
case "$*" in
    "-m venv "*) mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; cp "$STANDINS/duet" "$3/bin/duet";;
    -c*) exit "${TOO_OLD:-0}";;
    *"-m pip"*install*) exit "${PIP_FAILS:-0}";;
esac
"""
DUET = """#!/bin/sh
echo "duet $* DUET_OFFLINE=$DUET_OFFLINE HF_HUB_OFFLINE=$HF_HUB_OFFLINE" >> "$CALLS"
"""


class Clone:
    """A folder with the files that setting up reads, and stand-ins for Python and duet."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.calls_file = folder / "clone", folder / "calls"
        self.folder.mkdir()
        for name in ("Makefile", "pyproject.toml", "constraints.txt"):
            shutil.copy(ROOT / name, self.folder)
        shutil.copytree(ROOT / STANDINS, self.folder / STANDINS, ignore=shutil.ignore_patterns("build", "*.egg-info"))
        standins = folder / "standins"
        standins.mkdir()
        for name, text in (("python3", PYTHON), ("duet", DUET)):
            (standins / name).write_text(text)
            (standins / name).chmod(0o755)
        # without what a make that runs this test hands down to the make it starts
        self.env = {key: value for key, value in os.environ.items() if not re.match(r"MAKE|MFLAGS|ARGS|DUET_|HF_", key)}
        self.env |= {"CALLS": str(self.calls_file), "STANDINS": str(standins)}
        self.python = standins / "python3"

    def make(self, *targets: str, **env: str) -> subprocess.CompletedProcess[str]:
        command = ["make", f"PYTHON={self.python}", *targets]
        return subprocess.run(
            command, cwd=self.folder, env=self.env | env, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )

    def calls(self, *targets: str, **env: str) -> list[str]:
        """What `make targets` called, the look at the interpreter's version left out."""
        self.calls_file.write_text("")
        done = self.make(*targets, **env)
        assert done.returncode == 0, done.stdout + done.stderr
        return [
            call
            for call in self.calls_file.read_text().splitlines()
            if not call.startswith(("python -c", "python --version"))
        ]


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path)


def installs(calls: list[str]) -> list[str]:
    return [call.partition(" install ")[2] for call in calls if " install " in call]


def test_demo_goes_from_nothing_to_two_questions_asked_offline(clone: Clone) -> None:
    calls = clone.calls("demo")
    assert calls[0] == "python -m venv .venv"
    assert installs(calls) == [APP]
    fetch, photo, recording = calls[2:]
    assert fetch == "duet weights fetch DUET_OFFLINE= HF_HUB_OFFLINE="  # a hub may be its second source
    for call, file in ((photo, "--image examples/photo.jpg"), (recording, "--audio examples/announcement.wav")):
        assert call.startswith("duet ask ")
        assert f"{file} --route both DUET_OFFLINE=1 HF_HUB_OFFLINE=1" in call


def test_second_demo_calls_no_pip(clone: Clone) -> None:
    clone.calls("demo")
    again = clone.calls("demo")
    assert [call.split()[1] for call in again] == ["weights", "ask", "ask"]


def test_check_and_test_install_the_tools_once_and_run_everything(clone: Clone) -> None:
    calls = clone.calls("check", "test", "ARGS=-x")
    assert installs(calls) == [APP, DEV]
    ran = [call for call in calls if " -m ruff " in call or " -m mypy" in call or " -m pytest" in call]
    assert [call.removeprefix("python -m ") for call in ran] == [
        "ruff check .",
        "ruff format --check .",
        "mypy",
        "pytest -x",
    ]
    assert calls.index("duet weights fetch DUET_OFFLINE= HF_HUB_OFFLINE=") < calls.index("python -m pytest -x")
    assert installs(clone.calls("check", "test")) == []


def test_suite_runs_on_all_cores_unless_a_part_is_named(clone: Clone) -> None:
    whole, part = clone.calls("test")[-1], clone.calls("test", "ARGS=tests/test_setup.py")[-1]
    assert whole == "python -m pytest -n auto --dist worksteal"
    assert part == "python -m pytest tests/test_setup.py"


def test_an_index_of_cpu_builds_is_used_for_every_install(clone: Clone) -> None:
    place = "http://127.0.0.1:9/cpu"
    app, dev = installs(clone.calls("check", f"TORCH_INDEX={place}"))
    assert app == APP.replace(" -c", f" --extra-index-url {place} -c", 1) + f" ./{STANDINS}/triton"
    assert dev == DEV.replace(" -c", f" --extra-index-url {place} -c", 1)
    assert installs(clone.calls("check")) == []  # the next call need not name it again


@pytest.mark.skipif(platform.system() != "Linux", reason="elsewhere PyTorch comes without CUDA")
def test_a_machine_without_a_gpu_is_told_of_smaller_builds_in_one_line(clone: Clone) -> None:
    told = [line for line in clone.make("demo").stdout.splitlines() if "TORCH_INDEX" in line]
    assert len(told) == (0 if list(Path("/dev").glob("nvidia[0-9]*")) else 1)
    shutil.rmtree(clone.folder / ".venv")
    assert "TORCH_INDEX" not in clone.make("demo", "TORCH_INDEX=http://127.0.0.1:9").stdout.partition("pip install")[0]


def test_stand_ins_are_of_the_locked_versions_and_hold_nothing() -> None:
    lock = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    for name in ("opencv-python", "triton"):
        made = tomllib.loads((ROOT / STANDINS / name / "pyproject.toml").read_text())
        assert made["project"]["name"] == name and made["project"]["version"] == lock[name]
        assert made["tool"]["setuptools"]["packages"] == []
        for wanted in made["project"].get("dependencies", []):
            assert wanted.partition("==")[2] == lock[wanted.partition("==")[0]]


APT = """#!/bin/sh
echo "apt-get $*" >> "$CALLS"
case "$*" in *"install chromium") test -z "$APT_FAILS" && touch "$BROWSER" && chmod +x "$BROWSER";; *) exit 1;; esac
"""


@pytest.fixture
def no_browser(clone: Clone) -> Path:
    """Where a browser would be, on a machine with a stand-in for apt-get."""
    folder = clone.python.parent
    for name, text in (("apt-get", APT), ("sudo", '#!/bin/sh\nshift\nexec "$@"\n')):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    clone.env |= {"PATH": f"{folder}:{clone.env['PATH']}", "BROWSER": str(folder / "chromium")}
    return folder / "chromium"


def test_browser_is_installed_once_where_it_is_missing(clone: Clone, no_browser: Path) -> None:
    get = "apt-get -q -y --no-install-recommends install chromium"
    first, again = (clone.calls("browser", f"CHROMIUM={no_browser}", "ARGS=-x") for _ in range(2))
    assert first.count(get) == 1 and get not in again
    assert first[-1] == again[-1] == "python -m pytest -m browser -x"


def test_browser_that_cannot_be_installed_is_told_in_one_line(clone: Clone, no_browser: Path) -> None:
    done = clone.make("browser", f"CHROMIUM={no_browser}", APT_FAILS="1")
    assert done.returncode != 0
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert line.endswith("as root: apt-get install chromium")
    assert "pytest" not in clone.calls_file.read_text()


@pytest.mark.parametrize("name", ["constraints.txt", "pyproject.toml"])
def test_files_that_were_only_touched_call_no_pip(clone: Clone, name: str) -> None:
    clone.calls("demo")
    future = (clone.folder / name).stat().st_mtime + 1000
    os.utime(clone.folder / name, (future, future))
    assert installs(clone.calls("demo")) == []


def test_settings_of_the_linter_call_no_pip(clone: Clone) -> None:
    clone.calls("demo")
    file = clone.folder / "pyproject.toml"
    file.write_text(file.read_text().replace("line-length = 120", "line-length = 100"))
    assert installs(clone.calls("demo")) == []


@pytest.mark.parametrize("back", [False, True])
def test_another_lock_is_installed_anew(clone: Clone, back: bool) -> None:
    clone.calls("check")
    lock = clone.folder / "constraints.txt"
    old = lock.read_text()
    lock.write_text(old + "one-more==1.0\n")
    assert installs(clone.calls("check")) == [APP, DEV]
    if back:
        lock.write_text(old)
        assert installs(clone.calls("check")) == [APP, DEV]


def test_failed_install_is_no_success_and_is_tried_again(clone: Clone) -> None:
    assert clone.make("demo", PIP_FAILS="1").returncode != 0
    assert "duet ask" not in clone.calls_file.read_text()
    assert installs(clone.calls("demo")) == [APP]


def test_python_of_another_version_is_refused_in_one_line(clone: Clone) -> None:
    done = clone.make("demo", TOO_OLD="1")
    assert done.returncode != 0
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert line.startswith("Duet needs Python 3.11, 3.12 or 3.13, and ") and "PYTHON=" in line
    assert not (clone.folder / ".venv").exists()


def test_make_alone_says_what_there_is(clone: Clone) -> None:
    said = clone.make().stdout
    assert all(f"make {target} " in said for target in ("demo", "ui", "test", "check", "browser"))
    assert not clone.calls_file.exists()


def requirements(project: dict[str, Any]) -> list[str]:
    """What is installed for tests: the extra dev and those that it takes in."""
    extras = project["optional-dependencies"]
    own = [line for line in extras["dev"] if line.startswith("duet[")]
    taken = re.findall(r"\w+", own[0].removeprefix("duet")) if own else []
    found = [*project["dependencies"], *extras["dev"], *(line for name in taken for line in extras[name])]
    return [line for line in found if line not in own]


def test_lock_pins_every_direct_dependency_exactly_and_names_no_place() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert [pin for pin in pins if not re.fullmatch(r"[\w.-]+==[\w.]+", pin)] == []

    def plain(name: str) -> str:
        return re.sub(r"[-_.]+", "-", name).lower()

    pinned = [plain(pin.partition("==")[0]) for pin in pins]
    assert len(set(pinned)) == len(pinned)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = requirements(project)
    lacking = {plain(re.split(r"[^\w.-]", line)[0]) for line in asked} - set(pinned)
    assert lacking == set()


def test_lock_lies_within_the_ranges_that_the_project_declares() -> None:
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines)}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for line in requirements(project):
        wanted = Requirement(line)
        assert wanted.specifier.contains(pinned[canonicalize_name(wanted.name)]), line


def test_ci_runs_check_and_test_and_can_be_run() -> None:
    script = ROOT / ".ci/run"
    assert os.access(script, os.X_OK)
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
    assert re.search(r"^exec make check test </dev/null$", script.read_text(), re.MULTILINE)
