# Interrupts: once saves, twice leaves at once, a comparison takes its runs along, and no process stays behind.
. "$(dirname "$0")/lib.bash"
endless=(noloco --profile smoke 'stop=100000 steps' 'evaluate.every=100000 steps' 'checkpoint.every=20 steps')

# wait_for_save DIRECTORY: until there is a checkpoint below it, or a minute.
wait_for_save() {
  for _ in $(seq 1200); do
    [ -n "$(newest "$1")" ] && return
    sleep 0.05
  done
  fail "no checkpoint below $1"
}

for signal in INT TERM HUP; do
  "$etude" --json run "${endless[@]}" --out "by-$signal" > events 2> messages &
  child=$!
  wait_for '"progress"' events
  kill "-$signal" "$child"
  wait "$child"
  status=$?
  [ "$status" = 130 ] || fail "SIG$signal: exit code $status"
  grep -q 'same command goes on from there' messages || fail "SIG$signal: it does not say how to go on"
  [ -n "$(newest "by-$signal")" ] || fail "SIG$signal: nothing was saved"
done

# Twice: the checkpoint that was there before is whole, and the same command goes on with it.
"$etude" --json run "${endless[@]}" --out twice > events 2> messages &
child=$!
wait_for '"step":[0-9][0-9]' events
wait_for_save twice
kill -INT "$child"
kill -INT "$child" 2> /dev/null
wait "$child"
status=$?
[ "$status" = 130 ] || fail "interrupted twice: exit code $status"
"$etude" --json run "${endless[@]}" --out twice > again 2> messages &
child=$!
wait_for '"progress"' again
kill -INT "$child"
wait "$child"
grep -q 'resuming' messages || fail "no resume after two interrupts: $(cat messages)"
! grep -q 'damaged' messages || fail "a damaged checkpoint after two interrupts: $(cat messages)"

# A comparison: its runs save and leave, whether it is asked to stop or killed.
for signal in INT TERM KILL; do
  out="with-$signal-$$"
  "$etude" compare "${endless[@]}" --arms noloco,none --seeds 1 --jobs 2 --out "$out" > said 2> messages &
  child=$!
  for arm in noloco none; do
    while ! compgen -G "$out/noloco-$arm/*/metrics.jsonl" > /dev/null && kill -0 "$child" 2> /dev/null; do sleep 0.05; done
  done
  kill "-$signal" "$child"
  wait "$child" 2> /dev/null
  status=$?
  [ "$signal" = KILL ] || [ "$status" = 130 ] || fail "compare, SIG$signal: exit code $status: $(cat messages)"
  [ "$signal" = KILL ] || grep -q 'same command goes on from there' messages || fail "compare does not say how to go on"
  nobody_left "$out"
  for arm in noloco none; do [ -n "$(newest "$out/noloco-$arm")" ] || fail "compare, SIG$signal: $arm was not saved"; done
done

# On a terminal: one line, cut to its width, and Ctrl-C from the keyboard.
if script -qec true /dev/null > /dev/null 2>&1; then
  mkfifo keys
  TERM=xterm script -qefc "stty cols 80 rows 24; exec '$etude' run ${endless[*]@Q} --out terminal" screen < keys > /dev/null 2>&1 &
  child=$!
  exec 3> keys
  wait_for 'ETA' screen
  wait_for_save terminal
  printf '\003' >&3
  wait "$child"
  status=$?
  exec 3>&-
  [ "$status" = 130 ] || fail "Ctrl-C on a terminal: exit code $status"
  tr '\r' '\n' < screen | sed 's/\x1b\[K//g' | grep '^noloco [0-9].*…$' > lines || fail "no live line was cut to 80 columns"
  longest=$(LC_ALL=C.UTF-8 wc -L < lines)
  [ "$longest" -le 80 ] || fail "a live line of $longest columns"
  grep -q 'once more leaves at once' screen || fail "Ctrl-C is not answered"
else
  echo 'no pseudo terminal can be had here: Ctrl-C on a terminal is not tried'
fi
finish
