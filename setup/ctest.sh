#!/usr/bin/env bash
# setup/ctest.sh BUILD_DIR [ctest options]: runs the tests, as many at once as there are cores, and
# leaves the output in BUILD_DIR/ctest.log, from which .ci/run takes the minutes of each label.
set -euo pipefail
build=$1
shift
ctest --test-dir "$build" --output-on-failure --no-tests=error --parallel "${JOBS:-$(nproc)}" "$@" 2>&1 |
  tee "$build/ctest.log"
