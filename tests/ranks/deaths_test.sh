#!/usr/bin/env bash
# Ranks that die, and ranks that are stopped, in every phase of a run: who is left says who, where and at what, goes on
# or leaves a checkpoint to go on from, and nothing stays behind.
. "$(dirname "$0")/../cli/lib.bash"
deadline=6

# etude run ARM ... with a limit that only a hang reaches; sets $code. $folder is what --out says.
go() {
  code=0
  timeout -s KILL 120 "$etude" run "$@" --deadline "$deadline" > out.txt 2> err.txt || code=$?
  if pgrep -f -- "--out $folder " > left.txt; then fail "processes are left: $(cat left.txt)"; fi
}

# All that the ranks of the run said.
said() { cat "$folder"/*/*/ranks/*.txt err.txt; }

loss() { sed -n 's|.*"valid/loss": \([0-9.]*\).*|\1|p' "$1"/*/*/result.json; }

folder=alone
go noloco --profile smoke --out alone
[ "$code" = 0 ] || fail "the run alone ended with $code: $(cat err.txt)"

# NoLoCo goes on without a rank that died, the writing one too.
for phase in 0/rendezvous 0/broadcast 3/forward 1/exchange 8/evaluation 8/save 8/shutdown; do
  for victim in 0 2; do
    folder=died; rm -rf died
    go noloco --profile smoke --out died --nproc 4 --inject "rank:$victim:kill@$phase"
    [ "$code" = 0 ] || fail "noloco, rank $victim killed at $phase: exit $code: $(said)"
    [ -n "$(loss died)" ] || fail "noloco, rank $victim killed at $phase: no loss in the result"
    step=$((${phase%/*} + 1)) operation=${phase#*/}
    [ "$operation" = shutdown ] && continue  # the others may have ended before they could notice
    said | grep -q "rank $victim on .* is gone in step $step, $operation: " ||
      fail "noloco: nobody says that rank $victim died in step $step, $operation: $(said)"
  done
done

# Ranks that share a replica stop, and name whom they miss; the same command goes on.
for phase in 0/rendezvous 0/broadcast 3/forward 3/bucket 8/evaluation 8/save; do
  for victim in 0 1; do
    folder=died; rm -rf died
    fsdp=(noloco/fsdp --profile smoke 'checkpoint.every="2 steps"' --out died --nproc 3)
    go "${fsdp[@]}" --inject "rank:$victim:kill@$phase"
    [ "$code" = 7 ] || fail "fsdp, rank $victim killed at $phase: exit $code instead of 7: $(said)"
    step=$((${phase%/*} + 1)) operation=${phase#*/}
    grep -q "rank $victim on .* is gone: .*last heard of in step $step, $operation" err.txt ||
      fail "fsdp: the error does not name rank $victim, step $step, $operation: $(cat err.txt)"
    [ -e died/*/*/result.json ] && fail "fsdp: a result without rank $victim, killed at $phase"
    go "${fsdp[@]}"
    [ "$code" = 0 ] || fail "fsdp, after rank $victim was killed at $phase, does not go on: $(cat err.txt)"
  done
done

# Stopped for half the deadline: nobody notices. For twice the deadline: as dead, and on waking it leaves by itself.
for arm in noloco noloco/fsdp; do
  folder=alone; rm -rf alone
  ranks=4; [ "$arm" = noloco/fsdp ] && ranks=2
  go "$arm" --profile smoke --out alone --nproc "$ranks"
  folder=stopped; rm -rf stopped
  go "$arm" --profile smoke --out stopped --nproc "$ranks" --inject "rank:1:stop=$((deadline / 2))@3/forward"
  [ "$code" = 0 ] || fail "$arm, stopped for half the deadline: exit $code: $(said)"
  cmp alone/*/*/model.safetensors stopped/*/*/model.safetensors || fail "$arm: other bits after a pause"
  rm -rf stopped
  go "$arm" --profile smoke --out stopped --nproc "$ranks" --inject "rank:1:stop=$((deadline * 2))@3/forward"
  said | grep -q "the other ranks go on without this one: it was silent for longer" ||
    fail "$arm: the rank that was stopped for twice the deadline does not leave: $(said)"
  if [ "$arm" = noloco ]; then
    [ "$code" = 0 ] || fail "noloco does not finish without a stopped rank: exit $code: $(said)"
  else
    [ "$code" = 7 ] || fail "fsdp finishes without a stopped rank: exit $code"
  fi
done

# What a living process holds is its own: other tests may be at work.
while IFS= read -r memory; do
  grep -qsF -- "$memory" /proc/[0-9]*/maps || [ ! -e "$memory" ] || fail "shared memory is left: $memory"
done < <(find /dev/shm -type f -user "$(id -un)" -newer "$scratch" 2> /dev/null)
finish
