#!/usr/bin/env bash
# Builds and tests CMake presets: test.sh PRESET... Every preset runs even if an earlier one fails; the
# results are left in build/results/PRESET.xml (JUnit), and the last lines say what failed or was skipped.
set -uo pipefail
cd "$(dirname "$0")/.."
jobs=${JOBS:-$(nproc)}
mkdir -p build/results

# ThreadSanitizer's fixed memory map does not stand the wide address randomisation of newer kernels.
launcher=()
setarch "$(uname -m)" -R true 2>/dev/null && launcher=(setarch "$(uname -m)" -R)

status=0
results=()
for preset in "$@"; do
  result=build/results/$preset.xml
  results+=("$result")
  rm -f "$result"
  targets=(all) select=()
  [ "$preset" = tsan ] && targets=(thread_tests) select=(--label-regex '^threads$')
  run=()
  [ "$preset" = tsan ] && run=("${launcher[@]}")
  progress=()
  [ -t 1 ] && progress=(--progress)
  "${run[@]}" cmake --preset "$preset" >/dev/null &&
    "${run[@]}" cmake --build --preset "$preset" --parallel "$jobs" --target "${targets[@]}" &&
    "${run[@]}" ctest --preset "$preset" "${progress[@]}" --parallel "$jobs" "${select[@]}" --output-junit "$PWD/$result" || status=1
done
/usr/bin/python3 scripts/test_summary.py "${results[@]}" || status=1
exit $status
