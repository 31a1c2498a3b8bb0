#!/usr/bin/env bash
# Runs every libFuzzer target for SECONDS_EACH (60) seconds, from its committed corpus. New inputs gather in
# build/fuzz/corpus; an input that fails is left in build/fuzz and named in the last lines.
set -uo pipefail
cd "$(dirname "$0")/.."
seconds=${SECONDS_EACH:-60}

cmake --preset fuzz >/dev/null && cmake --build --preset fuzz --parallel "${JOBS:-$(nproc)}" || exit 1
passed=0
failed=()
for target in build/fuzz/bin/fuzz_*; do
  name=${target##*/fuzz_}
  echo "fuzz: $name for $seconds s"
  mkdir -p "build/fuzz/corpus/$name"
  log=build/fuzz/$name.log
  if "$target" -max_total_time="$seconds" -rss_limit_mb=4096 -timeout=20 -print_final_stats=1 \
      -artifact_prefix="build/fuzz/$name-" "build/fuzz/corpus/$name" "tests/fuzz/corpus/$name" >"$log" 2>&1; then
    grep -E 'number_of_executed_units|new_units_added' "$log" || true
    passed=$((passed + 1))
  else
    tail -n 40 "$log"
    failed+=("$name")
  fi
done
[ ${#failed[@]} -eq 0 ] || printf 'FAILED  fuzz target %s: see its log and input in build/fuzz\n' "${failed[@]}"
echo "$passed passed, ${#failed[@]} failed"
[ "$passed" -gt 0 ] && [ ${#failed[@]} -eq 0 ]
