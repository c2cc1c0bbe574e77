"""The houses: imports go ui -> agent -> connector -> experts, and nothing heavy happens before it is needed."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HOUSES = ("experts", "connector", "agent", "ui")  # each may import from itself and from those before it
FILES = [file for house in HOUSES for file in sorted((ROOT / house).rglob("*.py"))]
HEAVY = {
    "accelerate", "av", "cv2", "faiss", "faster_whisper", "gradio", "httpx", "langchain", "langchain_core",
    "langchain_openai", "numpy", "onnxruntime", "openai", "peft", "PIL", "rapidocr", "scipy", "timm", "torch",
    "torchvision", "transformers", "ultralytics", "whisper",
}  # fmt: skip


def imported(source: str) -> list[str]:
    """The houses that a module's source imports anywhere, in functions too."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:  # a relative import stays in its house
            found.append(node.module or "")
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "import_module" and node.args:
            named = node.args[0]
            found += [named.value] if isinstance(named, ast.Constant) and isinstance(named.value, str) else []
    return [name.split(".")[0] for name in found if name.split(".")[0] in HOUSES]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_go_one_way(file: Path) -> None:
    house = file.relative_to(ROOT).parts[0]
    allowed = HOUSES[: HOUSES.index(house) + 1]
    assert set(imported(file.read_text(encoding="utf-8"))) <= set(allowed)


@pytest.mark.parametrize(
    "source",
    [
        "from agent import x",
        "def f():\n    import agent.agent",
        "def f():\n    from agent.answer import Step",
        "import importlib\nimportlib.import_module('agent.agent')",
    ],
)
def test_the_check_sees_every_way_to_import(source: str) -> None:
    assert imported(source) == ["agent"]


def graph() -> dict[str, set[str]]:
    """Which module imports which, in functions and for types too; a package's own `__init__` is no edge."""

    def name(file: Path) -> str:
        return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")

    known = {name(file): file for file in FILES}
    edges: dict[str, set[str]] = {module: set() for module in known}
    for module, file in known.items():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            named: list[str] = []
            if isinstance(node, ast.Import):
                named = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                named = [f"{node.module}.{alias.name}" for alias in node.names]
            for target in named:
                while target and target not in known:
                    target = target.rpartition(".")[0]
                own = known.get(target, file).name == "__init__.py" and module.startswith(f"{target}.")
                if target and target != module and not own:
                    edges[module].add(target)
    return edges


def circle_in(edges: dict[str, set[str]]) -> list[str]:
    """The modules of one circle, in order; [] where there is none."""
    from graphlib import CycleError, TopologicalSorter

    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circle_in(graph()) == []


def test_a_circle_is_seen() -> None:
    assert set(circle_in({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}})) == {"a", "b", "c"}


def test_every_folder_says_what_it_is_and_what_it_may_import() -> None:
    for folder in sorted({file.parent for file in FILES}):
        opening = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8")))
        assert opening and "Imports " in opening, folder.relative_to(ROOT)


def test_no_folder_and_no_file_is_too_large_to_survey() -> None:
    """About twelve files a folder, 400 lines a file; tables of data are marked as such in their first line."""
    for folder in sorted({file.parent for file in FILES}):
        files = [file for file in folder.glob("*.py") if file.name != "__init__.py"]
        assert len(files) <= 14, folder.relative_to(ROOT)
    for file in FILES:
        lines = file.read_text(encoding="utf-8").splitlines()
        assert len(lines) <= 400 or "data table" in lines[0].lower(), file.relative_to(ROOT)


def loaded_by(code: str) -> set[str]:
    """The heavy packages that a fresh interpreter holds after `code`."""
    code += f"\nimport sys\nprint('\\nLOADED', *sorted({HEAVY!r} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(run.stdout.rpartition("LOADED")[2].split())


HELP = "import ui.cli\ntry:\n    ui.cli.main({arguments})\nexcept SystemExit as end:\n    assert not end.code, end.code"


@pytest.mark.parametrize("arguments", [["--help"], ["ask", "--help"], ["weights", "--help"], ["evaluate", "--help"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    assert loaded_by(HELP.format(arguments=arguments)) == set()


def test_the_agent_loads_no_model_library_before_its_first_question() -> None:
    heavy = loaded_by(
        "import agent, agent.agent, agent.toolbox.tools, agent.toolbox.scripted, ui.terminal\nagent.agent.Agent()"
    )
    assert heavy <= {"numpy"}  # arrays are the form of media


def test_commands_of_the_command_line_exist() -> None:
    code = "import ui.cli, importlib\nfor at in ui.cli.COMMANDS.values():\n"
    code += "    module, _, name = at.partition(':')\n    getattr(importlib.import_module(module), name)"
    assert loaded_by(code) == set()
