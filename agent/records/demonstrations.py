"""Examples for in-context learning: of a file of questions with answers or plans, those most like a question.

The survey's M-ICL: demonstrations before the query, no weights touched. The most like comes last, next to the question,
where a language model heeds it most (Liu et al., "What Makes Good In-Context Examples for GPT-3?", 2022).
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.records.memory_rows import Item
from experts.errors import InputError

if TYPE_CHECKING:
    from agent.records.memory import Memory

SHOWN = ("plan", "answer")  # what a record shows: the first of these that it has


class Demonstrations:
    """`Demonstrations(file, memory)(question, k)` gives [(question, answer or plan), ...].

    A line of `file` is a JSON object with "question", and "plan" (any JSON) or "answer". The vectors are made once for
    a file's content and kept in the memory.
    """

    def __init__(self, file: Path, memory: Memory) -> None:
        """
        Raises:
            InputError: the file cannot be read, or a line is no such record.
        """
        try:
            content = file.read_bytes()
        except OSError as error:
            raise InputError(f"the examples '{file.name}' cannot be read: {error.strerror}; check the name") from None
        self._memory, self._name = memory, file.name
        self._scope = f"examples:{hashlib.sha256(content).hexdigest()}"
        self.records = [self._record(line, n) for n, line in enumerate(content.splitlines(), 1) if line.strip()]

    def __call__(self, question: str, k: int = 4) -> list[tuple[str, Any]]:
        """At most `k` records, the most like last; never one with this very question.

        Raises:
            WeightsError: the embedder's weights are not here.
            DuetError: the memory cannot be used.
        """
        items = [Item(asked, {"number": number}) for number, (asked, _) in enumerate(self.records)]
        self._memory.keep(self._scope, "", items)
        rows = self._memory.search(question, [self._scope], k + sum(_same(question, r[0]) for r in self.records))
        found = [self.records[int(row.data["number"])] for row in rows]
        return [record for record in found if not _same(question, record[0])][:k][::-1]

    def _record(self, line: bytes, number: int) -> tuple[str, Any]:
        try:
            record = json.loads(line)
            shown = next(record[key] for key in SHOWN if key in record)
            return str(record["question"]), shown
        except (ValueError, TypeError, KeyError, StopIteration, AttributeError):
            raise InputError(
                f"line {number} of '{self._name}' is no example; "
                "accepted: a JSON object with question, and plan or answer"
            ) from None


def demonstrations(question: str, k: int, file: Path, memory: Memory) -> list[tuple[str, Any]]:
    """The `k` records of `file` most like `question`, as Demonstrations gives them."""
    return Demonstrations(file, memory)(question, k)


def _same(one: str, other: str) -> bool:
    return " ".join(one.casefold().split()) == " ".join(other.casefold().split())
