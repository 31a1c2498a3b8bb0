"""The Python example of README.md runs as it stands there."""

import pathlib
import re

from support import random_arrays

import sprnn

README = pathlib.Path(__file__).parents[3] / "README.md"


def test_readme(tmp_path, monkeypatch, capsys):
    (example,) = re.findall(r"\n```python\n(import numpy.*?)```", README.read_text(), re.DOTALL)
    assert len(example.splitlines()) <= 12
    sprnn.Model(random_arrays("lstm", 8, 16)).save(tmp_path / "model.safetensors")
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "README.md", "exec"), {})
    assert "passed=True" in capsys.readouterr().out
    assert sprnn.load("pruned.sprnn").masks()["weight_hh_l0"].mean() < 0.11
