"""Vectors by number, and the nearest of them: FAISS, flat while they are few, in inverted lists when they are many.

The file is a copy that saves time. It says in its first line what it holds and the hash of the rest; one that is torn,
or of something else, is not loaded.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

LISTS_FROM = 20_000  # vectors from which on lists are quicker by more than their training costs
LEAST_RECALL, CHECKED, AMONG = 0.97, 100, 10  # of the 10 nearest of 100 vectors, that the lists must find
BLUR = 1.5  # of those vectors: a question is about 0.55 like the sentence that answers it, not the sentence itself
FORM = 1


class Index:
    """float32 vectors [N, D] of length 1 under int64 numbers; likeness is the inner product.

    Inverted lists are trained when there are LISTS_FROM vectors, and again whenever those have doubled. How many lists
    a search reads is measured then: the fewest that find LEAST_RECALL of what a full search finds; where not even half
    of the lists do, the index stays flat until it has doubled again.
    """

    def __init__(self, width: int, *, lists_from: int = LISTS_FROM) -> None:
        self.width, self._lists_from = width, lists_from
        self._grow_at = lists_from
        self.recall = 1.0  # as measured when the lists were trained
        self._faiss = _flat(width)

    def __len__(self) -> int:
        return int(self._faiss.ntotal)

    @property
    def lists(self) -> int:
        """How many inverted lists there are; 0 while the index is flat."""
        return int(getattr(self._faiss, "nlist", 0))

    def add(self, ids: np.ndarray, vectors: np.ndarray) -> None:
        """Vectors [n, D] under `ids` [n], none of which may be there already."""
        import numpy as np

        if not len(ids):
            return
        self._faiss.add_with_ids(
            np.ascontiguousarray(vectors, dtype=np.float32), np.ascontiguousarray(ids, dtype=np.int64)
        )
        if len(self) >= self._grow_at:
            self._train()

    def remove(self, ids: np.ndarray) -> None:
        """Forget what is under `ids`; those that are not there are ignored."""
        import faiss
        import numpy as np

        if len(ids):
            self._faiss.remove_ids(faiss.IDSelectorBatch(np.ascontiguousarray(ids, dtype=np.int64)))

    def search(self, vector: np.ndarray, k: int, among: np.ndarray | None = None) -> list[tuple[int, float]]:
        """The `k` nearest to `vector` [D] as (id, likeness), the nearest first; with `among`, of these ids only.

        A search among few ids reads all lists and so misses none.
        """
        import faiss
        import numpy as np

        if not len(self) or k < 1 or (among is not None and not len(among)):
            return []
        query = np.ascontiguousarray(vector, dtype=np.float32).reshape(1, -1)
        given: dict[str, Any] = {}
        if among is not None:
            given["sel"] = faiss.IDSelectorBatch(np.ascontiguousarray(among, dtype=np.int64))
        if self.lists:
            every = among is not None and len(among) < self._lists_from
            given["nprobe"] = self.lists if every else self._faiss.nprobe
            how: Any = faiss.SearchParametersIVF(**given)
        else:
            how = faiss.SearchParameters(**given) if given else None
        likeness, ids = self._faiss.search(query, min(k, len(self)), params=how)
        return [(int(i), float(s)) for i, s in zip(ids[0], likeness[0], strict=True) if i >= 0]

    def ids(self) -> np.ndarray:
        """The numbers of all vectors, int64 [N]."""
        return self.content()[0]

    def content(self) -> tuple[np.ndarray, np.ndarray]:
        """All numbers [N] and vectors [N, D]."""
        import faiss
        import numpy as np

        if not self.lists:
            flat: Any = faiss.downcast_index(self._faiss.index)
            vectors = faiss.vector_to_array(flat.codes).view(np.float32)
            return faiss.vector_to_array(self._faiss.id_map), vectors.reshape(-1, self.width)
        ids, parts = [], []
        for number in range(self.lists):
            size = self._faiss.invlists.list_size(number)
            if size:
                ids.append(faiss.rev_swig_ptr(self._faiss.invlists.get_ids(number), size).copy())
                codes = faiss.rev_swig_ptr(self._faiss.invlists.get_codes(number), size * self.width * 4)
                parts.append(codes.copy().view(np.float32).reshape(size, self.width))
        return np.concatenate(ids), np.concatenate(parts)

    def _train(self) -> None:
        """Sort all vectors into lists that are trained on them; the square root of their number is how many."""
        import faiss
        import numpy as np

        ids, vectors = self.content()
        self._grow_at = 2 * len(ids)
        count = max(int(len(ids) ** 0.5), 1)
        lists = faiss.IndexIVFFlat(faiss.IndexFlatIP(self.width), self.width, count, faiss.METRIC_INNER_PRODUCT)
        lists.cp.seed, lists.cp.niter, lists.cp.min_points_per_centroid = 1, 8, 1
        lists.cp.max_points_per_centroid = 64
        lists.train(vectors)
        lists.add_with_ids(vectors, ids)
        rng = np.random.default_rng(0)
        asked = vectors[rng.choice(len(vectors), min(CHECKED, len(vectors)), replace=False)]
        asked = asked + rng.normal(0, BLUR / self.width**0.5, asked.shape).astype(np.float32)
        true = np.argsort(-(asked @ vectors.T), axis=1)[:, :AMONG]
        wanted = [set(ids[row].tolist()) for row in true]
        probes = 1
        while True:
            lists.nprobe = probes
            got = lists.search(asked, min(AMONG, len(ids)))[1]
            hits = sum(len(want & set(row.tolist())) for want, row in zip(wanted, got, strict=True))
            self.recall = hits / sum(map(len, wanted))
            if self.recall >= LEAST_RECALL:
                self._faiss = lists
                return
            if probes * 2 > count:
                break
            probes *= 2
        if self.lists:  # lists of before do not serve any more
            flat = _flat(self.width)
            flat.add_with_ids(vectors, ids)
            self._faiss = flat
        self.recall = 1.0

    # -- the file -----------------------------------------------------------------------------------------------

    def save(self, file: Path, about: dict[str, Any]) -> None:
        """Write the index to `file`, whole or not at all; `about` (JSON) comes back with it.

        Raises:
            OSError: it cannot be written.
        """
        import faiss

        body = faiss.serialize_index(self._faiss).tobytes()
        head = {"form": FORM, "width": self.width, "grow_at": self._grow_at, "recall": self.recall, "about": about}
        head |= {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}
        file.parent.mkdir(parents=True, exist_ok=True)
        number, draft = tempfile.mkstemp(dir=file.parent, prefix=f"{file.name}-", suffix=".part")
        try:
            with os.fdopen(number, "wb") as out:
                out.write(json.dumps(head).encode() + b"\n")
                out.write(body)
                out.flush()
                os.fsync(out.fileno())
            os.replace(draft, file)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(draft)


def load(file: Path, width: int, about: dict[str, Any], *, lists_from: int = LISTS_FROM) -> Index | None:
    """The index in `file`, if it is whole and was saved with this `about`, of which None values are not compared.

    What those were is put into `about`.
    """
    import faiss
    import numpy as np

    try:
        with file.open("rb") as stream:
            head = json.loads(stream.readline(1 << 16))
            if not isinstance(head, dict) or (head.get("form"), head.get("width")) != (FORM, width):
                return None
            saved = head["about"]
            if any(value is not None and saved.get(key) != value for key, value in about.items()):
                return None
            body = stream.read()
        if len(body) != head["bytes"] or hashlib.sha256(body).hexdigest() != head["sha256"]:
            return None
        made = Index(width, lists_from=lists_from)
        made._faiss = faiss.deserialize_index(np.frombuffer(body, np.uint8))
        made._grow_at, made.recall = int(head["grow_at"]), float(head["recall"])
    except (OSError, ValueError, KeyError, TypeError, RuntimeError):  # RuntimeError: faiss's own
        return None
    about |= saved
    return made


def _flat(width: int) -> Any:
    import faiss

    return faiss.IndexIDMap2(faiss.IndexFlatIP(width))
