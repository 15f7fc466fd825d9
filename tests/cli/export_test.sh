# etude export: what it writes, what it never overwrites, and what is left when it dies.
. "$(dirname "$0")/lib.bash"

expect 0 '' -q run noloco --profile smoke --out 'Läufe'
run=$(dirname Läufe/*/*/result.json)

expect 0 'written: Modell' export "$run" --to Modell
for file in config.json generation_config.json model.safetensors tokenizer.json tokenizer_config.json; do
  [ -s "Modell/$file" ] || fail "no $file in: $(ls Modell)"
done
grep -q '"torch_dtype": "float32"' Modell/config.json || fail "no type in $(cat Modell/config.json)"
grep -q '"eos_token_id": 256' Modell/config.json || fail "no end of documents in $(cat Modell/config.json)"

expect 2 "'Modell' is there already" export "$run" --to Modell
wide=$(wc -c < Modell/model.safetensors)
expect 0 'written: Modell' export "$run" --to Modell --force --dtype bfloat16
grep -q '"torch_dtype": "bfloat16"' Modell/config.json || fail "another type than bfloat16 in $(cat Modell/config.json)"
[ "$(wc -c < Modell/model.safetensors)" -lt "$wide" ] || fail 'no smaller in bfloat16'

mkdir Eigenes && echo mine > Eigenes/notes.txt
expect 2 "holds 'notes.txt', which is no part of an exported model" export "$run" --to Eigenes --force
[ "$(cat Eigenes/notes.txt)" = mine ] || fail 'a note was lost'
mkdir Leer
expect 0 'written: Leer' export "$run" --to Leer/ --format safetensors
[ "$(ls Leer)" = model.safetensors ] || fail "more than weights: $(ls Leer)"
touch Datei
expect 2 'is no folder' export "$run" --to Datei --force

expect 2 'there is no run' export nowhere --to x
expect 2 "did you mean 'model'?" export "$run" --net modle --to x
expect 2 '' export "$run" --to x --dtype float8
expect 2 '' export "$run" --to x --format onnx
expect 2 '' export "$run" --to x --format peft
[ ! -e x ] || fail 'a refused export left a folder'

# A death at any of its operations leaves the old model or the new one, and the next export finds its way.
before=$(cat Modell/* | sha256sum)
"$etude" -q export "$run" --to Frisch
after=$(cat Frisch/* | sha256sum)
for operation in 1 3 6 9 14 19 22 23 24 25 26; do
  "$etude" -q --inject "io:$operation:kill" export "$run" --to Modell --force > /dev/null 2>&1
  if [ -e Modell ]; then
    now=$(cat Modell/* | sha256sum)
    [ "$now" = "$before" ] || [ "$now" = "$after" ] || fail "a mixture after a death at operation $operation"
  fi
done
expect 0 'written: Modell' export "$run" --to Modell --force
[ "$(cat Modell/* | sha256sum)" = "$after" ] || fail 'another model after deaths'
[ -z "$(find . -name '*.tmp-*' -not -path './Läufe/*')" ] || fail "left aside: $(find . -name '*.tmp-*')"
finish
