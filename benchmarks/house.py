"""How surveyable a Python project is: `python benchmarks/house.py FOLDER ...` (default: Duet's own packages)."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def figures(folders: list[Path]) -> dict[str, str]:
    """Largest file, longest function, share of public functions and classes with a docstring."""
    trees = {file: ast.parse(file.read_text(encoding="utf-8")) for folder in folders for file in folder.rglob("*.py")}
    sizes = {file: len(file.read_text(encoding="utf-8").splitlines()) for file in trees}
    functions = [
        (node.end_lineno - node.lineno + 1, f"{file.name}:{node.name}")
        for file, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno
    ]
    public = [
        node
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_")
    ]
    largest, (longest, where) = max(sizes, key=lambda file: sizes[file]), max(functions)
    documented = sum(ast.get_docstring(node) is not None for node in public) / len(public)
    return {
        "files": str(len(sizes)),
        "lines": f"{sum(sizes.values()):,}",
        "largest file": f"{sizes[largest]} ({largest.name})",
        "longest function": f"{longest} ({where})",
        "public functions and classes with a docstring": f"{documented:.0%}",
    }


if __name__ == "__main__":
    given = [Path(name) for name in sys.argv[1:]]
    for key, value in figures(given or [ROOT / name for name in ("experts", "connector", "agent", "ui")]).items():
        print(f"{key}: {value}")
