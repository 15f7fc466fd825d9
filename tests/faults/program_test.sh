# The program dies, of a kill and of a power cut, at operations spread over a whole run: the same command goes on to
# the same bits. And a failed save says so.
. "$(dirname "$0")/../cli/lib.bash"
smoke=(run noloco --profile smoke replicas=2 source.shards=2 'checkpoint.every=2 steps' 'stop=6 steps')

expect 0 'run: ' "${smoke[@]}" --out straight
straight=$(printf '%s\n' "$out" | sed -n 's/^run: //p')
points=0
for fault in kill powercut; do
  for n in 3 25 50 75 100 $([ $fault = kill ] && echo 12 || echo 117); do
    rm -rf cut
    run --inject "io:$n:$fault" "${smoke[@]}" --out cut
    [ "$status" = 137 ] || { fail "io:$n:$fault: exit code $status: $err"; continue; }
    expect 0 'run: ' "${smoke[@]}" --out cut
    cut=$(printf '%s\n' "$out" | sed -n 's/^run: //p')
    [ "$(bits "$cut")" = "$(bits "$straight")" ] || fail "io:$n:$fault: other metrics"
    cmp -s "$cut/model.safetensors" "$straight/model.safetensors" || fail "io:$n:$fault: other weights"
    [ -z "$(find "$cut" -name '.*tmp-*')" ] || fail "io:$n:$fault: something is left aside"
    points=$((points + 1))
  done
done
[ $points -ge 10 ] || fail "only $points deaths"
finish
