"""16 kHz sound: from a wav file, or spoken by espeak-ng between silences."""

import os
import shutil
import subprocess
import sys
import tempfile
import wave

import numpy as np

RATE = 16000
SENTENCES = (
    "A recurrent layer runs the same small matrix product thousands of times in a row.",
    "Pruning removes most of the weights.",
    "The state is carried from one chunk of sound to the next.",
    "Is anybody there?",
    "This is the last sentence of the recording.",
)
VOICES = ("en-us", "en-gb", "en-us+f3", "en-gb+m3", "en-us+f2")


def read_wav(path):
    """float32 in -1..1 at 16 kHz, the channels averaged."""
    try:
        with wave.open(path) as file:
            if file.getsampwidth() != 2:
                sys.exit(f"{path}: {8 * file.getsampwidth()} bits a sample; expected 16")
            frames, width = file.readframes(file.getnframes()), 2 * file.getnchannels()
            if len(frames) % width:
                sys.exit(f"{path}: ends within a sample; expected {width} bytes for each: is the file cut off?")
            samples = np.frombuffer(frames, "<i2").reshape(-1, file.getnchannels())
            rate = file.getframerate()
    except (OSError, wave.Error, EOFError) as error:
        sys.exit(f"{path}: {error}; expected a wav file of 16-bit samples")
    return resample((samples.mean(1) / 32768).astype(np.float32), rate)


def resample(samples, rate):
    """By cutting off (or adding) the high end of the spectrum."""
    if rate == RATE or len(samples) == 0:
        return samples
    length = round(len(samples) * RATE / rate)
    return (np.fft.irfft(np.fft.rfft(samples), length) * (length / len(samples))).astype(np.float32)


def speak():
    """The sentences with a second of near-silence round each: samples, and (begin, end) of each sentence."""
    if not shutil.which("espeak-ng"):
        sys.exit("espeak-ng is not installed: install it (Debian: espeak-ng), or give a file with --wav")
    rng = np.random.default_rng(0)
    parts, spans, length = [np.zeros(RATE, np.float32)], [], RATE
    for sentence, voice in zip(SENTENCES, VOICES):
        handle, path = tempfile.mkstemp(suffix=".wav")
        os.close(handle)
        try:
            subprocess.run(["espeak-ng", "-v", voice, "-w", path, sentence], check=True)
            spoken = np.trim_zeros(read_wav(path))
        finally:
            os.remove(path)
        spans.append((length, length + len(spoken)))
        parts += [0.5 * spoken, np.zeros(RATE, np.float32)]
        length += len(spoken) + RATE
    sound = np.concatenate(parts)
    return sound + rng.normal(0, 3e-4, len(sound)).astype(np.float32), spans
