#!/usr/bin/env bash
# The main job on real pretrained layers: prune, run, and show what it costs and what it gains.
set -euo pipefail
cd "$(dirname "$0")/.."
g2p=build/models/g2p_en.safetensors
vad=build/models/silero_vad.safetensors
letters=build/demo/letters.npy
sprnn=build/bin/sprnn

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
[ -t 1 ] || say() { printf '\n%s\n' "$*"; }
show() { printf '$ %s\n' "$*"; "$@"; }

mkdir -p build/demo
/usr/bin/python3 scripts/demo_input.py $g2p $letters

say "1. Two trained models were fetched by pip. g2p-en turns letters into sounds with two GRUs of 256:"
show $sprnn inspect $g2p

say "2. Its encoder reads 277 real letters, with ever fewer of its weights:"
show $sprnn sweep $g2p --prefix encoder. --input $letters

say "3. The LSTM cell of 128 in Silero VAD, which detects speech, on random input:"
show $sprnn sweep $vad

cat <<TEXT

The error is against the whole, unpruned layer in float64: what cutting weights off a trained model costs when it is
not trained any further. Training on with the mask in place is how that is won back; sprnn runs what comes out.
These layers are small. The gain grows with the size: try the last line but one.
TEXT

say "Try next"
cat <<TEXT
  $sprnn sweep YOUR.safetensors
  $sprnn prune $g2p build/demo/pruned.safetensors --prefix encoder. --density 0.1
  $sprnn explain build/demo/pruned.safetensors --prefix encoder. --target h100 --batch 4
  $sprnn bench --cell lstm --hidden 1024 --batch 1 --density 0.1 --steps 256
  $sprnn --help
TEXT
