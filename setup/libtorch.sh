#!/usr/bin/env bash
# Fetches the LibTorch of setup/libtorch.txt into .deps/libtorch-<version>; does nothing when it is
# there already, or when ETUDE_TORCH names another one (cmake/Torch.cmake checks that one).
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { printf 'setup/libtorch.sh: %s\n' "$1" >&2; [ -z "${2:-}" ] || printf '  hint: %s\n' "$2" >&2; exit 1; }

if [ -n "${ETUDE_TORCH:-}" ]; then
  [ -d "$ETUDE_TORCH" ] || fail "ETUDE_TORCH=$ETUDE_TORCH is not a folder" \
    "name an unpacked LibTorch, or the folder of an installed torch package"
  echo "LibTorch: the one at ETUDE_TORCH=$ETUDE_TORCH"
  exit 0
fi

pins=setup/libtorch.txt
version=$(sed -n 's/^torch==\([0-9.]*\).*/\1/p' "$pins")
dest=.deps/libtorch-$version
# The stamp is the hash of the pins, so that changed pins are fetched anew.
stamp=$(sha256sum "$pins" | cut -d' ' -f1)
ready() { [ "$(cat "$dest/.complete" 2>/dev/null)" = "$stamp" ]; }
ready && exit 0

[ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] || fail \
  "the pinned LibTorch is for Linux on x86-64, this is $(uname -s) on $(uname -m)" \
  "unpack a LibTorch for this machine and set ETUDE_TORCH to its folder"
mkdir -p .deps
free_mb=$(df -Pm .deps | awk 'NR == 2 { print $4 }')
[ "$free_mb" -ge 2500 ] || fail "$free_mb MB are free on this disk, LibTorch needs 2500 while it unpacks"

exec 9> .deps/lock
flock 9                                   # two builds at once share one download
ready && exit 0

work=.deps/fetch
rm -rf "$work" "$dest"
mkdir -p "$work/wheels" "$work/tree"
trap 'rm -rf "$work"' EXIT

echo "LibTorch $version: fetching (0.6 GB to download, 1.3 GB on disk) ..."
python3 -m venv "$work/venv" ||
  fail "python3 can't make a virtual environment" "install python3-venv"
# The wheels are taken for the platform they are pinned for, whatever Python runs here.
TMPDIR=$PWD/$work "$work/venv/bin/python" -m pip --disable-pip-version-check download --quiet \
  --no-deps --require-hashes --only-binary=:all: --python-version 3.11 --implementation cp \
  --abi cp311 --abi none \
  --platform manylinux_2_28_x86_64 --platform manylinux_2_25_x86_64 \
  --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
  --dest "$work/wheels" --requirement "$pins" ||
  fail "the download failed (pip's own message is above)" \
    "check the network; behind a proxy or mirror, pip's own settings apply (pip.conf, PIP_INDEX_URL)"

python3 - "$work/wheels" "$work/tree" <<'PY'
# Only what C++ needs: libraries, headers and licences, not 400 MB of Python and tests.
import pathlib, sys, zipfile
wheels, tree = map(pathlib.Path, sys.argv[1:])
for wheel in sorted(wheels.glob("*.whl")):
    with zipfile.ZipFile(wheel) as z:
        names = [n for n in z.namelist()
                 if n.startswith(("torch/lib/", "torch/include/"))
                 or (n.startswith("nvidia/") and "/lib/" in n)
                 or (".dist-info/" in n and ("icense" in n or "LICENSE" in n or "NOTICE" in n))]
        z.extractall(tree, names)
PY
rm -f "$work"/tree/torch/lib/libtorch_python.so
echo "$stamp" > "$work/tree/.complete"
mv "$work/tree" "$dest"
echo "LibTorch $version: in $dest"
