"""One process of test_data_parallel.py: trains under DistributedDataParallel and writes what it saw."""

import json
import os
import sys

os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16")

import torch
import torch.distributed

import sprnn.torch


def main(folder):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    rank = torch.distributed.get_rank()
    torch.manual_seed(rank)  # DistributedDataParallel brings rank 0's weights to all
    model = torch.nn.Sequential(torch.nn.Linear(6, 10), torch.nn.LSTM(10, 16, batch_first=True))
    sprnn.torch.convert(model, density=0.8)
    parallel = torch.nn.parallel.DistributedDataParallel(model)
    optimizer = torch.optim.Adam(parallel.parameters(), 0.02)
    schedule = sprnn.torch.GradualPruning(parallel, 0.2, start=2, end=8, frequency=2, initial_density=0.8)
    same_for_all = torch.randn(4, 5, 6, generator=torch.Generator().manual_seed(7))
    losses, own_losses = [], []
    for _ in range(12):
        x = torch.randn(4, 5, 6)  # of this rank's own
        optimizer.zero_grad()
        loss = (parallel(x)[0][0] - 0.2).square().mean()
        loss.backward()
        optimizer.step()
        schedule.step()
        total = loss.detach().clone()
        torch.distributed.all_reduce(total)
        losses.append(total.item())
        parallel.eval()
        with torch.no_grad():  # of this process's own weights and masks: nothing is reduced
            own_losses.append((model(same_for_all)[0] - 0.2).square().mean().item())
        parallel.train()
    parallel.eval()
    with torch.no_grad():
        y = parallel(torch.ones(1, 5, 6))[0][0]
    layer = model[1]
    result = {
        "losses": losses,
        "own losses": own_losses,
        "masks": {name: mask.tolist() for name, mask in layer.masks().items()},
        "weights": {name: value.tolist() for name, value in layer.state_dict().items()},
        "density": layer.density(),
        "y": y.tolist(),
    }
    with open(os.path.join(folder, f"rank{rank}.json"), "w") as file:
        json.dump(result, file)
    torch.distributed.barrier()
    # Ends without destructors: DistributedDataParallel's joins gloo's threads while it holds Python's lock, which one of
    # them may be waiting for to drop a tensor (seen with torch 2.13).
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
