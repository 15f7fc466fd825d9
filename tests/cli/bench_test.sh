# etude bench without PyTorch: wrong command lines, peers that are missing, broken, of another size, or interrupted; the
# table of a page. Peers are played by a script in the place of Python.
. "$(dirname "$0")/lib.bash"
cd "$scratch" || exit 1

expect 0 'decoder-256  *d=256 L=6 T=256 B=16 V=4096' bench --list
expect 2 "did you mean 'decoder-64'" bench decoder-46
expect 2 "there is no format 'fp16'" bench --format fp16
expect 2 'is no whole number' bench --rounds 0
expect 2 'is no whole number' bench --threads 100000
expect 2 'there is no option .--round.' bench --round 3
expect 9 'there is no Python of that name: make bench-peers' bench decoder-64 --python /nowhere/python
expect 9 'no such file\|cannot\|can.t' bench --table missing.md

# player NAME: a Python that says it has PyTorch, and then does what standard input of this function says.
player() {
  { printf '#!/usr/bin/env bash\n[ "$1" = -c ] && { echo 2.15.0; exit; }\n'; cat; } > "$1"
  chmod +x "$1"
}
printf '#!/bin/sh\nexit 1\n' > without && chmod +x without
expect 2 'has no PyTorch that can be loaded' bench decoder-64 --python "$PWD/without"

quick=(bench decoder-64 --quick --force --format fp32 --threads 1)
player broken << 'PLAY'
echo "Traceback: something is wrong" >&2
PLAY
expect 9 'PyTorch, eager ended before it answered' "${quick[@]}" --python "$PWD/broken"
printf '%s\n' "$err" | grep -q 'Traceback: something is wrong' || fail "the peer's own words are not shown: $err"

player small << 'PLAY'
read -r task
echo 'a line that is no JSON'
echo '{"ready": true, "parameters": 139583, "idle_bytes": 1}'
read -r wait
PLAY
expect 3 'the nets differ: 139584 parameters here, 139583 in PyTorch, eager' "${quick[@]}" --python "$PWD/small"

# The same size, and a second for each steps that are asked for.
player equal << 'PLAY'
read -r task
echo '{"ready": true, "parameters": 139584, "idle_bytes": 1000000}'
while read -r request; do echo '{"seconds": 1, "losses": [9], "peak_bytes": 3000000}'; done
PLAY
expect 0 'of the best product' "${quick[@]}" --python "$PWD/equal" --out results.json
printf '%s\n' "$out" | grep -q '^  eager .*x (' || fail "no ratio in: $out"
grep -q '"peer": "PyTorch 2.15.0"' results.json || fail "the peer's version is not kept"
grep -q '"curves": null' results.json || fail "curves that were not compared are kept"
printf '# Page\n\n<!-- bench -->\n<!-- /bench -->\nend\n' > page.md
expect 0 '' bench --table page.md --out results.json
grep -q '^| decoder-64: d=64 L=2 T=64 B=16 V=256 | fp32 |' page.md || fail "no row in the page: $(cat page.md)"
[ "$(tail -n 1 page.md)" = end ] || fail "the rest of the page is gone"
expect 0 '' bench --table page.md --out results.json
[ "$(grep -c 'decoder-64' page.md)" = 1 ] || fail "the table is there twice"
echo '# Page' > page.md
expect 3 'no place for the table' bench --table page.md --out results.json
# Losses that are not those of this net.
player astray << 'PLAY'
read -r task
echo '{"ready": true, "parameters": 139584, "idle_bytes": 1}'
read -r request
echo "{\"seconds\": 1, \"losses\": [9$(printf ',9%.0s' $(seq 49))], \"peak_bytes\": 3}"
read -r wait
PLAY
expect 6 'the losses of the same steps are apart by' "${quick[@]}" --python "$PWD/astray" --curves

# Ctrl-C while a peer computes: nobody is left, nothing is written.
player slow << 'PLAY'
read -r task
echo '{"ready": true, "parameters": 139584, "idle_bytes": 1}'
echo waits > started
sleep 1000
PLAY
"$etude" "${quick[@]}" --python "$PWD/slow" --out never.json > interrupted.out 2>&1 &
bench=$!
wait_for waits started
kill -INT $bench
wait $bench
[ $? = 130 ] || fail "an interrupted bench has another exit code: $(cat interrupted.out)"
nobody_left bench-side
nobody_left "$PWD/slow"
[ ! -e never.json ] || fail "an interrupted bench wrote results"

# Which way the operators of a step went; needs no peer.
expect 0 'calls in a step' bench decoder-64 --explain --threads 1
printf '%s\n' "$out" | grep -q '^  [a-z].* [0-9]' || fail "--explain tells no operator: $out"
finish
