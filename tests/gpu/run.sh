#!/usr/bin/env bash
# Runs the GPU tests: run.sh [--build DIR] [--out DIR] [--commit HASH] [--part K/N] [--only TEXT] [--jobs N]
#   --build DIR    a prebuilt bundle (build/gpu of `cmake --build build --target gpu_bundle`); else it is built now
#   --out DIR      where the record goes (tests/gpu/results)
#   --commit HASH  the clean commit that the bundle was built from; else that of this checkout, which must be clean
#   --part K/N     every Nth case, from the Kth
#   --only TEXT    cases whose names contain TEXT; no record is written
#   --jobs N       N processes at once on the GPU, each with a case (half as many as CPUs, at most 8)
# Prints a table and, last, `N passed, N failed`. Exit status: 0, 1 a case failed, 2 bad usage, 3 no GPU, 124 not done
# after half an hour: hung.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source=$(cd "$here/../.." && pwd)
build="" out=$here/results commit="" options=() only="" jobs=""
usage() {
  sed -n '2,10s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
  exit 2
}
while [ $# -gt 0 ]; do
  [ $# -ge 2 ] && [ -n "$2" ] || usage
  case $1 in
    --build) build=$2 ;;
    --out) out=$2 ;;
    --commit) commit=$2 ;;
    --part) options+=(--part "$2") ;;
    --only) only=$2 ;;
    --jobs) jobs=$2 ;;
    *) usage ;;
  esac
  shift 2
done

if [ -z "$only" ] && [ -z "$commit" ]; then
  commit=$(git -C "$source" rev-parse HEAD) || { echo "run.sh: no git checkout here: name the commit, --commit HASH" >&2; exit 2; }
  changes=$(git -C "$source" status --porcelain)
  [ -z "$changes" ] || { echo "run.sh: the checkout has changes: commit them, or name the commit built, --commit HASH" >&2; exit 2; }
fi
if [ -n "$build" ]; then
  [ -x "$build/gpu_cases" ] || { echo "run.sh: no program gpu_cases in $build" >&2; exit 2; }
else
  build=$source/build/gpu
  (cd "$source" && cmake --preset release >/dev/null && cmake --build --preset release --target gpu_bundle) >&2
fi

# Where CUDA's installers put NVRTC and cuBLASLt; what LD_LIBRARY_PATH names goes first.
for folder in /usr/local/cuda/lib64 /usr/local/cuda/targets/*/lib; do
  [ ! -d "$folder" ] || LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$folder
done
export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:-}

if [ -z "$jobs" ]; then
  jobs=$(($(nproc) / 2))
  [ "$jobs" -ge 1 ] || jobs=1
  [ "$jobs" -le 8 ] || jobs=8
fi
options+=(--jobs "$jobs")
if [ -n "$only" ]; then
  options+=(--only "$only")
else
  options+=(--record "$out" --commit "$commit")
fi
exec timeout --kill-after=10 1800 "$build/gpu_cases" "${options[@]}"
