#!/usr/bin/env bash
# Tests the Python package (results in build/results/python*.xml, JUnit):
#   all layers with the environment `full` of scripts/python_env.sh, where the wheel of scripts/wheel.sh is installed;
#   what the ONNX layer does where there is a GPU, on the emulated one of `make test` where that has made it;
#   the wheel in a new environment with NumPy alone, as a user has it;
#   the torch and ONNX layers once more on a module with the address and undefined-behaviour sanitizers (the arrays layer
#   has that in `make test`);
#   the arrays layer on each interpreter of SPRNN_PYTHONS, by default python3.10 to python3.13.
set -uo pipefail
cd "$(dirname "$0")/.."
results=$PWD/build/results
mkdir -p "$results"
rm -f "$results"/python*.xml
status=0

pytest() { # pytest PYTHON RESULT TESTS...: never the package of the source tree
  local code=0
  "$1" -m pytest -q -p no:cacheprovider -c pyproject.toml --junitxml "$results/$2.xml" "${@:3}" || code=$?
  if [ $code = 1 ] && [ -s "$results/$2.xml" ]; then
    status=1 # the result says what failed
  elif [ $code != 0 ]; then
    failed "$2" "pytest ended with exit status $code"
  fi
}

failed() { # failed RESULT REASON: a failure that no test has
  status=1
  echo "python: $1: $2" >&2
  echo "<testsuites><testsuite><testcase name='$2'><failure message='$2'/></testcase></testsuite></testsuites>" \
    >"$results/$1-failed.xml"
}

env=build/env/full/bin/python
if "$env" -m pip install --quiet --no-deps --force-reinstall build/wheel/*.whl; then
  echo "python: all layers, from the wheel"
  pytest $env python python/tests
  if [ -e build/emulator/libcuda.so.1 ]; then
    echo "python: the ONNX layer where there is a GPU, on the emulated one"
    LD_LIBRARY_PATH=$PWD/build/emulator SPRNN_CACHE_DIR=$PWD/build/emulator/cache \
      pytest $env python-emulated python/tests/onnx/test_onnx_graph.py -k a_gpu
  fi
else
  failed python "the wheel cannot be installed"
fi

echo "python: the wheel in a new environment"
new=build/env/new
log=build/new-environment.log
layer='
import importlib.util, numpy as np, sprnn
assert not any(map(importlib.util.find_spec, ("torch", "onnx", "nanobind"))), "the environment is not new"
weights = {"weight_ih_l0": np.ones((4, 3), np.float32), "weight_hh_l0": np.zeros((4, 4), np.float32)}
y = sprnn.Model(weights, "tanh").session()(np.ones((2, 3), np.float32))
assert y.shape == (2, 4) and np.allclose(y, np.tanh(3)), y
'
rm -rf "$new"
if ! { /usr/bin/python3 -m venv "$new" && "$new/bin/python" -m pip install --quiet build/wheel/*.whl &&
       "$new/bin/python" -I -c "$layer"; } </dev/null >"$log" 2>&1; then
  tail -n 5 "$log" >&2
  failed python-new "the wheel does not run in a new environment with NumPy alone (all messages are in $log)"
fi

# The interpreter has no sanitizer, so its runtime is loaded first, and libstdc++ with it so that exceptions are caught.
# Leaks are not looked for: Python and PyTorch keep what they allocate until the process ends. What NumPy cannot allocate is
# a MemoryError here too (a test asks for 800 TB). A report ends the process, so pytest must not hold it back.
echo "python: the torch and ONNX layers, with sanitizers (leaks are not looked for: Python and PyTorch leak on purpose)"
log=build/asan-python.log
if cmake --preset asan -B build/asan-python -DSPRNN_BUILD_PYTHON=ON -DPython_EXECUTABLE="$PWD/$env" >"$log" 2>&1 &&
   cmake --build build/asan-python --parallel "${JOBS:-$(nproc)}" --target sprnn_python >>"$log" 2>&1; then
  LD_PRELOAD=$(g++ -print-file-name=libasan.so):$(g++ -print-file-name=libstdc++.so) PYTHONPATH=build/asan-python/python \
    ASAN_OPTIONS=detect_leaks=0:detect_stack_use_after_return=1:strict_string_checks=1:allocator_may_return_null=1:exitcode=99 \
    pytest $env python-asan --capture=sys python/tests/torch python/tests/onnx
else
  tail -n 20 "$log" >&2
  failed python-asan "the module with sanitizers cannot be built"
fi

# An interpreter that runs: on PATH, or among pyenv's.
find_python() {
  local name=$1 candidate
  for candidate in "$name" "${PYENV_ROOT:-$HOME/.pyenv}/versions/${name#python}".*/bin/"$name"; do
    "$candidate" -c 'import sys; print(sys.executable)' 2>/dev/null && return
  done
  return 1
}

# The library that the wheel was linked with, for the modules of the other interpreters.
cmake --install build/wheel-cp3* --prefix build/python-library >/dev/null ||
  failed python-library "the library of the wheel cannot be installed"
for name in ${SPRNN_PYTHONS:-python3.10 python3.11 python3.12 python3.13}; do
  label=python-$(basename "$name")
  env=build/env/numpy-$(basename "$name")
  if ! python=$(find_python "$name"); then
    echo "python: $name SKIPPED: there is none on PATH"
    echo "<testsuites><testsuite><testcase name='$name'><skipped message='the arrays layer on $name: there is none on" \
      "PATH'/></testcase></testsuite></testsuites>" >"$results/$label.xml"
    continue
  fi
  echo "python: the arrays layer on $python"
  if ! { scripts/python_env.sh numpy "$python" "$env" &&
         cmake -G Ninja -S python -B "$env/build" -DCMAKE_BUILD_TYPE=Release -DCMAKE_PREFIX_PATH="$PWD/build/python-library" \
           -DPython_EXECUTABLE="$PWD/$env/bin/python" >"$env/build.log" &&
         cmake --build "$env/build" --parallel "${JOBS:-$(nproc)}" >>"$env/build.log"; }; then
    tail -n 20 "$env/build.log" >&2
    failed "$label" "the module cannot be built for $name"
    continue
  fi
  PYTHONPATH=$env/build pytest "$env/bin/python" "$label" python/tests/arrays
done
exit $status
