#!/usr/bin/env python3
"""Real input for the demo: demo_input.py G2P_EN.safetensors OUT.npy

What g2p-en's encoder sees when it reads a text: the embedding of each letter, and of </s> after each word.
"""

import json
import sys

import numpy

TEXT = """a recurrent layer runs the same small matrix product thousands of times in a row and at small batch it is bound
by reading the recurrent weights and by waiting between timesteps not by arithmetic pruning removes most of the weights
but hardly any library turns that into speed"""
GRAPHEMES = ["<pad>", "<unk>", "</s>"] + list("abcdefghijklmnopqrstuvwxyz")


def read_tensor(path, name):
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        start, end = header[name]["data_offsets"]
        file.seek(start, 1)
        return numpy.frombuffer(file.read(end - start), "<f4").reshape(header[name]["shape"])


def main():
    checkpoint, out = sys.argv[1:]
    embedding = read_tensor(checkpoint, "enc_emb")
    letters = [symbol for word in TEXT.split() for symbol in [*word, "</s>"]]
    numpy.save(out, embedding[[GRAPHEMES.index(symbol) for symbol in letters]])


if __name__ == "__main__":
    main()
