# Runs on disk: finished ones are found, interrupted ones go on to the same bits, others are told apart.
. "$(dirname "$0")/lib.bash"
smoke=(run noloco --profile smoke)

expect 0 'run: runs/noloco-noloco/' "${smoke[@]}"
straight=$(printf '%s\n' "$out" | sed -n 's/^run: //p')
for file in recipe.toml metrics.jsonl result.json model.safetensors rows/valid.jsonl log.txt; do
  [ -s "$straight/$file" ] || fail "no $file"
done
before=$(stat -c %Y:%i "$straight/result.json")
expect 0 'nothing was trained' "${smoke[@]}"
[ "$before" = "$(stat -c %Y:%i "$straight/result.json")" ] || fail "a finished run was trained again"

# The same bits: in a German locale, elsewhere, from an ejected file, through --fresh.
LC_ALL=de_DE.UTF-8 LANG=de_DE.UTF-8 expect 0 'run:' "${smoke[@]}" --out 'ein Ördner'
[ "$(bits "$straight")" = "$(bits "ein Ördner/${straight#runs/}")" ] || fail "other bits in a German locale"
expect 0 '' eject noloco mine.toml --profile smoke
expect 0 'own-mine' train mine.toml
own=$(printf '%s\n' "$out" | sed -n 's/^run: //p')
[ "$(basename "$own")" = "$(basename "$straight")" ] || fail "an ejected recipe has another hash"
[ "$(bits "$straight")" = "$(bits "$own")" ] || fail "an ejected recipe trains other bits"
expect 0 'run:' "${smoke[@]}" --fresh
[ "$before" != "$(stat -c %Y:%i "$straight/result.json")" ] || fail "--fresh trained nothing"

expect 0 'learner.0.clip: 1.0 -> 0.5' "${smoke[@]}" learner.0.clip=0.5

# Ctrl-C, then the same command.
longer=("${smoke[@]}" 'stop=60 steps' 'checkpoint.every=20 steps')
"$etude" --json "${longer[@]}" --out cut > events 2> cut.err &
child=$!
for _ in $(seq 200); do
  grep -q '"progress"' events && break
  sleep 0.05
done
kill -INT "$child"
wait "$child"
status=$?
case $status in
  130) grep -q 'goes on from there' cut.err || fail "an interrupted run does not say how to go on" ;;
  0) echo "the run was faster than the interrupt" ;;
  *) fail "interrupted: exit code $status" ;;
esac
run "${longer[@]}" --out cut
[ "$status" = 0 ] || fail "resuming: $status $err"
cut=$(printf '%s\n' "$out" | sed -n 's/^run: //p')
run "${longer[@]}" --out whole
whole=$(printf '%s\n' "$out" | sed -n 's/^run: //p')
[ "$(bits "$cut")" = "$(bits "$whole")" ] || fail "an interrupted run ends with other bits"
cmp -s "$cut/model.safetensors" "$whole/model.safetensors" || fail "an interrupted run ends with other weights"

expect 0 'noloco' generate "$straight" --prompt noloco --tokens 5 --temperature 0
"$etude" "${smoke[@]}" seed=7 >&- 2> /dev/null || fail "closed standard output stops a run: $?"

# A disk that is full, a folder that can't be written.
expect 9 'hint' --inject io:9:enospc "${smoke[@]}" seed=8
expect 0 'run:' "${smoke[@]}" seed=8
if [ "$(id -u)" = 0 ]; then
  expect 9 'hint' "${smoke[@]}" --out /proc/runs
else
  mkdir shut && chmod a-w shut
  expect 9 'hint' "${smoke[@]}" --out shut/runs
fi
# A technique more, for a recipe that has none.
cat > plain.toml << 'TOML'
stop = "2 steps"
data = { kind = "text", length = 16 }
net.model = { kind = "decoder", dim = 16, layers = 1, heads = 2, length = 16 }
evaluate = { batches = 1, batch = 4 }
[[pass]]
objective = { kind = "next_token" }
[[learner]]
optimizer = { kind = "sgd", lr = 0.1 }
TOML
expect 0 'ema/valid/loss' train plain.toml --with ema
finish
