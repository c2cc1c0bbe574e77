"""The tree of the packages, as each module describes itself: `python tests/support/tree.py` rewrites the page."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "architecture.md"
PACKAGES = ("experts", "connector", "agent", "ui")
BEGIN, END = "<!-- tree: begin -->", "<!-- tree: end -->"
WIDTH = 26  # characters before what a module is


def said(file: Path) -> str:
    """The first line of a module's docstring."""
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return text.split("\n", 1)[0].rstrip(".")


def lines(folder: Path, depth: int = 0) -> list[str]:
    """The folder, its modules, then the folders in it."""
    indent = "  " * depth
    found = [f"{indent + folder.name + '/':<{WIDTH}}{said(folder / '__init__.py')}"]
    for file in sorted(folder.glob("*.py")):
        if file.name != "__init__.py":
            found.append(f"{indent + '  ' + file.name:<{WIDTH}}{said(file)}")
    for inside in sorted(path for path in folder.iterdir() if (path / "__init__.py").is_file()):
        found += lines(inside, depth + 1)
    return found


def tree() -> str:
    """The whole tree, as docs/architecture.md shows it."""
    body = "\n\n".join("\n".join(lines(ROOT / package)) for package in PACKAGES)
    return f"{BEGIN}\n```\n{body}\n```\n{END}"


def shown() -> str:
    """What the page shows now."""
    found = re.search(rf"{BEGIN}.*?{END}", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return found[0] if found else ""


if __name__ == "__main__":
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(page.replace(shown(), tree()), encoding="utf-8")
