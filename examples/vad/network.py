"""Silero VAD at 16 kHz: a convolutional front end in NumPy, the LSTM in sprnn, the wheel's own model for comparison."""

import numpy as np
import onnx

import sprnn.onnx

CHUNK, CONTEXT = 512, 64  # samples: 32 ms, and what each chunk sees of the one before


class FrontEnd:
    """Short-time spectrum and four convolutions: 576 samples to 128 features."""

    def __init__(self, path):
        weights = {w.name: onnx.numpy_helper.to_array(w) for w in onnx.load(path).graph.initializer}
        self.basis = np.ascontiguousarray(weights["model.stft.forward_basis_buffer"][:, 0].T)  # [256, 258]
        self.layers = []  # matrix [3 * channels in, channels out], bias, stride
        for i, stride in enumerate((1, 2, 2, 1)):
            kernel, bias = (weights[f"model.encoder.{i}.reparam_conv.{kind}"] for kind in ("weight", "bias"))
            self.layers.append((np.ascontiguousarray(kernel.transpose(2, 1, 0)).reshape(-1, len(bias)), bias, stride))
        self.out_weights, self.out_bias = (weights[f"model.decoder.decoder.2.{k}"].ravel() for k in ("weight", "bias"))

    def features(self, samples):
        """[chunks, 576] -> [chunks, 128]"""
        padded = np.concatenate([samples, samples[:, -2:-66:-1]], 1)  # 64 more, mirrored at the end
        spectrum = windows(padded[:, :, None], 256, 128) @ self.basis
        real, imaginary = spectrum[..., :129], spectrum[..., 129:]
        x = np.sqrt(real * real + imaginary * imaginary)  # [chunks, 4, 129]
        for matrix, bias, stride in self.layers:
            padded = np.zeros((len(x), x.shape[1] + 2, x.shape[2]), np.float32)
            padded[:, 1:-1] = x
            x = np.maximum(windows(padded, 3, stride) @ matrix + bias, 0)
        return x[:, 0]

    def probability(self, h):
        """[..., 128] -> [...]: how likely it is speech."""
        return 1 / (1 + np.exp(-(np.maximum(h, 0) @ self.out_weights + self.out_bias[0])))


def windows(x, width, stride):
    """[chunks, T, C] -> [chunks, (T - width) / stride + 1, width * C]"""
    count = (x.shape[1] - width) // stride + 1
    return np.stack([x[:, stride * i : stride * i + width].reshape(len(x), -1) for i in range(count)], 1)


def lstm(path):
    """The network's LSTM as a model, out of its ONNX file."""
    (model,) = sprnn.onnx.layers(path).models.values()
    return model


def chunks_of(sound):
    """[chunks, 576]: each chunk with its context; the last one is filled up with zeros."""
    count = -(-len(sound) // CHUNK)
    padded = np.zeros(CONTEXT + count * CHUNK, np.float32)
    padded[CONTEXT : CONTEXT + len(sound)] = sound
    return np.stack([padded[i * CHUNK : i * CHUNK + CONTEXT + CHUNK] for i in range(count)])


class OwnModel:
    """The wheel's own model as the wheel runs it: onnxruntime with one thread, the state handed back each time."""

    def __init__(self, path):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.inter_op_num_threads = options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.state = np.zeros((2, 1, 128), np.float32)

    def __call__(self, chunk):
        inputs = {"input": chunk[None], "state": self.state, "sr": np.array(16000, np.int64)}
        output, self.state = self.session.run(None, inputs)
        return output.item()
