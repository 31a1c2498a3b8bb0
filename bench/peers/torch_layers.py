"""torch.nn's layer, and sprnn.torch's made from it."""

import torch


class TorchNN:
    def __init__(self, job, threads):
        torch.set_num_threads(threads)
        kind = {"lstm": "LSTM", "gru": "GRU", "tanh": "RNN", "relu": "RNN"}[job.cells[0]]
        options = {"nonlinearity": job.cells[0]} if kind == "RNN" else {}
        if job.projection_size:
            options["proj_size"] = job.projection_size
        self._layer = getattr(torch.nn, kind)(
            job.input_size,
            job.hidden_size,
            job.num_layers,
            bias=job.bias,
            bidirectional=job.num_directions == 2,
            **options,
        ).eval()
        self._layer.load_state_dict({name: torch.from_numpy(values) for name, values in job.weights.items()})
        self.version = torch.__version__
        self.implementation = f"torch.nn.{kind}"

    def prepared(self, x):
        return torch.from_numpy(x)

    def run(self, x):
        with torch.inference_mode():
            return self._layer(x)[0]


class TorchNNOnGpu(TorchNN):
    """As a user calls it: eager, fp16. The GPU's clock takes the time."""

    def __init__(self, job, threads):
        super().__init__(job, threads)
        self._layer = self._layer.cuda().half()
        self._layer.flatten_parameters()
        self.version = f"{torch.__version__}, cuDNN {torch.backends.cudnn.version()}"
        self.microseconds = 0.0

    def prepared(self, x):
        return torch.from_numpy(x).cuda().half()

    def run(self, x):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        y = super().run(x)
        end.record()
        end.synchronize()
        self.microseconds = 1e3 * begin.elapsed_time(end)
        return y.float().cpu()


class Sprnn(TorchNN):
    """Not a rival: our engine as a user of PyTorch meets it. What is zero stays pruned."""

    def __init__(self, job, threads):
        import sprnn.torch

        super().__init__(job, threads)
        self._layer = sprnn.torch.from_torch(self._layer)
        self.version = sprnn.__version__
        self.implementation = f"sprnn.torch.{type(self._layer).__name__}"
