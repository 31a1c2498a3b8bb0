#!/usr/bin/env bash
# Makes build/wheel/sprnn-*.whl with the environment `full` of scripts/python_env.sh. auditwheel copies the libraries
# that it needs beside glibc and libstdc++ into it.
set -euo pipefail
cd "$(dirname "$0")/.."
env=$PWD/build/env/full/bin
log=build/wheel/log

rm -rf build/wheel
mkdir -p build/wheel/raw
# The compiler that CMake takes by itself, not the one that Python was made with: then ccache knows its objects.
export CC=${CC:-cc} CXX=${CXX:-c++}
if ! { "$env/python" -m pip wheel --no-build-isolation --no-deps --config-settings=cmake.define.SPRNN_WERROR=ON --wheel-dir build/wheel/raw . &&
       PATH=$env:$PATH auditwheel repair --wheel-dir build/wheel build/wheel/raw/*.whl; } </dev/null >"$log" 2>&1; then
  tail -n 30 "$log" >&2
  echo "wheel: could not be made (all messages are in $log)" >&2
  exit 1
fi
ls build/wheel/*.whl
