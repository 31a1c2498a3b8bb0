"""The type stubs: what they say of the C++ module is so, and mypy is content with the package and its users."""

import ast
import inspect
import pathlib
import re
import subprocess
import sys

import pytest

import sprnn
from sprnn import _core

pytest.importorskip("mypy")
PACKAGE = pathlib.Path(sprnn.__file__).parent
CONFIG = pathlib.Path(__file__).parents[3] / "pyproject.toml"


def mypy(*arguments, cwd):
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(cwd / "cache"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd)


def parameters(function):
    """Names, and whether there is a default, of a function in the stub."""
    arguments = function.args
    missing = len(arguments.args) - len(arguments.defaults)
    return [(a.arg, i >= missing) for i, a in enumerate(arguments.args)]


def runtime_parameters(function):
    (signature, _, _), *overloads = function.__nb_signature__
    assert not overloads
    source = re.sub(r"ndarray\[.*?\]", "object", re.sub(r"= \\\d+", "= None", signature))  # what is not Python
    return parameters(ast.parse(source + ": ...").body[0])


def members(body):
    """Functions and properties of a stub, by name."""
    return {node.name: node for node in body if isinstance(node, ast.FunctionDef)}


def is_property(node):
    return any(isinstance(d, ast.Name) and d.id == "property" for d in node.decorator_list)


def test_public_names_have_docstrings():
    for name in sprnn.__all__:
        thing = getattr(sprnn, name)
        assert name == "__version__" or thing.__doc__, name
        if inspect.isclass(thing):
            own = {m: v for c in thing.__mro__ if c.__module__.startswith("sprnn") for m, v in vars(c).items()}
            bare = [m for m, v in own.items() if m[0] != "_" and (callable(v) or isinstance(v, property)) and not v.__doc__]
            assert not bare, name


def test_the_stub_is_the_module():
    tree = ast.parse((PACKAGE / "_core.pyi").read_text())
    functions = members(tree.body)
    classes = {node.name: members(node.body) for node in tree.body if isinstance(node, ast.ClassDef)}
    names = {name for name in vars(_core) if not name.startswith("__")}
    assert names == functions.keys() | classes.keys()
    for name, stub in functions.items():
        assert parameters(stub) == runtime_parameters(getattr(_core, name)), name
    for name, stubs in classes.items():
        own = {n for n in vars(getattr(_core, name)) if not n.startswith("__")}
        assert own == {n for n in stubs if not n.startswith("__")}, name
        for method, stub in stubs.items():
            runtime = inspect.getattr_static(getattr(_core, name), method)
            assert is_property(stub) == isinstance(runtime, property), method
            if not is_property(stub):
                assert parameters(stub) == runtime_parameters(getattr(getattr(_core, name), method)), method


def test_mypy_is_content_with_the_package(tmp_path):
    done = mypy("--config-file", str(CONFIG), "-p", "sprnn", cwd=tmp_path)
    assert done.returncode == 0, done.stdout


def test_users_get_types(tmp_path):
    (tmp_path / "user.py").write_text(
        "import sprnn\n"
        "model = sprnn.load('model.safetensors').prune(density=0.1)\n"
        "session = model.session(batch=2)\n"
        "reveal_type(session(model.arrays()['weight_ih_l0']))\n"
        "reveal_type(model.report[0].norm_lost)\n"
        "model.prune(pattern=3)\n"
    )
    done = mypy("user.py", cwd=tmp_path)
    assert "user.py:4: note: Revealed type is \"numpy.ndarray" in done.stdout, done.stdout
    assert re.search(r'user.py:5: note: Revealed type is "(builtins\.)?float"', done.stdout), done.stdout
    assert re.search(r'user.py:6: error: Argument "pattern".*expected "str"', done.stdout), done.stdout
    assert "Found 1 error" in done.stdout


def test_the_package_says_that_it_is_typed():
    assert (PACKAGE / "py.typed").exists()
