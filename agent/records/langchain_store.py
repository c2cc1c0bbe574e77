"""The memory as a LangChain vector store, so that LangChain code retrieves from it: `store.as_retriever()`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore

from agent.records.memory import Memory
from agent.records.memory_rows import Item, Remembered
from experts.embed import Embedder


class Sentences(Embeddings):
    """An Embedder behind LangChain's interface."""

    def __init__(self, embedder: Embedder) -> None:
        self.embedder = embedder

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return self.embedder(texts).tolist()

    def embed_query(self, text: str) -> list[float]:
        return self.embedder([text])[0].tolist()


class MemoryStore(VectorStore):
    """One scope of a Memory. Documents live in SQLite as text and JSON: nothing is pickled, unlike LangChain's FAISS.

    >>> store = MemoryStore(Agent().memory, "documents:manual")  # doctest: +SKIP
    >>> store.add_texts(["Press the red button twice to reset."])  # doctest: +SKIP
    >>> store.as_retriever(search_kwargs={"k": 3}).invoke("How do I start again?")  # doctest: +SKIP
    """

    def __init__(self, memory: Memory, scope: str) -> None:
        self.memory, self.scope = memory, scope

    @property
    def embeddings(self) -> Embeddings:
        return Sentences(self.memory.embedder)

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        **_: Any,
    ) -> list[str]:
        """Keep texts with metadata (JSON); their ids. A text of a known id replaces the one that is there."""
        listed = list(texts)
        about: Sequence[dict[str, Any]] = metadatas or [{}] * len(listed)
        names: Sequence[str | None] = ids or [None] * len(listed)
        items = [Item(text, data, name or "") for text, data, name in zip(listed, about, names, strict=True)]
        numbers = set(self.memory.add(self.scope, items))
        return [row.key for row in self.memory.rows(self.scope) if row.id in numbers]

    def delete(self, ids: list[str] | None = None, **_: Any) -> bool | None:
        """Forget documents by their ids, or all of the scope."""
        if ids is None or ids:
            self.memory.forget(self.scope, keys=ids or ())
        return True

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        wanted = set(ids)
        return [_document(row) for row in self.memory.rows(self.scope) if row.key in wanted]

    def similarity_search(
        self, query: str, k: int = 4, *, filter: dict[str, Any] | None = None, **_: Any
    ) -> list[Document]:
        """The `k` documents most like `query`; with `filter`, of those whose metadata has these values."""
        return [document for document, _ in self.similarity_search_with_score(query, k, filter=filter)]

    def similarity_search_with_score(
        self, query: str, k: int = 4, *, filter: dict[str, Any] | None = None, **_: Any
    ) -> list[tuple[Document, float]]:
        """The same with the cosine of each."""
        found = self.memory.search(query, [self.scope], k, keys=self._keys(filter))
        return [(_document(row), row.likeness) for row in found]

    def similarity_search_by_vector(
        self, embedding: list[float], k: int = 4, *, filter: dict[str, Any] | None = None, **_: Any
    ) -> list[Document]:
        return [_document(row) for row in self.memory.nearest(embedding, [self.scope], k, keys=self._keys(filter))]

    @classmethod
    def from_texts(
        cls,
        texts: list[str],
        embedding: Embeddings | None = None,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        memory: Memory | None = None,
        scope: str = "documents",
        **_: Any,
    ) -> MemoryStore:
        """A store of these texts in `memory` (default: the one in Duet's home), whose embedder is used."""
        store = cls(memory or Memory(), scope)
        store.add_texts(texts, metadatas, ids=ids)
        return store

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        return lambda cosine: min(max(cosine, 0.0), 1.0)

    def _keys(self, wanted: dict[str, Any] | None) -> list[str] | None:
        if not wanted:
            return None
        rows = self.memory.rows(self.scope)
        return [row.key for row in rows if all(row.data.get(key) == value for key, value in wanted.items())]


def _document(row: Remembered) -> Document:
    return Document(page_content=row.text, metadata=row.data, id=row.key)
