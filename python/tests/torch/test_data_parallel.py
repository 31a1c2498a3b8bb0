"""Data-parallel training is PyTorch's: two processes get the same masks, weights and losses."""

import json
import os
import pathlib
import subprocess
import sys

import pytest
import torch


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this PyTorch is built without torch.distributed")
def test_two_processes_agree(tmp_path):
    program = pathlib.Path(__file__).with_name("data_parallel.py")
    # The package that this process has, wherever it came from.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", program, tmp_path],
        env=environment, capture_output=True, text=True, timeout=180, check=False,
    )
    assert run.returncode == 0, run.stderr[-4000:]
    first, second = (json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1))
    # The ranks' losses are of different data, so they are compared reduced; those on the same data as each has them.
    assert first["own losses"] == second["own losses"] and len(set(first["own losses"])) == 12
    assert first == second
    assert first["density"]["weight_hh_l0"] == pytest.approx(0.2, abs=0.01)
    assert first["losses"][-1] < first["losses"][0]
