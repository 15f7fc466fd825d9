#!/usr/bin/env bash
# setup/python_env.sh NAME WHAT [CHECK]: makes .deps/NAME, a Python environment with the packages of setup/NAME.txt, and
# tries it with the Python code CHECK. WHAT says what is fetched. Does nothing when it is there already.
set -euo pipefail
cd "$(dirname "$0")/.."
name=$1 what=$2 check=${3:-}

fail() { printf 'setup/%s.sh: %s\n' "$name" "$1" >&2; [ -z "${2:-}" ] || printf '  hint: %s\n' "$2" >&2; exit 1; }

pins=setup/$name.txt
dest=.deps/$name
# The stamp is the hash of the pins, so that changed pins are fetched anew.
stamp=$(sha256sum "$pins" | cut -d' ' -f1)
[ "$(cat "$dest/.complete" 2> /dev/null)" != "$stamp" ] || exit 0

mkdir -p .deps
free_mb=$(df -Pm .deps | awk 'NR == 2 { print $4 }')
[ "$free_mb" -ge 8000 ] || fail "$free_mb MB are free on this disk, the packages need 8000 while they unpack"
echo "Python environment: fetching $what ..."
rm -rf "$dest"
python3 -m venv "$dest" || fail "python3 can't make a virtual environment" "install python3-venv"
TMPDIR=$(cd .deps && pwd) "$dest/bin/python" -m pip --disable-pip-version-check install --quiet --requirement "$pins" ||
  fail "the download failed (pip's own message is above)" \
    "check the network; behind a proxy or mirror, pip's own settings apply (pip.conf, PIP_INDEX_URL)"
"$dest/bin/python" -c "$check" || fail "what was installed does not work (its message is above)"
echo "$stamp" > "$dest/.complete"
echo "Python environment: in $dest"
