# Where the program runs: as nobody, without network, home or locale; on full, shut and shared disks; with closed
# streams; with data that change.
. "$(dirname "$0")/lib.bash"
smoke=(run noloco --profile smoke)
lines=(--quiet run noloco --profile smoke "data.path=text.txt" 'stop=60 steps' 'checkpoint.every=10 steps')

# nobody ARGUMENTS...: as another user where we are root, without environment and, where that is allowed, network.
nobody() {
  local as=() alone=()
  [ "$(id -u)" = 0 ] && as=(setpriv --reuid=65534 --regid=65534 --clear-groups)
  unshare -n true 2> /dev/null && alone=(unshare -n)
  "${alone[@]}" "${as[@]}" env -i LC_ALL=de_DE.UTF-8 OMP_WAIT_POLICY=passive "$etude" "$@" > .out 2> .err
  status=$?
}
chmod 755 "$scratch"
: > .out && : > .err
mkdir 'Größe' && chmod 777 'Größe'
if nobody version && [ "$status" = 0 ]; then
  for arguments in 'run noloco --profile smoke --out Größe' 'list sync' 'show noloco' 'doctor' \
    'check noloco --profile smoke' 'compare noloco --profile smoke --arms noloco,none --seeds 1 --out Größe'; do
    # shellcheck disable=SC2086
    nobody $arguments
    [ "$status" = 0 ] || fail "as nobody, $arguments: [$status] $(cat .err)"
  done
  nobody generate "$(dirname Größe/noloco-noloco/*/result.json)" --prompt 'Übung' --tokens 5
  grep -q 'Übung' .out || fail "generate as nobody: $(cat .out .err)"
  mkdir shut && cp "$etude" secret.txt && chmod 0 secret.txt && chmod 555 shut
  nobody --quiet "${smoke[@]}" --out shut
  [ "$status" = 9 ] && grep -q 'hint: the permissions' .err || fail "a directory that can't be written: $(cat .err)"
  nobody --quiet "${smoke[@]}" --data secret.txt
  [ "$status" = 4 ] && grep -q 'hint: let this user read it' .err || fail "a text that can't be read: $(cat .err)"
  [ -z "$(ls shut)" ] || fail "something was left in a directory that can't be written"
else
  echo "nobody can't reach the program: not tried"
fi

# Streams that are closed, full, or that nobody reads.
"$etude" list >&- || fail "closed standard output: $?"
"$etude" list > /dev/null 2>&- || fail "closed standard error: $?"
"$etude" "${smoke[@]}" --out closed <&- >&- 2>&- || fail "all streams closed: $?"
[ "$(find closed -name result.json | wc -l)" = 1 ] || fail "a run with closed streams leaves no result"
"$etude" list | head -n 1 > /dev/null
[ "${PIPESTATUS[0]}" = 0 ] || fail "a reader that left is no error"
"$etude" list > /dev/full 2> .err
[ $? = 9 ] && grep -q '(standard output)' .err || fail "a full standard output: $(cat .err)"
"$etude" --json list 2> /dev/full > .out || fail "a full standard error stops a command"
expect 0 'nothing was trained' "${smoke[@]}" --out closed

# In a pipe: no control characters, few lines.
"$etude" "${smoke[@]}" 'stop=40 steps' 2>&1 | cat > .out
! grep -q '[[:cntrl:]]' .out || fail "control characters in a pipe"
[ "$(grep -c ETA .out)" -le 4 ] || fail "many lines of progress in a pipe"
"$etude" --quiet "${smoke[@]}" seed=4 > /dev/null 2> .err
[ ! -s .err ] || fail "--quiet says: $(cat .err)"

# A full disk: training goes on, the run ends with an error, and the same command ends it once there is room.
if [ "$(id -u)" = 0 ] && mkdir small && mount -t tmpfs -o size=600k none small 2> /dev/null; then
  run --quiet "${smoke[@]}" --out small
  case $status:$err in
    9:*'No space left'*hint:*) ;;
    *) fail "a full disk: [$status] $err" ;;
  esac
  mount -o remount,size=20m small
  expect 0 'run: small' "${smoke[@]}" --out small
  umount small
fi
expect 9 'hint' --inject io:9:enospc "${smoke[@]}" --out injected
expect 0 'run: injected' "${smoke[@]}" --out injected

# Two runs on one directory.
"$etude" --json "${smoke[@]}" 'stop=100000 steps' --out shared > events 2> /dev/null &
child=$!
for _ in $(seq 400); do grep -q '"progress"' events && break; sleep 0.05; done
expect 5 "in use by process $child" "${smoke[@]}" 'stop=100000 steps' --out shared
kill -INT "$child"
wait "$child"

# A run goes on with its own data only; a finished one says that they changed.
yes 'the quick brown fox' | head -c 20000 > text.txt
run --inject io:60:kill "${lines[@]}"
[ -n "$(find runs -name 'step-*')" ] || fail "the run did not come to a checkpoint"
mv text.txt kept.txt
sed s/fox/cat/ kept.txt > text.txt
run "${lines[@]}"
case $status:$err in
  4:*'the data have changed'*'(text.txt)'*hint:*) ;;
  *) fail "other data at a resume: [$status] $err" ;;
esac
mv kept.txt text.txt
expect 0 'run:' "${lines[@]}"
head -c 9000 text.txt > short.txt && mv short.txt text.txt
expect 0 'earlier data' "${lines[@]}"
finish
