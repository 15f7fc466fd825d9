#!/usr/bin/env bash
# setup/bench.sh: makes .deps/bench, a Python environment with the PyTorch of setup/bench.txt, beside which
# `etude bench` measures. Nothing else uses it. Does nothing when it is there already.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { printf 'setup/bench.sh: %s\n' "$1" >&2; [ -z "${2:-}" ] || printf '  hint: %s\n' "$2" >&2; exit 1; }

pins=setup/bench.txt
dest=.deps/bench
# The stamp is the hash of the pins, so that changed pins are fetched anew.
stamp=$(sha256sum "$pins" | cut -d' ' -f1)
[ "$(cat "$dest/.complete" 2> /dev/null)" != "$stamp" ] || exit 0

mkdir -p .deps
free_mb=$(df -Pm .deps | awk 'NR == 2 { print $4 }')
[ "$free_mb" -ge 8000 ] || fail "$free_mb MB are free on this disk, the packages need 8000 while they unpack"
echo "Python environment of the bench: fetching (torch with its libraries) ..."
rm -rf "$dest"
python3 -m venv "$dest" || fail "python3 can't make a virtual environment" "install python3-venv"
TMPDIR=$(cd .deps && pwd) "$dest/bin/python" -m pip --disable-pip-version-check install --quiet --requirement "$pins" ||
  fail "the download failed (pip's own message is above)" \
    "check the network; behind a proxy or mirror, pip's own settings apply (pip.conf, PIP_INDEX_URL)"
"$dest/bin/python" - << 'PY' || fail "the PyTorch that was installed does not work (its message is above)"
import torch

twice = torch.compile(lambda x: x + x)
assert torch.equal(twice(torch.ones(3)), torch.full((3,), 2.0))
PY
echo "$stamp" > "$dest/.complete"
echo "Python environment: in $dest"
