# Text from what was trained: sampling, several texts at once, stop strings, files of prompts, what programs read.
. "$(dirname "$0")/lib.bash"

run run noloco --profile smoke
run=$(printf '%s\n' "$out" | sed -n 's/^run: //p')
[ -d "$run" ] || fail "no run: $err"
# field NAME: of each JSON line that was printed.
field() { printf '%s\n' "$out" | sed -n "s/.*\"$1\":\"\{0,1\}\([^\",]*\).*/\1/p"; }

# The same seed says the same, another one something else; so does an own batch for each text.
expect 0 'In the beginning' generate "$run" --tokens 40
first=$out
expect 0 'In the beginning' generate "$run" --tokens 40
[ "$out" = "$first" ] || fail "the same seed says something else"
expect 0 'In the beginning' generate "$run" --tokens 40 --seed 1
[ "$out" != "$first" ] || fail "another seed says the same"
expect 0 'one' --json generate "$run" --prompt one --prompt two --samples 3 --tokens 60
[ "$(printf '%s\n' "$out" | wc -l)" = 6 ] || fail "not six lines: $out"
together=$out
[ "$(field prompt | tr '\n' ' ')" = 'one one one two two two ' ] || fail "prompts out of order: $out"
# A net that hardly learned ends a document as readily as it goes on.
[ -z "$(field reason | grep -v -x -e length -e document_end)" ] || fail "reasons: $out"
[ "$(field text | sort -u | wc -l)" = 6 ] || fail "samples are alike: $out"
for slots in 1 4; do
  expect 0 'one' --json generate "$run" --prompt one --prompt two --samples 3 --tokens 60 --batch "$slots"
  [ "$out" = "$together" ] || fail "texts depend on the batch: $out"
done

# Greedy: no draw, so every sample is the same; the first of it ends at a stop string.
expect 0 'A' --json generate "$run" --prompt A --samples 2 --temperature 0 --tokens 100 --top-k 3
[ "$(printf '%s\n' "$out" | sed 's/"sample":[0-9]*//' | sort -u | wc -l)" = 1 ] || fail "greedy samples differ: $out"
text=$(field text | head -n 1)
expect 0 '"reason":"stop"' --json generate "$run" --prompt A --temperature 0 --tokens 100 --stop "${text:0:2}" --stop never
[ "$(field text)" = "" ] || fail "a stop string was not cut off: $out"

# Log-probabilities: one for each token, for programs and for people.
expect 0 '"log_probabilities":\[' --json generate "$run" --tokens 7 --log-probabilities --min-p 0.01 --top-p 0.9
counted=$(printf '%s\n' "$out" | sed 's/.*"log_probabilities":\[\([^]]*\)\].*/\1/' | tr ',' '\n' | grep -c '^-\{0,1\}[0-9]')
[ "$counted" = 7 ] || fail "$counted log-probabilities of 7 tokens: $out"
expect 0 '^ *-[0-9]*\.[0-9]*  "' generate "$run" --tokens 7 --log-probabilities
expect 0 'tokens/s' generate "$run" --tokens 5 --verbose

# Prompts from files.
printf 'Über\n\n  two words\r\n' > prompts.txt
expect 0 'Über' --json generate "$run" --prompts prompts.txt --tokens 3
[ "$(field prompt)" = "$(printf 'Über\n  two words')" ] || fail "prompts of a file: $out"
printf '{"id": 1, "prompt": "A\\nB"}\n{"prompt": "C"}\n' > prompts.jsonl
expect 0 'A\\nB' --json generate "$run" --prompts prompts.jsonl --tokens 3
printf '{"prompt": "C"}\n{"text": "D"}\n' > wrong.jsonl
expect 4 'wrong.jsonl:2' generate "$run" --prompts wrong.jsonl
printf '{"prompt": "C"}\n{"prompt"\n' > broken.jsonl
expect 4 'no JSON (broken.jsonl:2)' generate "$run" --prompts broken.jsonl
printf '\n' > empty.txt
expect 4 'no prompts' generate "$run" --prompts empty.txt
expect 9 'absent.txt' generate "$run" --prompts absent.txt

# What can't be.
expect 2 "there is no run 'elsewhere'" generate elsewhere
expect 2 "no net 'modle'.*" generate "$run" --net modle
expect 2 'prompt is empty' generate "$run" --prompt ''
expect 2 "'1.5' is no number" generate "$run" --top-p 1.5
expect 2 "'0' is no whole number" generate "$run" --samples 0

# A tokenizer in place of its own.
expect 0 'In the beginning' generate "$run" --tokens 5 --tokenizer bytes

# Ctrl-C: what there is, and exit code 130.
"$etude" --json generate "$run" --tokens 1000000 --temperature 0 --prompt one --prompt two > cut.out 2> cut.err &
child=$!
sleep 1.5
kill -INT "$child"
wait "$child"
status=$?
[ "$status" = 130 ] || fail "interrupted: exit code $status: $(cat cut.err)"
[ "$(grep -c '"reason":"interrupted"' cut.out)" = 2 ] || fail "interrupted texts: $(cut -c 1-200 cut.out)"
finish
