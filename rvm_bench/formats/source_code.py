"""Which source files a module or a function computes with, and their hash.

Found from import statements, those inside functions included, without running anything. Files of the standard library
and of other installed distributions are not followed: their versions are recorded instead.
"""

import ast
import hashlib
import importlib.util
import inspect
import sys
import sysconfig
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from rvm_bench.formats.hashes import file_sha256

OURS = frozenset({"rvm_bench", "propagation", "readouts", "baselines"})
_INSTALLED = frozenset({"site-packages", "dist-packages"})
_STANDARD_LIBRARY = Path(sysconfig.get_path("stdlib"))


def closure(modules: Iterable[str], *, without: Sequence[str] = ()) -> dict[str, Path]:
    """The source files behind modules and all that these import: module name -> file, sorted by name.

    Args:
        modules: names of modules. Followed are our packages, the modules' own top-level packages, and files outside of
            `site-packages`, such as those beside a one-file plug-in.
        without: packages that are not followed, and are left out.
    """
    start = list(modules)
    inside = tuple(f"{name}." for name in without)
    own = OURS | {name.partition(".")[0] for name in start}
    found: dict[str, Path] = {}
    waiting = start
    while waiting:
        name = waiting.pop()
        if (
            name in found
            or name in without
            or name.startswith(inside)
            or (file := _file_of(name)) is None
            or not _followed(name, file, own)
        ):
            continue
        found[name] = file
        waiting += _names_in(ast.parse(file.read_bytes()), name, is_package=file.name == "__init__.py")
        # Importing a.b.c runs a and a.b first.
        waiting += [parent for parent in [name.rpartition(".")[0]] if parent]
    return dict(sorted(found.items()))


def closure_sha256(modules: Iterable[str]) -> str:
    """Hash over the names and contents of the files of a `closure`."""
    lines = (f"{name} {file_sha256(file)}\n" for name, file in closure(modules).items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def modules_used_by(function: Callable[..., Any]) -> set[str]:
    """The modules that the code of one function refers to: what it imports, and where the globals it names come from.

    A global that the function's own module defines stands for the whole module.
    """
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    scope = inspect.unwrap(function).__globals__
    used = set(_names_in(tree, function.__module__, is_package=False))
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in scope:
            value = scope[node.id]
            used.add(value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", ""))
    own = OURS | {function.__module__.partition(".")[0]}
    return {name for name in used if (file := _file_of(name)) is not None and _followed(name, file, own)}


def _file_of(name: str) -> Path | None:
    """The source file of a module, whether it is loaded or not; None for what is no module, or has no source.

    Packages are searched by path: `importlib.util.find_spec` would import the parents.
    """
    loaded = sys.modules.get(name)
    if loaded is not None:
        return _source(getattr(loaded, "__file__", None))
    top, *rest = name.split(".")
    folders: Sequence[str] | None
    file, folders = _top_level(top)
    for part in rest:
        if folders is None:
            return None
        file, folders = _inside(folders, part)
    return file


def _top_level(name: str) -> tuple[Path | None, Sequence[str] | None]:
    """The file of a top-level module, and the folders of its submodules where it is a package."""
    loaded = sys.modules.get(name)
    if loaded is not None:
        return _source(getattr(loaded, "__file__", None)), getattr(loaded, "__path__", None)
    spec = importlib.util.find_spec(name) if name else None
    return (_source(spec.origin), spec.submodule_search_locations) if spec else (None, None)


def _inside(folders: Sequence[str], part: str) -> tuple[Path | None, Sequence[str] | None]:
    for folder in map(Path, folders):
        if (file := folder / part / "__init__.py").is_file():
            return file, [str(folder / part)]
        if (file := folder / f"{part}.py").is_file():
            return file, None
        if (folder / part).is_dir():
            return None, [str(folder / part)]
    return None, None


def _source(origin: str | None) -> Path | None:
    path = Path(origin) if origin else None
    return path if path is not None and path.suffix == ".py" and path.is_file() else None


def _followed(name: str, file: Path, own: frozenset[str]) -> bool:
    if name.partition(".")[0] in own:
        return True
    return not _INSTALLED & set(file.parts) and not file.is_relative_to(_STANDARD_LIBRARY)


def _names_in(tree: ast.AST, module: str, *, is_package: bool) -> Iterator[str]:
    """What the import statements of a module's code name, absolute; `from a import b` may name the module a.b.

    Those under `if TYPE_CHECKING` never run.
    """
    for node in _running(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = node.module or ""
            if node.level:
                package = module if is_package else module.rpartition(".")[0]
                parts = package.split(".")[: len(package.split(".")) - node.level + 1]
                source = ".".join([*parts, *([node.module] if node.module else [])])
            yield source
            yield from (f"{source}.{alias.name}" for alias in node.names)


def _running(tree: ast.AST) -> Iterator[ast.AST]:
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        checked = isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        waiting += node.orelse if isinstance(node, ast.If) and checked else ast.iter_child_nodes(node)
