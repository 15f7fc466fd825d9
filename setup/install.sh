#!/usr/bin/env bash
# setup/install.sh demo|test|fuzz|bench: installs those Debian packages of setup/packages.txt that are missing
# (all but `demo` mean those of `demo` too). When none is, it touches neither the network nor sudo.
set -euo pipefail
cd "$(dirname "$0")"

fail() { printf 'setup/install.sh: %s\n' "$1" >&2; [ -z "${2:-}" ] || printf '  hint: %s\n' "$2" >&2; exit 1; }

case "${1:-}" in
  demo) groups='demo' ;;
  test | fuzz | bench) groups="demo|$1" ;;
  *) fail "'${1:-}' is not a group" "setup/install.sh demo|test|fuzz|bench" ;;
esac

mapfile -t wanted < <(awk -v groups="^($groups)\$" '$1 ~ groups { print $2 }' packages.txt)
if ! command -v dpkg-query > /dev/null; then
  fail "this is not Debian: no dpkg-query" \
    "install by your own means what setup/packages.txt lists, then: make SKIP_PACKAGES=1 ..."
fi

missing=()
installed=$(dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' 2> /dev/null | awk '$1 == "ii" { print $2 }')
for package in "${wanted[@]}"; do
  grep -qxF "$package" <<< "$installed" || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

echo "Debian packages to install (setup/packages.txt says why):"
for package in "${missing[@]}"; do
  awk -v p="$package" '$2 == p { $1 = ""; $2 = ""; sub(/^ +/, ""); printf "  %-20s %s\n", p, $0 }' packages.txt
done

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo > /dev/null || fail "installing packages takes root, and there is no sudo" \
    "as root: apt-get install --no-install-recommends ${missing[*]}"
  as_root=(sudo)
fi
apt() { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o Dpkg::Use-Pty=0 "$@"; }

log=$(mktemp)
trap 'rm -f "$log"' EXIT
for action in "update" "install --yes --no-install-recommends ${missing[*]}"; do
  # shellcheck disable=SC2086  # words on purpose
  apt $action > "$log" 2>&1 || {
    cat "$log" >&2
    fail "apt-get $action failed (its output is above)" "the packages are those of Debian 12 (bookworm), main"
  }
done
echo "Debian packages: ${#missing[@]} installed"
