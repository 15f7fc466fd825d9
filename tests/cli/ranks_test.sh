# --nproc: as many processes as one likes give one process's result, bit by bit; what is wrong is said once; interrupts
# save, deaths are survived, and no process stays behind.
. "$(dirname "$0")/lib.bash"
smoke=(noloco --profile smoke)
endless=("${smoke[@]}" 'stop=100000 steps' 'evaluate.every=100000 steps' 'checkpoint.every=20 steps' --deadline 10)

# values DIRECTORY: all digits of the results of the one run below it, without times and counts of what travelled.
values() { sed -n '/"values": {/,/}/p' "$1"/*/*/result.json; }

# One process, two and four.
expect 0 'valid/loss' run "${smoke[@]}" --out one
for n in 2 4; do
  expect 0 'valid/loss' run "${smoke[@]}" --out "with-$n" --nproc "$n"
  [ -n "$(values one)" ] || fail 'one process has no values'
  [ "$(values one)" = "$(values "with-$n")" ] || fail "$n ranks: other values: $(values "with-$n")"
  cmp one/*/*/model.safetensors "with-$n"/*/*/model.safetensors || fail "$n ranks: another model"
  for r in $(seq 0 $((n - 1))); do
    [ -e "$(echo "with-$n"/*/*/ranks/"$r".txt)" ] || fail "$n ranks: no messages of rank $r"
  done
done
expect 0 'finished already' run "${smoke[@]}" --out with-2 --nproc 4
expect 0 '"trained":false' --json run "${smoke[@]}" --out with-2 --nproc 4
expect 0 ' 4 ranks' run "${smoke[@]}" --out fresh --nproc 4
expect 0 ' 2 ranks' run "${smoke[@]}" --out fresh --nproc 2 --fresh
[ "$(values one)" = "$(values fresh)" ] || fail '--fresh: other values'
run --json run "${smoke[@]}" --out json --nproc 2
[ "$(printf '%s\n' "$out" | grep -c '"event":"start"')" = 1 ] || fail "not one start: $out"
[ "$(printf '%s\n' "$out" | grep -c '"event":"finished"')" = 1 ] || fail "not one end: $out"
printf '%s\n' "$out" | grep -q '"event":"progress".*"rank":0' || fail "no progress: $out"

# What is wrong is said once, before a rank is started or by one of them.
refused() {
  local code=$1 pattern=$2
  shift 2
  expect "$code" "$pattern" "$@"
  [ "$(printf '%s\n' "$err" | grep -c -- "$pattern")" = 1 ] || fail "etude $*: not once: $err"
}
for value in 0 -1 2.5 two 257; do refused 2 "'$value' is no whole number of 1 to 256" run "${smoke[@]}" --nproc "$value"; done
refused 2 '--nproc needs a value' run "${smoke[@]}" --nproc
refused 2 "'0' is no number from 0.1" run "${smoke[@]}" --nproc 2 --deadline 0
refused 2 "no interface 'eth99'" run "${smoke[@]}" --nproc 2 --interface eth99
refused 2 'no rank 2' --inject rank:2:kill@0/save run "${smoke[@]}" --nproc 2
refused 2 "'rank:1:kill@0/sav' rehearses no fault" --inject rank:1:kill@0/sav run "${smoke[@]}" --nproc 2
refused 2 'chaos:1' --inject chaos:1 run "${smoke[@]}" --nproc 2 'stop=1M tokens'
refused 3 "threads' of recipe is 5000" run "${smoke[@]}" --nproc 2 threads=5000
[ ! -e runs ] || fail "something was left behind: $(find runs)"
refused 4 'rank .: .*nowhere' run "${smoke[@]}" --nproc 2 --data nowhere

# Ranks that another program starts.
export MASTER_ADDR=127.0.0.1 MASTER_PORT=29471 ETUDE_SECRET=0123456789abcdef0123456789abcdef
RANK=1 WORLD_SIZE=2 refused 2 'rank 1 of 2 already (torchrun)' run "${smoke[@]}" --nproc 2
RANK=2 WORLD_SIZE=2 refused 2 "RANK='2' must be below WORLD_SIZE=2" run "${smoke[@]}"
RANK=0 WORLD_SIZE=2 refused 2 "can't be one of several ranks" compare noloco
RANK=1 WORLD_SIZE=2 expect 0 'this is 1 of 2 (torchrun), they meet at 127.0.0.1:29471' doctor
RANK=1 WORLD_SIZE=2 ETUDE_SECRET=short expect 0 'ETUDE_SECRET has 5 characters' doctor
RANK=1 WORLD_SIZE=2 "$etude" --quiet run "${smoke[@]}" --out torchrun --deadline 20 > other 2>&1 &
RANK=0 WORLD_SIZE=2 expect 0 'valid/loss' run "${smoke[@]}" --out torchrun --deadline 20
wait $! || fail "the other rank: $(cat other)"
[ ! -s other ] || fail "the other rank has something to say too: $(cat other)"
[ "$(values one)" = "$(values torchrun)" ] || fail 'started one by one: other values'

# A rank that dies is named; noloco goes on without it. What was rehearsed is said.
expect 0 'rank 1 killed by signal 9' --inject rank:1:kill@3/exchange run "${smoke[@]}" --out killed --nproc 2 --deadline 5
expect 0 '(1 killed by signal 9)' --inject rank:1:kill@3/exchange run "${smoke[@]}" --out killed --nproc 2 --deadline 5 --fresh
expect 0 'the same faults again: --inject rank:' --inject chaos:5 run "${smoke[@]}" --out chaos --nproc 2 --deadline 5

# Ctrl-C saves, and the same command goes on; twice leaves at once; whoever starts the ranks may be killed.
for signal in INT TERM; do
  "$etude" --json run "${endless[@]}" --nproc 2 --out "by-$signal" > events 2> messages &
  child=$!
  wait_for '"progress"' events
  kill "-$signal" "$child"
  wait "$child"
  status=$?
  [ "$status" = 130 ] || fail "SIG$signal: exit code $status: $(cat messages)"
  [ "$(grep -c 'same command goes on from there' messages)" = 1 ] || fail "SIG$signal: how to go on is not said once"
  [ -n "$(newest "by-$signal")" ] || fail "SIG$signal: nothing was saved"
  nobody_left "by-$signal" 30
done
saved=$(newest by-INT)
"$etude" --json run "${endless[@]}" --nproc 3 --out by-INT > again 2> messages &
child=$!
wait_for '"progress"' again
kill -INT "$child"
wait "$child"
grep -q 'resuming' messages || fail "no resume with another number of ranks: $(cat messages)"
[ "$(newest by-INT)" -ge "$saved" ] || fail 'it went back'

"$etude" --json run "${endless[@]}" --nproc 2 --out twice > events 2> messages &
child=$!
wait_for '"progress"' events
kill -INT "$child"
kill -INT "$child" 2> /dev/null
wait "$child"
status=$?
[ "$status" = 130 ] || fail "interrupted twice: exit code $status"
nobody_left twice 30

"$etude" --json run "${endless[@]}" --nproc 3 --out killed-parent > events 2> messages &
child=$!
wait_for '"progress"' events
[ "$(with_word killed-parent | wc -l)" = 4 ] || fail "not three ranks and their parent: $(with_word killed-parent)"
kill -KILL "$child"
wait "$child" 2> /dev/null
nobody_left killed-parent 30
finish
