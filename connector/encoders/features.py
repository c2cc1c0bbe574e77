"""Features of a frozen encoder, computed once: kept by the image's content and the encoder's fingerprint."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from connector.training import checkpoints
from experts.errors import DuetError, TrainingError
from experts.media import Image

if TYPE_CHECKING:
    import torch

    from connector.encoders.registry import Encoder

SHARD = 256  # images a file


class FeatureCache:
    """A folder of shards, float16 [n, N, D_enc] each, memory-mapped; a key is the SHA-256 of the image's bytes.

    A shard is an .npy file and, written after it, a .json file that lists its keys: a shard without its list does not
    exist yet. Nobody writes into another's shard, so any number of processes may fill one cache; at worst an image is
    encoded twice.
    """

    def __init__(self, home: Path, fingerprint: str) -> None:
        self.folder = home / fingerprint
        self.folder.mkdir(parents=True, exist_ok=True)
        self._where: dict[str, tuple[str, int]] = {}  # key -> (shard, row)
        self._shards: dict[str, np.ndarray] = {}
        self._lists: set[str] = set()
        self.refresh()

    def __len__(self) -> int:
        return len(self._where)

    def __contains__(self, key: str) -> bool:
        return key in self._where

    def refresh(self) -> None:
        """Take in what other processes have added."""
        for file in sorted(self.folder.glob("*.json")):
            if file.name in self._lists:
                continue
            try:
                listed = json.loads(file.read_text(encoding="utf-8"))
                array = np.load(self.folder / listed["file"], mmap_mode="r")
            except (OSError, ValueError, KeyError) as error:
                raise TrainingError(
                    f"feature cache: shard '{file.stem}' is damaged ({error}); remove its .json and .npy, and run again"
                ) from None
            if array.dtype != np.float16 or array.ndim != 3 or len(array) < len(listed["keys"]):
                raise TrainingError(
                    f"feature cache: shard '{file.stem}' holds {array.dtype} {list(array.shape)} for "
                    f"{len(listed['keys'])} images; expected float16 [images, N, D_enc]; remove its .json and .npy"
                )
            self._lists.add(file.name)
            self._shards[listed["file"]] = array
            for row, key in enumerate(listed["keys"]):
                self._where.setdefault(key, (listed["file"], row))

    def get(self, keys: Sequence[str]) -> torch.Tensor:
        """Features float32 [B, N, D_enc] of the images with these keys.

        Raises:
            TrainingError: a key that is not in the cache.
        """
        import torch

        missing = [key for key in keys if key not in self._where]
        if missing:
            raise TrainingError(f"features of {len(missing)} images are not in the cache, e.g. of {missing[0][:12]}")
        rows = [self._shards[shard][row] for shard, row in (self._where[key] for key in keys)]
        return torch.from_numpy(np.stack(rows).astype(np.float32))  # [B, N, D_enc]

    def add(self, keys: Sequence[str], features: np.ndarray) -> None:
        """Add a shard: features [len(keys), N, D_enc], kept as float16.

        Raises:
            TrainingError: not one row a key, or values that float16 does not hold.
        """
        half = features.astype(np.float16)
        if half.ndim != 3 or len(half) != len(keys):
            raise TrainingError(f"features {list(features.shape)} for {len(keys)} images; expected [images, N, D_enc]")
        if not np.isfinite(half).all():
            bad = [key[:12] for key, row in zip(keys, half, strict=True) if not np.isfinite(row).all()]
            raise TrainingError(f"features of {len(bad)} images are not finite in float16, e.g. of {bad[0]}")
        name = uuid.uuid4().hex
        with checkpoints.replacing(self.folder / f"{name}.npy") as part, part.open("wb") as stream:
            np.save(stream, half)
        self._list(name, keys)

    def adopt(self, file: Path, keys: Sequence[str]) -> None:
        """Take over a float16 .npy file [len(keys), N, D_enc] made elsewhere, linked where possible, else copied."""
        import shutil

        name = "adopted-" + hashlib.sha256("".join(keys).encode()).hexdigest()[:16]
        if f"{name}.json" in self._lists:
            return
        target = self.folder / f"{name}.npy"
        target.unlink(missing_ok=True)
        try:
            os.link(file, target)
        except OSError:  # another disk
            with checkpoints.replacing(target) as part:
                shutil.copyfile(file, part)
        self._list(name, keys)

    def _list(self, name: str, keys: Sequence[str]) -> None:
        text = json.dumps({"file": f"{name}.npy", "keys": list(keys)})
        checkpoints.replace_text(self.folder / f"{name}.json", text)
        self.refresh()

    def fill(
        self,
        files: Iterable[tuple[str, Path]],
        encoder: Encoder,
        *,
        say: Callable[[str], None] = lambda line: None,
        batch: int = 8,
    ) -> list[str]:
        """Encode the images (key, file) that are not here yet; a broken one is left out and named.

        Returns:
            'file: reason' for each image that could not be read.
        """
        import time

        import torch

        todo = {key: file for key, file in files if key not in self._where}
        broken: list[str] = []
        keys: list[str] = []
        rows: list[np.ndarray] = []
        start_s, shown_s = time.monotonic(), time.monotonic()
        pending = list(todo.items())
        for at in range(0, len(pending), batch):
            images: list[Image] = []
            for key, file in pending[at : at + batch]:
                try:
                    images.append(Image.open(file))
                    keys.append(key)
                except DuetError as error:
                    broken.append(f"{file.name}: {error}")
            if images:
                rows.extend(encoder.encode(images).to(torch.float32).cpu().numpy())
            if len(rows) >= SHARD:
                self.add(keys, np.stack(rows))
                keys, rows = [], []
            if time.monotonic() - shown_s > 10:
                shown_s = time.monotonic()
                rate = (at + batch) / (shown_s - start_s)
                left_s = (len(pending) - at) / rate
                say(f"features {at + batch}/{len(pending)}  {rate:.1f} images/s  {left_s:.0f} s left")
        if rows:
            self.add(keys, np.stack(rows))
        return broken


def fill_in_parallel(
    home: Path,
    encoder: tuple[str, int, int],
    files: Sequence[tuple[str, Path]],
    workers: int,
    say: Callable[[str], None] = lambda line: None,
) -> list[str]:
    """`FeatureCache.fill` by so many processes of one thread each: an encoder this small gains more from that.

    Args:
        home: the cache's folder.
        encoder: (name, tiles, size_px), as for `connector.encoders.registry.load`.
        files: (key, image file) of each image.
    """
    import functools
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    parts = [files[at::workers] for at in range(workers)]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        broken = []
        for number, lines in enumerate(pool.map(functools.partial(_fill_part, home, encoder), parts), 1):
            broken += lines
            say(f"part {number} of {workers} is done")
    return broken


def _fill_part(home: Path, encoder: tuple[str, int, int], files: Sequence[tuple[str, Path]]) -> list[str]:
    import torch

    from connector.encoders import registry

    torch.set_num_threads(1)
    eyes = registry.load(*encoder)
    return FeatureCache(home, eyes.fingerprint()).fill(files, eyes)


def content_key(file: Path) -> str:
    """The key of an image file: the SHA-256 of its bytes, equal to `Image.sha256`."""
    return checkpoints.sha256(file)
