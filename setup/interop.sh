#!/usr/bin/env bash
# setup/interop.sh: makes .deps/interop, a Python environment with the packages beside which the tests of
# tests/interop check what Etude reads and writes. Nothing else uses it. Does nothing when it is there already.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { printf 'setup/interop.sh: %s\n' "$1" >&2; [ -z "${2:-}" ] || printf '  hint: %s\n' "$2" >&2; exit 1; }

pins=setup/interop.txt
dest=.deps/interop
# The stamp is the hash of the pins, so that changed pins are fetched anew.
stamp=$(sha256sum "$pins" | cut -d' ' -f1)
[ "$(cat "$dest/.complete" 2> /dev/null)" != "$stamp" ] || exit 0

mkdir -p .deps
free_mb=$(df -Pm .deps | awk 'NR == 2 { print $4 }')
[ "$free_mb" -ge 8000 ] || fail "$free_mb MB are free on this disk, the packages need 8000 while they unpack"
echo "Python environment of the interop tests: fetching (torch, transformers, ...) ..."
rm -rf "$dest"
python3 -m venv "$dest" || fail "python3 can't make a virtual environment" "install python3-venv"
TMPDIR=$(cd .deps && pwd) "$dest/bin/python" -m pip --disable-pip-version-check install --quiet --requirement "$pins" ||
  fail "the download failed (pip's own message is above)" \
    "check the network; behind a proxy or mirror, pip's own settings apply (pip.conf, PIP_INDEX_URL)"
echo "$stamp" > "$dest/.complete"
echo "Python environment: in $dest"
