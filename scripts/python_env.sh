#!/usr/bin/env bash
# Makes a virtual environment from a file in python/requirements, once: python_env.sh NAME [PYTHON [FOLDER]]
#   python_env.sh numpy                                        build/env/numpy, for Debian's Python
#   python_env.sh numpy python3.12 build/env/numpy-3.12
# It is made anew when the requirements or the interpreter have changed. Exit status 1, with a message, when it
# cannot be had.
set -euo pipefail
cd "$(dirname "$0")/.."
name=$1
python=${2:-/usr/bin/python3}
folder=${3:-build/env/$name}
requirements=python/requirements

wanted=$("$python" -c 'import sys; print(sys.version, sys.executable)'; cat $requirements/*.txt)
[ "$(cat "$folder/made-from" 2>/dev/null || true)" = "$wanted" ] && exit 0

echo "python: making $folder (packages come through pip)"
rm -rf "$folder"
mkdir -p "$folder"
if ! { "$python" -m venv "$folder" && "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --retries 2 \
         -r $requirements/"$name".txt; } </dev/null >"$folder/log" 2>&1; then
  tail -n 3 "$folder/log" >&2
  rm -rf "$folder"
  echo "python: $folder cannot be made; what needs it will say so" >&2
  exit 1
fi
echo "$wanted" >"$folder/made-from"
