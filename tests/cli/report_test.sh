# What becomes of finished runs: the page, the tables in a pipe, JSON, the card's table in a checkout.
. "$(dirname "$0")/lib.bash"
source=${ETUDE_SOURCE:?}
smoke=(compare noloco --profile smoke --arms noloco,none --seeds 2)

expect 0 'report: runs/noloco-report/smoke.html' "${smoke[@]}"
page=runs/noloco-report/smoke.html
grep -q 'etude compare noloco --profile smoke --seeds 2 --arms noloco,none' $page || fail "no command in the page"
grep -q 'no finished run of diloco' $page || fail "a claim about an arm without runs gives no reason"
if printf '%s' "$out" | LC_ALL=C grep -q '[^ -~]'; then fail "not ASCII in the locale C: $out"; fi
LC_ALL=C.UTF-8 run report noloco --profile smoke
printf '%s' "$out" | grep -q '±' || fail "no UTF-8 in a locale that has it: $out"

# Only some arms and seeds are there.
rm -r runs/noloco-none/*-s1
expect 0 'at least 2 paired seeds' report noloco --profile smoke
expect 0 'report: runs/noloco-report/smoke-noloco-s0.html' report runs/noloco-noloco/*-s0
grep -q '<h1>noloco/noloco, seed 0</h1>' runs/noloco-report/smoke-noloco-s0.html || fail "no page of a single run"
if grep -q 'Claims of the paper' runs/noloco-report/smoke-noloco-s0.html; then fail "a single run has verdicts"; fi

expect 0 '"event":"result"' --json report noloco --profile smoke
printf '%s\n' "$out" | grep -q '"report":"runs/noloco-report/smoke.html"' || fail "JSON doesn't say where the page is"

# What can't be compared.
expect 0 'run:' run noloco --profile smoke source.batch=3
expect 2 'two runs of noloco, seed 0' report runs/noloco-noloco
expect 2 'no finished runs' report noloco --profile smoke --out elsewhere
expect 2 'no finished runs' report runs --profile full

# --record wants a checkout with the claims of this program.
expect 2 'no checkout' "${smoke[@]}" --record
mkdir -p checkout/methods/noloco checkout/below
: > checkout/CMakeLists.txt
cp "$source/methods/noloco/claims.toml" "$source/methods/noloco/README.md" checkout/methods/noloco
cd checkout/below || exit 1
expect 0 'recorded' "${smoke[@]}" --record --out ../../runs
grep -q '"claims_sha256"' ../methods/noloco/results.json || fail "no results were stored"
grep -q '^| \*\*noloco\*\* |' ../methods/noloco/README.md || fail "the card has no table"
grep -q '^## Options' ../methods/noloco/README.md || fail "the card lost what stands below its table"
card=$(sha256sum ../methods/noloco/README.md)
expect 0 'recorded' "${smoke[@]}" --record --out ../../runs
[ "$card" = "$(sha256sum ../methods/noloco/README.md)" ] || fail "a fresh card was changed"
echo '# changed' >> ../methods/noloco/claims.toml
expect 2 'claims there are not those' "${smoke[@]}" --record --out ../../runs
finish
