#!/usr/bin/env bash
# setup/timed.sh NAME COMMAND...: runs the command and appends "seconds NAME" to build/timings, which
# .ci/run reads at its end. The command's exit status is passed on.
set -uo pipefail
name=$1
shift
mkdir -p build
start=$(date +%s.%N)
status=0
"$@" || status=$?
awk -v a="$start" -v b="$(date +%s.%N)" -v n="$name" \
  'BEGIN { printf "%.1f %s\n", b - a, n }' >> build/timings
exit $status
