"""What importing may load, read from fresh interpreters and from the sources."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
POSIX_ONLY = {
    "resource",
    "fcntl",
    "pwd",
    "grp",
    "termios",
    "tty",
    "pty",
    "syslog",
    "readline",
    "spwd",
}
HEAVY = {"duckdb", "pyarrow", "zmq", "torch", "pandas", "polars", "numpy", "sqlglot", "nacl"}
HEAVY |= {"starlette", "uvicorn", "jinja2", "webauthn", "joserfc", "sqlalchemy", "IPython"}


def loaded_after(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint('\\n'.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        cwd="/",
    )
    return set(done.stdout.split())


def heads(names: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


def test_the_front_door_is_light():
    assert not heads(loaded_after("import podsql")) & HEAVY


def test_the_drivers_load_frames_and_toolkits_only_when_asked():
    loaded = heads(loaded_after("import podsql.driver, podsql.aio"))
    assert not loaded & {"pandas", "polars", "torch", "sqlalchemy", "IPython"}


def test_the_command_line_is_light():
    loaded = loaded_after("import podsql.cli.app")
    assert not heads(loaded) & HEAVY


def test_printing_the_version_loads_not_even_the_command_line():
    loaded = loaded_after(
        "import sys; sys.argv = ['podsql', '--version']\nfrom podsql.cli import main\nmain()"
    )
    assert not heads(loaded) & (HEAVY | {"typer", "rich"})


def test_the_relay_process_loads_no_planner_engine_policy_or_data_library():
    loaded = loaded_after("import podsql.relayd")
    ours = {
        "podsql.planner",
        "podsql.engine",
        "podsql.policy",
        "podsql.connectors",
        "podsql.convener",
    }
    assert not loaded & ours
    assert not heads(loaded) & {"duckdb", "pyarrow", "sqlglot", "torch", "pandas", "polars"}


def test_no_root_folder_is_imported_under_its_bare_name():
    assert not {"engine", "planner", "relay", "policy", "connectors"} & set(sys.modules)


def source_of(module: str) -> Path | None:
    path = ROOT.joinpath(*module.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def imports_of(tree: ast.AST, *, lazy: bool) -> set[str]:
    """Imported modules, those of functions only if ``lazy``; none of a platform's or type's branch."""
    found: set[str] = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and any(
            word in ast.unparse(node.test) for word in ("sys.platform", "os.name", "TYPE_CHECKING")
        ):
            continue
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not lazy:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        else:
            found |= imports_of(node, lazy=lazy)
    return found


def reachable(start: str) -> dict[str, set[str]]:
    """Our modules that ``start`` may come to load, with what each imports.

    What the command line imports inside a function is another verb's business than ``start``'s.
    """
    graph: dict[str, set[str]] = {}
    pending = [start]
    while pending:
        module = pending.pop()
        path = source_of(module)
        if path is None or module in graph:
            continue
        lazy = module == start or not module.startswith("podsql.cli")
        graph[module] = imports_of(ast.parse(path.read_text(encoding="utf-8")), lazy=lazy)
        pending += [name for name in graph[module] if name.startswith("podsql.")]
        pending += [module.rpartition(".")[0]] if "." in module else []
    return graph


@pytest.mark.parametrize(
    "door",
    [
        "podsql.driver",
        "podsql.cli.app",
        "podsql.cli.sql",
        "podsql.cli.explain",
        "podsql.cli.key",
        "podsql.convener.joining",
    ],
)
def test_an_analysts_modules_import_nothing_that_only_posix_has(door):
    graph = reachable(door)
    assert len(graph) > 5, "the walk must see more than the door itself"
    offenders = {
        module: sorted(heads(names) & POSIX_ONLY)
        for module, names in graph.items()
        if heads(names) & POSIX_ONLY
    }
    assert not offenders


def test_the_walk_over_imports_finds_a_posix_module_where_there_is_one():
    assert "fcntl" in reachable("podsql.convener.editing")["podsql.convener.editing"]


def test_joining_does_not_reach_the_federation_key():
    assert "podsql.convener.editing" not in reachable("podsql.convener.joining")
    assert "podsql.convener.editing" not in reachable("podsql.relayd")
