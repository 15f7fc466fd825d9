# For the scripts beside it: a scratch folder with blanks and umlauts in its name, and expectations.
set -u
export LC_ALL=C TERM=xterm OMP_WAIT_POLICY=passive
etude=${ETUDE_BIN:?}
scratch=$(mktemp -d "${TMPDIR:-/tmp}/étude tést.XXXXXX")
trap 'chmod -R u+w "$scratch"; rm -rf "$scratch"' EXIT
cd "$scratch" || exit 1
failures=0

fail() {
  echo "FAILED: $*" >&2
  failures=$((failures + 1))
}

# run ARGUMENTS...: leaves status, out, err.
run() {
  "$etude" "$@" > "$scratch/.out" 2> "$scratch/.err"
  status=$?
  out=$(cat "$scratch/.out")
  err=$(cat "$scratch/.err")
}

# expect STATUS PATTERN ARGUMENTS...: exit code, and a pattern in what both streams say.
expect() {
  local wanted=$1 pattern=$2
  shift 2
  run "$@"
  [ "$status" = "$wanted" ] || fail "etude $*: exit code $status instead of $wanted: $err"
  printf '%s\n%s\n' "$out" "$err" | grep -q -- "$pattern" || fail "etude $*: no '$pattern' in: $out $err"
}

# Metrics without what differs from one machine or day to the other.
bits() { sed 's/"seconds":[^,}]*//g' "$1/metrics.jsonl" | sha256sum; }

finish() {
  [ "$failures" = 0 ] || exit 1
  echo ok
}
