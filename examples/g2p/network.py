"""g2p-en's network: a GRU reads the letters of a word, another one writes its phonemes, the likeliest at each step.

The two GRUs run in sprnn or in PyTorch; embeddings and the output layer are NumPy's.
"""

import json
import struct

import numpy as np

import sprnn

HIDDEN = 256
LETTERS = "abcdefghijklmnopqrstuvwxyz"  # numbered from 3
UNKNOWN, END_OF_WORD = 1, 2
START, END = 2, 3  # of a pronunciation
LONGEST = 20  # phonemes, as in g2p-en
PHONEMES = (
    "<pad> <unk> <s> </s> AA0 AA1 AA2 AE0 AE1 AE2 AH0 AH1 AH2 AO0 AO1 AO2 AW0 AW1 AW2 AY0 AY1 AY2 B CH D DH EH0 EH1 EH2 "
    "ER0 ER1 ER2 EY0 EY1 EY2 F G HH IH0 IH1 IH2 IY0 IY1 IY2 JH K L M N NG OW0 OW1 OW2 OY0 OY1 OY2 P R S SH T TH UH0 UH1 "
    "UH2 UW UW0 UW1 UW2 V W Y Z ZH"
).split()


class Speller:
    """Letters to sounds, a batch of words at a time."""

    def __init__(self, path, layers):
        tensors = read_safetensors(path)
        self.letters, self.phonemes = tensors["enc_emb"], tensors["dec_emb"]
        self.out_weights, self.out_bias = np.ascontiguousarray(tensors["fc_w"].T), tensors["fc_b"]
        self.layers = layers

    def spell_all(self, words):
        """A list of phonemes for each word. The words of a batch are of like length."""
        batch = self.layers.batch
        order = sorted(range(len(words)), key=lambda i: len(words[i]))
        guesses = [None] * len(words)
        for begin in range(0, len(order), batch):
            chosen = order[begin : begin + batch]
            chosen_words = [words[i] for i in chosen] + ["a"] * (batch - len(chosen))  # the last batch is filled up
            for i, guess in zip(chosen, self.spell(chosen_words)):
                guesses[i] = guess
        return guesses

    def spell(self, words):
        lengths = [len(word) + 1 for word in words]  # and the sign for its end
        letters = np.zeros((max(lengths), len(words)), np.int64)
        for b, word in enumerate(words):
            numbers = [LETTERS.find(letter) + 3 if letter in LETTERS else UNKNOWN for letter in word]
            letters[: lengths[b], b] = [*numbers, END_OF_WORD]
        self.layers.encode(self.letters[letters], lengths)

        phoneme = np.full(len(words), START)
        written = np.full((LONGEST, len(words)), END)
        running = np.ones(len(words), bool)
        for step in range(LONGEST):
            h = self.layers.decode(self.phonemes[phoneme])
            phoneme = (h @ self.out_weights + self.out_bias).argmax(1)
            running &= phoneme != END
            if not running.any():
                break
            written[step, running] = phoneme[running]
        return [[PHONEMES[p] for p in column if p != END] for column in written.T]


class Sprnn:
    """The two GRUs in sprnn, pruned to a density (1: as they are)."""

    def __init__(self, path, density, batch, threads):
        self.batch = batch
        self.encoder, self.decoder = (
            sprnn.load(path, prefix=prefix).prune(density=density, input_density=density).session(batch=batch, threads=threads)
            for prefix in ("encoder.", "decoder.")
        )

    def encode(self, x, lengths):
        self.encoder.reset()
        self.encoder(x, lengths=lengths)
        self.decoder.state = self.encoder.state

    def decode(self, x):
        return self.decoder(x[None])[0]


class Torch:
    """The two GRUs in PyTorch, dense."""

    def __init__(self, path, batch, threads):
        import torch

        self.torch, self.batch = torch, batch
        torch.set_num_threads(threads)
        tensors = read_safetensors(path)
        self.encoder, self.decoder = torch.nn.GRU(HIDDEN, HIDDEN), torch.nn.GRU(HIDDEN, HIDDEN)
        for name, layer in (("encoder.", self.encoder), ("decoder.", self.decoder)):
            layer.load_state_dict({key: torch.tensor(tensors[name + key]) for key in layer.state_dict()})

    def encode(self, x, lengths):
        torch = self.torch
        with torch.inference_mode():
            x = torch.from_numpy(x)
            if self.batch > 1:
                x = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
            _, self.h = self.encoder(x)

    def decode(self, x):
        with self.torch.inference_mode():
            y, self.h = self.decoder(self.torch.from_numpy(x[None]), self.h)
        return y[0].numpy()


def read_safetensors(path):
    """float32 tensors by name."""
    with open(path, "rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(size))
        data = file.read()
    header.pop("__metadata__", None)
    return {
        name: np.frombuffer(data[slice(*info["data_offsets"])], np.float32).reshape(info["shape"])
        for name, info in header.items()
    }
