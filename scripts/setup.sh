#!/usr/bin/env bash
# Installs, through apt, the packages that are missing: setup.sh [build] [clang] [python] [fuzz] [format]
# With everything in place it is done in an instant, without network and without root.
set -euo pipefail

declare -A packages=(
  [build]="build-essential ccache cmake ninja-build pkg-config libhwy-dev libcli11-dev nlohmann-json3-dev libfmt-dev nettle-dev
           libgtest-dev libgmock-dev libdnnl-dev ca-certificates python3 python3-dev python3-venv python3-pip
           python3-numpy spin"
  [clang]="clang-14"
  [python]="libonnx-testdata espeak-ng"
  [fuzz]="clang libclang-rt-dev"
  [format]="clang-format-14"
)

wanted=()
for group in "${@:-build}"; do
  [ -n "${packages[$group]:-}" ] || { echo "setup: no group '$group'; there are: ${!packages[*]}" >&2; exit 2; }
  read -r -d '' -a group_packages <<<"${packages[$group]}" || true
  wanted+=("${group_packages[@]}")
done

if ! command -v apt-get dpkg-query >/dev/null; then
  echo "setup: no apt here, so nothing is installed; what the build needs, by Debian's names: ${wanted[*]}" >&2
  exit 0
fi

missing=()
for package in "${wanted[@]}"; do
  [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

echo "setup: installing ${missing[*]}"
as_root=()
if [ "$(id -u)" -ne 0 ]; then
  # Without a terminal nobody can type a password, so sudo must work without one.
  if ! command -v sudo >/dev/null || { [ ! -t 0 ] && ! sudo -n true 2>/dev/null; }; then
    echo "setup: that needs root, and sudo cannot be used here. As root, run:" >&2
    echo "  apt-get update && apt-get install -y --no-install-recommends ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
fi
apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3)
if ! { "${apt[@]}" update && "${apt[@]}" install -y --no-install-recommends "${missing[@]}"; } </dev/null; then
  echo "setup: apt could not install all of: ${missing[*]} (its messages are above; is there a network?)" >&2
  exit 1
fi
