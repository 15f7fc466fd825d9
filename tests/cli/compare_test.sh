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

# An experiment: ranks under conditions, apart from ordinary runs of the same recipe, each way round.
slow=(compare noloco --profile smoke --arms noloco@straggler --seeds 2 'stop=2 steps' --out slow)
recipe=('stop=2 steps' 'evaluate.every=120 steps' 'checkpoint.every=0 steps')
expect 0 'run:' run noloco --profile smoke "${recipe[@]}" --out slow
expect 0 '2 runs of experiments, 0 runs finished, 2 missing.*one run at a time' "${slow[@]}" --plan
expect 0 'straggler: 8 ranks .*slow=10' "${slow[@]}"
[ "$(find slow/@straggler-*/noloco-noloco -name result.json | wc -l)" = 2 ] || fail "not two runs of the experiment"
[ "$(find slow/@straggler-*/noloco-noloco/*-s0/ranks -name '*.txt' | wc -l)" = 8 ] || fail "not eight ranks"
ordinary=$(basename slow/noloco-noloco/*-s0)
[ -d "$(echo slow/@straggler-*/noloco-noloco/"$ordinary")" ] || fail "the experiment has another recipe than was said"
kept=$(find slow -name result.json -printf '%i %T@\n' | sort)
expect 0 '2 runs of experiments, 2 runs finished, 0 missing' "${slow[@]}" --plan
expect 0 'no-global-blocking' "${slow[@]}"
[ "$kept" = "$(find slow -name result.json -printf '%i %T@\n' | sort)" ] || fail "a finished experiment was run again"
expect 0 'straggler: 8 ranks' report slow/@straggler-*
expect 2 "did you mean 'noloco@straggler'" compare noloco --arms noloco@stragler

# One that was interrupted, whose run has a checkpoint and no result, begins anew.
part=$(echo slow/@straggler-*/noloco-noloco/*-s0)
rm "$part/result.json"
mkdir -p "$part/checkpoints/step-00000001"
expect 0 '2 runs of experiments, 1 runs finished, 1 missing' "${slow[@]}" --plan
expect 0 'straggler: 8 ranks' "${slow[@]}"
[ ! -e "$part/checkpoints/step-00000001" ] || fail "an experiment that was interrupted went on"

# One arm can't run: the others do, its error is shown.
mkdir -p broken
: > broken/noloco-none
expect 9 'none' compare noloco --profile smoke --arms none,noloco --seeds 1 --out broken
finish
