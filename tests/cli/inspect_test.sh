# etude inspect: says what is in every kind of file, names damage, and ends with its exit code.
. "$(dirname "$0")/lib.bash"
fixtures=$ETUDE_SOURCE/tests/interop/fixtures/safetensors

expect 0 'tensors       22 (' inspect "$fixtures/types.safetensors"
printf '%s' "$out" | grep -q 'not verified  header, sizes and places fit' || fail "no 'not verified': $out"
printf '%s' "$out" | grep -q 'metadata      format = pt' || fail "no metadata: $out"
expect 0 '1 F8_E5M2FNUZ' inspect "$fixtures/types.safetensors"
expect 0 'model.layers.\*.self_attn.q_proj.weight .* 2 x \[16, 16\]  *BF16' inspect "$fixtures/sharded/model.safetensors.index.json"
expect 0 'architecture  LlamaForCausalLM' inspect "$fixtures/sharded"
expect 0 '"tensors":21,' --json inspect "$fixtures/sharded/model.safetensors.index.json"

# Damage is named with its place; the others are told nevertheless.
cp -r "$fixtures/sharded" 'ein Modell'
truncate -s -1 'ein Modell/model-00002-of-00004.safetensors'
expect 5 'problem       the data ends at byte' inspect 'ein Modell' "$fixtures/types.safetensors"
printf '%s' "$out" | grep -q 'tensors       22' || fail "the second file is not told: $out"
rm 'ein Modell/model-00003-of-00004.safetensors' 'ein Modell/model-00002-of-00004.safetensors'
expect 5 'model-00002-of-00004.safetensors, which is not there' inspect 'ein Modell'
expect 5 '"what":"the index names model-00002' --json inspect 'ein Modell/model.safetensors.index.json'

# A run, its checkpoints, an artifact's kind of manifest.
expect 0 'run:' run noloco --profile smoke
run_folder=$(printf '%s\n' "$out" | sed -n 's/^run: //p')
expect 0 'finished      true' inspect "$run_folder"
checkpoint=$(find "$run_folder/checkpoints" -name 'step-*' | sort | tail -n 1)
expect 0 'verified      every file has the size and SHA-256 of manifest.json' inspect "$checkpoint"
expect 0 '"verified":true' --json inspect "$checkpoint/"
printf '\001' | dd of="$checkpoint/state.safetensors" bs=1 seek=100000 conv=notrunc status=none
expect 5 'problem       the content of state.safetensors does not have its hash' inspect "$checkpoint"
expect 5 '"verified":false' --json inspect "$checkpoint"
expect 5 'does not have its hash' inspect "$run_folder"
rm "$checkpoint/manifest.json"
expect 5 'manifest.json is missing' inspect "$checkpoint"

# Token ids, configs, and what is none of these.
printf '\1\0\2\0\3\0' > ids.bin
expect 0 'tokens        3' inspect ids.bin
printf '\1\0\2' > ids.bin
expect 4 'problem' inspect ids.bin
printf 'etudetok' > cut.tokens
expect 4 'problem' inspect cut.tokens
mkdir config
printf '{"model_type": "llama", "architectures": ["Unheard"]}' > config/config.json
expect 5 'problem' inspect config/config.json
: > empty.safetensors
expect 5 'the file has 0 bytes' inspect empty.safetensors
printf 'hello' > letter.txt
expect 4 "'letter.txt' is none of the kinds" inspect letter.txt
expect 9 'there is no file or folder' inspect nowhere.safetensors
expect 2 'files' inspect
finish
