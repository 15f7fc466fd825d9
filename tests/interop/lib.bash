# What the scripts of tests/interop share: `source "$(dirname "$0")/lib.bash"`.
set -euo pipefail
here=$ETUDE_SOURCE/tests/interop
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# need_python PACKAGE...: sets $python to one that has these packages: ETUDE_PYTHON, what `make interop` has set up, or
# python3. Where there is none, says so and skips the test.
need_python() {
  local candidate why=''
  for candidate in "${ETUDE_PYTHON:-}" "$ETUDE_SOURCE/.deps/interop/bin/python" python3; do
    [ -n "$candidate" ] && command -v "$candidate" > /dev/null || continue
    if why=$("$candidate" - "$@" 2>&1 << 'PY'
import importlib.util, sys
missing = [name for name in sys.argv[1:] if importlib.util.find_spec(name) is None]
sys.exit("lacks " + ", ".join(missing) if missing else 0)
PY
    ); then
      python=$candidate
      return
    fi
    why="$candidate ${why##*$'\n'}"
  done
  echo "skipped: ${why:-there is no Python}; make interop sets one up, and ETUDE_PYTHON names another"
  exit 77
}
