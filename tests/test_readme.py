"""What people read is true: paths, links, commands, code and tree of the README, the other pages, the changelog."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import tree

from experts.weights.catalogue import WEIGHTS

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("experts", "connector", "agent", "ui")
FOLDERS = (*PACKAGES, "tests", "examples", "docs", ".ci")
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "examples/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def text_of(page: Path) -> str:
    """What a reader sees: marked places for output that is still to come are left out."""
    return re.sub(r"<!--.*?-->", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)


def blocks(page: Path, language: str) -> list[str]:
    return [body for name, body in FENCE.findall(text_of(page)) if name == language]


def spans(page: Path) -> list[str]:
    """Inline code."""
    return re.findall(r"`([^`\n]+)`", FENCE.sub("", text_of(page)))


def commands(page: Path, *, whole: bool) -> list[str]:
    """What calls `duet`: lines of fenced blocks, which are whole, or inline code, which may leave arguments out."""
    lines = [line.removeprefix("$ ") for block in blocks(page, "") for line in block.splitlines()]
    found = [re.sub(r"^(?:\w+=\S+ )*(?=duet )", "", line.strip()) for line in (lines if whole else spans(page))]
    return [line for line in found if line.startswith("duet ")]


def parsed(line: str) -> Any:
    """The context of the command that `line` would run; raises the parser's error for what it would refuse."""
    import typer.main

    from ui import cli

    words = shlex.split(line)[1:]
    command: Any = typer.main.get_command(cli.app)
    context = command.make_context("duet", list(words))
    while hasattr(command, "resolve_command"):
        if not words:
            context.fail("Missing command.")
        name, command, words = command.resolve_command(context, words)
        context = command.make_context(name, list(words), parent=context)
    return context


WHOLE, NAMED = (
    sorted({(page.relative_to(ROOT).as_posix(), line) for page in PAGES for line in commands(page, whole=whole)})
    for whole in (True, False)
)


def test_readme_shows_commands_to_check() -> None:
    assert len([line for page, line in WHOLE if page == "README.md"]) >= 8


@pytest.mark.parametrize(("page", "line"), WHOLE)
def test_every_command_shown_is_one_that_the_parser_takes(page: str, line: str) -> None:
    context = parsed(line)
    assert context.params.get("route", "auto") in ("experts", "connector", "auto", "both")
    files = [file for option in ("image", "audio", "video") for file in context.params.get(option) or ()]
    files += [context.params["file"]] if "file" in context.params else []
    assert [file for file in files if not (ROOT / file).is_file()] == []


@pytest.mark.parametrize(("page", "line"), NAMED)
def test_every_command_named_in_a_sentence_exists(page: str, line: str) -> None:
    try:
        parsed(line)
    except Exception as error:
        if type(error).__name__ not in ("MissingParameter", "Exit"):  # Exit: --help has been shown
            raise


@pytest.mark.parametrize("line", ["duet ask --root both", "duet weights", "duet tool detect", "duet juggle"])
def test_what_is_no_whole_command_would_be_noticed(line: str) -> None:
    with pytest.raises(Exception) as caught:
        parsed(line)
    assert hasattr(caught.value, "exit_code")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_path_named_exists(page: Path) -> None:
    folders = "|".join(map(re.escape, FOLDERS))
    words = [*spans(page), *(word for body in blocks(page, "") for word in body.split())]
    named = {word for word in words if re.fullmatch(rf"(?:{folders})/[\w./-]*", word)}
    named |= {word for word in spans(page) if re.fullmatch(r"[\w-]+\.(?:md|txt|toml)|Makefile|LICENSE|NOTICE", word)}
    named -= {"duet.toml"}  # the reader's own
    lacking = sorted(path for path in named if not (ROOT / path).exists() and not (page.parent / path).exists())
    assert lacking == []


def anchors(page: Path) -> set[str]:
    """The names that a heading has as a link's target."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)|src=\"([^\"]+)\"", text_of(page)):
        link = target[0] or target[1]
        if re.match(r"\w+:", link):
            continue
        path, _, anchor = link.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_python_shown_imports_what_exists(page: Path) -> None:
    for code in blocks(page, "python"):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom) and node.module:
                module = importlib.import_module(node.module)
                assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    importlib.import_module(alias.name)


def test_the_tree_in_the_architecture_is_what_the_modules_say_of_themselves() -> None:
    assert tree.shown() == tree.tree(), "run: python tests/support/tree.py"


def test_every_module_says_what_it_is_in_its_first_line() -> None:
    lacking = [line for line in tree.tree().splitlines() if line.rstrip().endswith((".py", "/"))]
    assert lacking == [] and len(tree.tree().splitlines()) > 150


def test_every_folder_of_the_repository_is_told_of() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("this copy is no git checkout, so what belongs to the repository is not known")
    tops = {file.split("/")[0] for file in listed.stdout.splitlines() if "/" in file}
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert [top for top in sorted(tops - {".ci"}) if f"{top}/" not in page] == []


def test_readme_is_one_page() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 180


def test_changelog_has_an_entry_for_this_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    entry = rf"^## \[{re.escape(version)}\] - (?:unreleased|\d{{4}}-\d\d-\d\d)\n(.+?)(?=^## |\Z)"
    found = re.search(entry, (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert found and re.search(r"^### (?:Added|Changed|Fixed|Removed)\n\n- ", found[1], re.MULTILINE)


def test_page_on_weights_lists_every_row() -> None:
    rows = re.findall(r"^\| `([\w.-]+)` \|", (ROOT / "docs/weights.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert rows == list(WEIGHTS)


def test_examples_are_small_and_their_origin_is_told() -> None:
    told = (ROOT / "examples/README.md").read_text(encoding="utf-8")
    media = [path for path in (ROOT / "examples").iterdir() if path.name != "README.md"]
    assert {"photo.jpg", "announcement.wav"} <= {path.name for path in media}
    for path in media:
        assert path.stat().st_size < 300_000, path.name
        assert f"| `{path.name}` |" in told
