#!/usr/bin/env bash
# Both sides of etude bench train the same nets: equal numbers of parameters, and losses that stay together.
source "$(dirname "$0")/lib.bash"
need_python torch
. "$here/../cli/lib.bash"
trap 'rm -rf "$work" "$scratch"' EXIT
set +e

quick=(bench --quick --force --format fp32 --python "$(command -v "$python")")
expect 0 'of the best product' "${quick[@]}" decoder-64 --curves --out results.json
expect 0 'losses of 50 steps: .* apart by at most' "${quick[@]}" decoder-64 --curves
curves=$(sed -n 's/.*"curves": \([0-9.e-]*\),.*/\1/p' results.json)
"$python" -c "import sys; sys.exit(not 0 <= float('$curves') <= 1e-3)" || fail "losses are apart by '$curves'"
expect 0 'decoder-64 bf16' bench --quick --force --format bf16 --python "$(command -v "$python")" decoder-64
expect 0 'encoder-256 fp32: .* parameters on each side' "${quick[@]}" encoder-256
finish
