# Arms x seeds: the plan, runs that are kept, a run that fails, Ctrl-C.
. "$(dirname "$0")/lib.bash"
smoke=(compare noloco --profile smoke --arms noloco,none --seeds 2)

expect 0 '4 missing' "${smoke[@]}" --plan
[ ! -e runs ] || fail "a plan wrote something"
expect 0 'better-than-none' "${smoke[@]}"
[ "$(find runs -name result.json | wc -l)" = 4 ] || fail "not four runs"
before=$(find runs -name result.json -printf '%i %T@\n' | sort)
expect 0 '4 runs finished, 0 missing' "${smoke[@]}" --plan
expect 0 'better-than-none' "${smoke[@]}"
[ "$before" = "$(find runs -name result.json -printf '%i %T@\n' | sort)" ] || fail "finished runs were trained again"
expect 0 '4 runs finished, 2 missing' compare noloco --profile smoke --arms noloco,none --seeds 3 --plan
expect 0 'better-than-none' report noloco --profile smoke

# A child is the run alone.
expect 0 'run:' run noloco --profile smoke seed=1 --out alone
alone=$(printf '%s\n' "$out" | sed -n 's/^run: //p')
[ "$(bits "$alone")" = "$(bits "runs/${alone#alone/}")" ] || fail "a run of a comparison has other bits than alone"

expect 2 "did you mean 'none'" compare noloco --arms noloco,non
expect 2 'twice' compare noloco --arms none,none

# One arm can't run: the others do, its error is shown.
mkdir -p broken
: > broken/noloco-none
expect 9 'none' compare noloco --profile smoke --arms none,noloco --seeds 1 --out broken
finish
