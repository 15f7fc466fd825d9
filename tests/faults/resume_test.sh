# Stopped after each of 8 steps (two outer steps, two evaluations, an edge of an epoch, micro-batches, two replicas) and
# gone on with by a fresh process; run twice; and run by others, elsewhere: always the same bits.
set -u
export OMP_WAIT_POLICY=passive
scratch=$(mktemp -d "${TMPDIR:-/tmp}/etude faults.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
chmod 755 "$scratch"
cd "$scratch" || exit 1
fault_run=${ETUDE_BIN_DIR:?}/fault_run
failures=0
fail() {
  echo "FAILED: $*" >&2
  failures=$((failures + 1))
}
# same NAME COMMAND...: the command ends well and prints what the straight run printed.
same() {
  local name=$1
  shift
  "$@" > "$scratch/found" 2> "$scratch/err" || fail "$name: exit code $?: $(cat "$scratch/err")"
  diff straight found > difference || fail "$name: $(head -n 5 difference)"
}

i=0
while [ $i -lt 20 ]; do
  echo "line $((i * i * 37 % 1001)) of it"
  i=$((i + 1))
done > text.txt
"$fault_run" text.txt runs/straight > straight 2> err || { cat err; exit 1; }
[ "$(wc -l < straight)" -gt 60 ] || fail "only $(wc -l < straight) hashes"
[ "$(sort -u straight | wc -l)" = "$(wc -l < straight)" ] || fail "a hash stands twice"
# That all of it happens, in this recipe.
metrics=$(echo runs/straight/*/*/metrics.jsonl)
[ "$(grep -c '"kind":"eval"' "$metrics")" = 3 ] || fail "not 3 evaluations"
tail -n 1 "$metrics" | grep -q '"step":8,.*"rounds":2[.,]' || fail "not 2 rounds in 8 steps: $(tail -n 1 "$metrics")"
tail -n 1 "$metrics" | grep -q '"epochs":[12]\.' || fail "no edge of an epoch: $(tail -n 1 "$metrics")"

same "the same again" "$fault_run" text.txt runs/again
for k in 1 2 3 4 5 6 7; do
  "$fault_run" text.txt "runs/stop$k" "$k" > found 2> err
  status=$?
  [ $status = 130 ] || fail "stopped after step $k: exit code $status: $(cat err)"
  same "stopped after step $k" "$fault_run" text.txt "runs/stop$k"
done
"$fault_run" text.txt runs/stop8 8 > found 2> err || fail "stopped after the last step: $(cat err)"
diff straight found > difference || fail "stopped after step 8: $(head -n 5 difference)"
for k in 1 2 3 4 5 6 7; do  # in one run, all the times
  "$fault_run" text.txt runs/each 1 > found 2> err
done
same "stopped after every step" "$fault_run" text.txt runs/each

same "German locale" env LC_ALL=de_DE.UTF-8 LANG=de_DE.UTF-8 "$fault_run" text.txt runs/german
same "blanks and umlauts" "$fault_run" text.txt "runs/mit Blänken und Ümlauten"
same "no HOME" env -i "$fault_run" text.txt runs/homeless
if unshare -n true 2> /dev/null; then
  same "no network" unshare -n "$fault_run" text.txt runs/offline
else
  echo "skipped: no network (unshare -n is not allowed here)"
fi
if [ "$(id -u)" = 0 ] && setpriv --reuid=65534 --regid=65534 --clear-groups test -x "$fault_run" 2> /dev/null; then
  mkdir of-nobody && chown 65534:65534 of-nobody
  same "as nobody" setpriv --reuid=65534 --regid=65534 --clear-groups "$fault_run" text.txt of-nobody
else
  echo "skipped: as nobody (needs root, and a program that nobody may read)"
fi
[ "$failures" = 0 ] || exit 1
echo ok
