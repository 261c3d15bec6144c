"""The plan of the house: imports run downwards and in no circle, and every room keeps its size."""

import ast
import graphlib
from importlib.util import resolve_name
from pathlib import Path

import pytest
from conftest import REPOSITORY

MAY_IMPORT = {
    "common": {"common"},
    "experiment": {"common", "experiment"},
    "scripts": {"common", "experiment"},
    "tools": {"common", "experiment", "tools"},
    "benchmarks": {"common", "experiment", "scripts", "tools", "benchmarks"},
}
MODULE_LINES, FUNCTION_LINES = 300, 40  # at most
LINES = {"common": 2321, "experiment": 3656}
LINES |= {"mnist_dense": 130, "mnist_cnn": 130, "fashion_cnn_augment": 130}


def modules_of(root: Path) -> dict[str, Path]:
    """Every module of the project by its name, `common.data.load`; a package by its own."""
    paths = [*root.glob("*.py"), *(p for room in MAY_IMPORT for p in root.glob(f"{room}/**/*.py"))]
    dotted = {".".join(path.relative_to(root).with_suffix("").parts): path for path in paths}
    return {name.removesuffix(".__init__"): path for name, path in dotted.items()}


def imported(path: Path, package: str) -> set[str]:
    """The names that a module of `package` imports, wherever in its text."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), package)
            names.update([base, *(f"{base}.{alias.name}" for alias in node.names)])
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            names.update(word.value for word in node.args[:1] if isinstance(word, ast.Constant))
    return names


def graph_of(root: Path) -> dict[str, set[str]]:
    """The modules of the project that each of them imports."""
    modules, graph = modules_of(root), {}
    for module, path in modules.items():
        package = ".".join(path.relative_to(root).parent.parts)
        graph[module] = (imported(path, package) & modules.keys()) - {module}
    return graph


def room(module: str) -> str:
    return module.split(".")[0] if module.split(".")[0] in MAY_IMPORT else "scripts"


def upwards(graph: dict[str, set[str]]) -> list[str]:
    arrows = ((module, name) for module, names in graph.items() for name in sorted(names))
    return [f"{a} imports {b}" for a, b in arrows if room(b) not in MAY_IMPORT[room(a)]]


def test_imports_run_downwards_only():
    assert not upwards(graph_of(REPOSITORY))


def test_there_is_no_import_circle():
    graphlib.TopologicalSorter(graph_of(REPOSITORY)).prepare()  # or CycleError


def test_modules_functions_and_packages_keep_their_size():
    sums, too_long = dict.fromkeys(LINES, 0), []
    for name, path in modules_of(REPOSITORY).items():
        text = path.read_text(encoding="utf-8")
        lines = {name: text.count("\n")}
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                lines[f"{name}.{node.name}()"] = node.end_lineno - node.lineno + 1
        for part, count in lines.items():
            if count > (FUNCTION_LINES if part.endswith("()") else MODULE_LINES):
                too_long.append(f"{part}: {count} lines")
        if (top := name.split(".")[0]) in LINES:
            sums[top] += lines[name]
    too_long += [f"{top}: {n} lines of {LINES[top]}" for top, n in sums.items() if n > LINES[top]]
    assert not too_long, "\n".join(too_long)


def test_an_init_holds_nothing_but_a_docstring():
    for path in (path for path in modules_of(REPOSITORY).values() if path.name == "__init__.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert len(tree.body) == 1 and ast.get_docstring(tree), path


@pytest.mark.parametrize(
    "line",
    [
        "import experiment.run",
        "from experiment import run",
        "def f():\n    from experiment.run import Runs",
        "import importlib\nimportlib.import_module('experiment.run')",
        "import mnist_dense",
    ],
)
def test_every_kind_of_import_upwards_is_noticed(line, tmp_path):
    module = tmp_path / "common" / "data" / "load.py"
    for path in (module, tmp_path / "experiment" / "run.py", tmp_path / "mnist_dense.py"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    module.write_text(line)
    assert len(upwards(graph_of(tmp_path))) == 1
