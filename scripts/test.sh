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

# The Python package is built and tested where its environment could be had (scripts/python_env.sh).
python=$PWD/build/env/numpy/bin/python
with_python=(-DSPRNN_BUILD_PYTHON=OFF)
[ -x "$python" ] && with_python=(-DSPRNN_BUILD_PYTHON=ON -DPython_EXECUTABLE="$python")

progress=()
[ -t 1 ] && progress=(--progress)

status=0
results=()
for preset in "$@"; do
  result=$PWD/build/results/$preset.xml
  results+=("$result")
  rm -f "$result"
  run=() options=("${with_python[@]}") targets=(all) select=()
  if [ "$preset" = tsan ]; then
    run=("${launcher[@]}") options=() targets=(thread_tests) select=(--label-regex '^threads$')
  fi
  "${run[@]}" cmake --preset "$preset" "${options[@]}" >/dev/null &&
    "${run[@]}" cmake --build --preset "$preset" --parallel "$jobs" --target "${targets[@]}" &&
    "${run[@]}" ctest --preset "$preset" --parallel "$jobs" "${progress[@]}" "${select[@]}" --output-junit "$result" ||
    status=1
done
/usr/bin/python3 scripts/test_summary.py "${results[@]}" || status=1
exit $status
