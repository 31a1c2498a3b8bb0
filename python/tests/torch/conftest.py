"""PyTorch as the oracle of sprnn.torch."""

import os

# Where a hypervisor shows AMX but hides the shape of its tiles, PyTorch's own bfloat16 kernels die of an illegal
# instruction: they do without it here.
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16")

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)
    torch.set_num_threads(2)


@pytest.fixture
def one_thread(seeded):
    """For many small cases: two threads wait for each other in each operation, for long where cores are shared."""
    torch.set_num_threads(1)
