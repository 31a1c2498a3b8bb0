"""The examples run as a new user runs them, on less: what they print, and that it is true."""

import pathlib
import shutil
import subprocess
import sys
import wave

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parents[3]
MODELS = ROOT / "build/models"


def needs(*names):
    for name in names:
        if not (MODELS / name).exists():
            pytest.skip(f"{MODELS / name} is not there: scripts/fetch_models.sh fetches it")


def run(script, *arguments):
    command = [sys.executable, ROOT / "examples" / script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def output_of(script, *arguments):
    done = run(script, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def table_of(output):
    """The rows of the Markdown table, as dicts of numbers."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in output.splitlines() if line.startswith("|")]
    assert set("".join(lines[1])) <= set("-:")
    return [dict(zip(lines[0], map(float, line))) for line in lines[2:]]


def assert_plot(path):
    assert path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 5000


@pytest.mark.parametrize("batch", [1, 16])
def test_g2p(batch, tmp_path):
    needs("g2p_en.safetensors")
    plot = tmp_path / "g2p.png"
    output = output_of("g2p/g2p.py", "--words", 150, "--repeats", 1, "--batch", batch, "--densities", 1, 0.6, 0.1, "--plot", plot)  # fmt: skip
    dense, pruned, bare = table_of(output)
    assert dense["as PyTorch dense %"] == 100
    assert f"{dense['phoneme errors %']:.4g} % phoneme errors" in output  # PyTorch's, which are the same
    assert 0 < dense["phoneme errors %"] < 20
    assert dense["phoneme errors %"] < pruned["phoneme errors %"] + 5 < bare["phoneme errors %"]
    assert all(row["words/s"] > 0 for row in (dense, pruned, bare))
    assert_plot(plot)


def test_g2p_spells():
    needs("g2p_en.safetensors")
    lines = output_of("g2p/g2p.py", "sparse", "World", "o'clock").splitlines()
    assert lines[:2] == ["sparse S P AA1 R S", "World W ER1 L D"]
    assert len(lines) == 3


def test_g2p_words_and_errors():
    sys.path.insert(0, str(ROOT / "examples/g2p"))
    try:
        import words
    finally:
        sys.path.pop(0)
    chosen = words.choose(2000)
    assert len(chosen) == 2000 and chosen == words.choose(2000) and all(word.isalpha() for word in chosen)
    assert words.edit_distance("kitten", "sitting") == 3 and words.edit_distance("", "abc") == 3
    pronunciations = {"a": [["X"], ["Y", "Z"]], "b": [["P", "Q"]]}
    assert words.error_rate([["Y", "Z"], ["P", "P"]], pronunciations) == pytest.approx(1 / 4)
    assert words.error_rate([["X"], ["P", "Q"]], pronunciations) == 0


def test_vad_hears_what_is_spoken(tmp_path):
    needs("silero_vad.onnx", "silero_vad_16k_op15.onnx")
    if not shutil.which("espeak-ng"):
        pytest.skip("espeak-ng, which speaks, is not installed")
    plot = tmp_path / "vad.png"
    output = output_of("vad/vad.py", "--densities", 1, 0.5, 0.02, "--plot", plot)
    dense, pruned, bare = table_of(output)
    assert dense["same decision %"] == 100 and dense["largest difference"] < 1e-4
    assert bare["same decision %"] < pruned["same decision %"] > 90
    assert all(row["LSTM us"] < row["chunk us"] for row in (dense, pruned, bare))
    spans = {
        kind: [tuple(map(float, span.split("-"))) for span in line.split(": ")[1].split(", ")]
        for line in output.splitlines()
        for kind in ("speech by", "spoken")
        if line.startswith(kind)
    }
    assert len(spans["spoken"]) == 5
    for begin, end in spans["speech by"]:  # each within a sentence, or near
        assert any(first - 0.2 <= begin and end <= last + 0.2 for first, last in spans["spoken"])
    assert_plot(plot)


def write_wav(path, samples, rate, channels=1, width=2):
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, width, rate, 0, "NONE", ""))
        file.writeframes((samples * 32767).astype("<i2").tobytes())


@pytest.mark.parametrize("rate, channels", [(16000, 1), (22050, 2), (8000, 1)])
def test_vad_on_a_file(rate, channels, tmp_path):
    needs("silero_vad.onnx", "silero_vad_16k_op15.onnx")
    rng = np.random.default_rng(0)
    write_wav(tmp_path / "noise.wav", rng.uniform(-0.5, 0.5, (2 * rate, channels)), rate, channels)
    output = output_of("vad/vad.py", "--wav", tmp_path / "noise.wav", "--densities", 1)
    assert "2.0 s of sound in 63 chunks" in output
    (row,) = table_of(output)
    assert row["same decision %"] == 100 and row["largest difference"] < 1e-4


def test_a_wav_file_that_is_cut_off(tmp_path):
    sys.path.insert(0, str(ROOT / "examples/vad"))
    try:
        import sound
    finally:
        sys.path.pop(0)
    write_wav(tmp_path / "whole.wav", np.full((100, 2), 0.5), 16000, 2)
    whole = (tmp_path / "whole.wav").read_bytes()
    path = tmp_path / "part.wav"
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        if size >= 44 and (size - 44) % 4 == 0:  # after the header: as many samples as there are
            assert len(sound.read_wav(str(path))) == (size - 44) // 4
        else:
            with pytest.raises(SystemExit, match="part.wav: .*expected") as caught:
                sound.read_wav(str(path))
            assert "\n" not in caught.value.code


def test_what_cannot_be_done_is_one_line(tmp_path):
    for script, arguments, message in (
        ("g2p/g2p.py", ["--model", tmp_path / "none"], "run scripts/fetch_models.sh"),
        ("vad/vad.py", ["--models", tmp_path], "run scripts/fetch_models.sh"),
    ):
        done = run(script, *arguments)
        assert done.returncode == 1 and message in done.stderr and len(done.stderr.splitlines()) == 1
    needs("silero_vad.onnx", "silero_vad_16k_op15.onnx")
    (tmp_path / "text.wav").write_text("not a sound")
    write_wav(tmp_path / "empty.wav", np.zeros(0), 16000)
    for name, message in (("text.wav", "expected a wav file"), ("empty.wav", "is empty"), ("none.wav", "No such file")):
        done = run("vad/vad.py", "--wav", tmp_path / name)
        assert done.returncode == 1 and message in done.stderr and len(done.stderr.splitlines()) == 1
