#!/usr/bin/env bash
# A hundred runs with faults drawn from a seed: each ends right, or says why it stopped; then the same command without
# faults, on another number of ranks, goes on to the end. CHAOS_SEEDS="3 17" replays some.
. "$(dirname "$0")/../cli/lib.bash"

arms=(noloco diloco pairavg fsdp noloco-routed epidemic)
finished=0 stopped=0
for seed in ${CHAOS_SEEDS:-$(seq 1 100)}; do
  arm=${arms[$((seed % ${#arms[@]}))]}
  ranks=$((2 + seed % 3))
  rm -rf run
  command=("$etude" run "noloco/$arm" --profile smoke 'checkpoint.every="2 steps"' --out run --deadline 3)
  code=0
  timeout -s KILL 120 "${command[@]}" --nproc "$ranks" --inject "chaos:$seed" > out.txt 2> err.txt || code=$?
  what="seed $seed, $arm on $ranks ranks: $(grep -o 'rank:[^ ]*' err.txt | head -1)"
  case $code in
    0) finished=$((finished + 1)); [ -e run/*/*/result.json ] || fail "$what: exit 0 without a result" ;;
    7) stopped=$((stopped + 1)); grep -qE 'rank [0-9]+' err.txt || fail "$what: exit 7 names no rank: $(cat err.txt)" ;;
    137) grep -q 'killed by signal 9' err.txt && stopped=$((stopped + 1)) || fail "$what: hangs: $(cat err.txt)" ;;
    *) fail "$what: exit $code: $(cat err.txt)" ;;
  esac
  if pgrep -f -- '--out run ' > left.txt; then fail "$what: processes are left: $(cat left.txt)"; fi
  code=0
  timeout -s KILL 120 "${command[@]}" --nproc $((1 + seed % 3)) > out.txt 2> again.txt || code=$?
  [ "$code" = 0 ] || fail "$what: does not go on: exit $code: $(cat again.txt)"
done
echo "$finished finished with faults, $stopped stopped and went on"
finish
