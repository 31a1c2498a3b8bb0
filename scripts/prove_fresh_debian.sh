#!/usr/bin/env bash
# Proves that a fresh Debian 12 with git and make is enough:
#   prove_fresh_debian.sh [--as-user] [TARGET...]        (as root; needs debootstrap; default: demo test)
# Bootstraps one into a temporary folder, copies HEAD into it, and runs `make TARGET` there, each in turn.
# --as-user: as an ordinary user who may use sudo. Packages are reached as this machine reaches them: its
# Debian mirror, proxy, certificates and pip settings are taken over. Nothing stays behind.
set -euo pipefail
cd "$(dirname "$0")/.."

user=root
if [ "${1:-}" = --as-user ]; then
  user=tester
  shift
fi
targets=("$@")
[ $# -gt 0 ] || targets=(demo test)
[ "$(id -u)" -eq 0 ] || { echo "prove: must run as root (it needs chroot and mount)" >&2; exit 2; }
command -v debootstrap >/dev/null || { echo "prove: apt-get install debootstrap first" >&2; exit 2; }

# In a mount and process namespace of its own, every mount and process ends with this script, however it ends.
if [ -z "${PROVE_ROOT:-}" ]; then
  PROVE_ROOT=$(mktemp -d "${TMPDIR:-/var/tmp}/fresh-debian.XXXXXX")
  export PROVE_ROOT
  child=
  # The namespace dies with the unshare that made it.
  trap '[ -z "$child" ] || { kill -KILL $child; wait $child; } 2>/dev/null || true; rm -rf --one-file-system "$PROVE_ROOT"' EXIT
  trap 'exit 130' INT TERM HUP
  flag=()
  [ "$user" = root ] || flag=(--as-user)
  unshare --mount --propagation private --pid --fork --kill-child "$0" "${flag[@]}" "${targets[@]}" &
  child=$!
  status=0
  wait $child || status=$?
  child=
  exit $status
fi
root=$PROVE_ROOT/root
mkdir "$root"
chmod 755 "$PROVE_ROOT" "$root"
home=/root
[ $user = root ] || home=/home/$user

# The Debian 12 archives that this machine uses, if it uses any; else debootstrap's own default.
sources=$(apt-get indextargets --format 'deb $(REPO_URI) $(CODENAME) $(COMPONENT)' 'Created-By: Packages' 2>/dev/null |
  grep -E '^deb \S+ bookworm(-updates|-security)? main$' | sort -u || true)
mirror=$(awk '$3 == "bookworm" { print $2; exit }' <<<"$sources")

echo "prove: debootstrap of Debian 12"
debootstrap --variant=minbase bookworm "$root" ${mirror:+"$mirror"} >"$PROVE_ROOT/log" 2>&1 ||
  { tail -n 20 "$PROVE_ROOT/log" >&2; exit 1; }
[ -z "$sources" ] || echo "$sources" >"$root/etc/apt/sources.list"
apt-config dump | { grep -E '^Acquire::(http|https|ftp)::' || true; } >"$root/etc/apt/apt.conf.d/99host"
for file in /etc/resolv.conf /etc/hosts /etc/pip.conf "$HOME/.config/pip/pip.conf"; do
  [ ! -f "$file" ] || install -D -m 644 "$file" "$root/etc/$(basename "$file")"
done
mkdir -p "$root/usr/local/share/ca-certificates"
cp /usr/local/share/ca-certificates/*.crt "$root/usr/local/share/ca-certificates/" 2>/dev/null || true

mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/tmp"
chmod 1777 "$root/tmp"

# Of this machine's environment only what says how to reach the network.
mapfile -t settings < <(env | grep -iE '^((http|https|ftp|all|no)_proxy|PIP_[A-Z_]+)=' || true)
inside() { # inside USER COMMAND: in a bash of the new system
  chroot "$root" /usr/bin/env -i "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" LANG=C.UTF-8 \
    "${settings[@]}" setpriv --reuid "$1" --regid "$1" --init-groups /usr/bin/env HOME="$home" \
    bash -c "$2" </dev/null
}

packages="git make"
[ "$user" = root ] || packages="git make sudo"
inside root "apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $packages" \
  >/dev/null
if [ "$user" != root ]; then
  inside root "useradd --create-home $user && echo '$user ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/$user"
fi
mkdir "$root$home/sprnn"
git archive HEAD | tar -x -C "$root$home/sprnn"
inside root "chown -R $user: $home/sprnn"

for target in "${targets[@]}"; do
  echo "prove: make $target"
  SECONDS=0
  inside $user "cd $home/sprnn && make $target" || { echo "prove: make $target FAILED after $SECONDS s" >&2; exit 1; }
  echo "prove: make $target passed in $SECONDS s"
done
