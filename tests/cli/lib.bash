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

# wait_for PATTERN FILE: until a line has it, or a minute.
wait_for() {
  for _ in $(seq 1200); do
    grep -q -- "$1" "$2" 2> /dev/null && return
    sleep 0.05
  done
  fail "no '$1' in $2: $(tail -n 3 "$2")"
}
# The processes whose command line has this word.
with_word() { grep -l -a -z -x -- "$1" /proc/[0-9]*/cmdline 2> /dev/null; }
# nobody_left WORD [SECONDS]: no process has it in its command line, within ten seconds.
nobody_left() {
  for _ in $(seq $((${2:-10} * 20))); do
    [ -z "$(with_word "$1")" ] && return
    sleep 0.05
  done
  fail "a process with $1 was left behind"
}
# newest DIRECTORY: the step of the newest checkpoint below it.
newest() { find "$1" -name 'step-*' | sed 's/.*step-0*//' | sort -n | tail -n 1; }

# Metrics without what differs from one machine or day to the other.
bits() { sed 's/"seconds":[^,}]*//g' "$1/metrics.jsonl" | sha256sum; }

finish() {
  [ "$failures" = 0 ] || exit 1
  echo ok
}
