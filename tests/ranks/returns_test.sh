#!/usr/bin/env bash
# A rank that was killed is started again while the others go on: it takes up its replicas, and is part of the result.
. "$(dirname "$0")/../cli/lib.bash"

# Deadlines are long: a rank that comes back on a busy machine is slow at first, and would be left behind again.
# The other ranks may finish before a busy machine has started the rank again: then the same over more steps.
for victim in 0 2; do
  for steps in 300 1200 4800; do
    code=0
    rm -rf back
    timeout -s KILL 120 "$etude" run noloco --profile smoke "stop=\"$steps steps\"" net.model.dim=32 --out back --nproc 4 \
      --deadline 60 --restarts 1 --inject "rank:$victim:kill@20/forward" > out.txt 2> err.txt || code=$?
    said=$(cat back/*/*/ranks/*.txt err.txt)
    [ "$code" = 0 ] || fail "rank $victim killed and started again: exit $code: $said"
    newest=$(ls -d back/*/*/checkpoints/step-* | sort | tail -1)
    saved=${newest##*/step-}
    returned=$(sed -nE "s/.*rank $victim is back and goes on from step ([0-9]+).*/\1/p" <<< "$said" | head -1)
    [ -n "$returned" ] && [ "$returned" -lt "$((10#$saved))" ] && break
  done
  [ -n "$returned" ] || fail "rank $victim does not come back in $steps steps: $said"
  [ "$returned" -lt "$((10#$saved))" ] || fail "rank $victim is back at step $returned, after the last checkpoint $saved"
  # Eight replicas, each with a state: none is null.
  ! grep -qE '"replicas":\[(.*,)?null[],]' "$newest/state.json" || fail "replicas of rank $victim are not in checkpoint $saved"
done

# As often as was allowed, and no more.
code=0
rm -rf back
timeout -s KILL 120 "$etude" run noloco --profile smoke 'stop="40 steps"' --out back --nproc 2 --deadline 6 \
  --inject "rank:1:kill@20/forward" > out.txt 2> err.txt || code=$?
[ "$code" = 0 ] || fail "without --restarts the others do not finish: $(cat err.txt)"
grep -q "started again" err.txt back/*/*/ranks/0.txt && fail "a rank was started again though nobody wished it"
finish
