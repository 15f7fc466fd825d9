#!/usr/bin/env bash
# Models of transformers, trained here and exported: what was not trained comes back byte for byte, what was trained
# loads there and goes on there as here.
source "$(dirname "$0")/lib.bash"
need_python torch transformers safetensors numpy
export OMP_WAIT_POLICY=passive HF_HUB_OFFLINE=1
cd "$work"
check() {
  "$python" "$here/models_check.py" "$@" 2> python.log || {
    cat python.log
    exit 1
  }
}

# recipe FILE DATA NET STEPS LR [OBJECTIVE]
recipe() {
  cat > "$1" << TOML
stop = "$4 steps"
data = { kind = "text", path = "$2", length = $length }
net.model = $3
source = { batch = 8 }
evaluate = { batches = 1, batch = 4 }
[[learner]]
optimizer = { kind = "adam", lr = $5 }
[[pass]]
objective = { kind = "${6:-next_token}" }
TOML
}
# train FILE: leaves `run`, the directory of the run.
train() {
  local out=runs-${1%.toml}
  "$ETUDE_BIN" -q train "$1" --out "$out" > /dev/null
  run=$(dirname "$out"/*/*/result.json)
}

"$python" -c 'import numpy; numpy.save("ids.npy", numpy.arange(3000, dtype=numpy.uint16) * 7 % 80)
numpy.save("few_ids.npy", numpy.arange(3000, dtype=numpy.uint16) * 7 % 59)'
for model in llama llama_tied qwen2 mistral gpt2 bert; do
  objective=next_token ids=ids.npy length=32
  [ "$model" != bert ] || objective=masked_token ids=few_ids.npy length=16  # of its 20 positions
  source=$here/fixtures/models/$model
  net="{ kind = \"hugging_face\", path = \"$source\" }"
  recipe "still-$model.toml" "$ids" "$net" 2 0.0 "$objective"
  train "still-$model.toml"
  "$ETUDE_BIN" -q export "$run" --to "out/$model"
  check same "out/$model" "$source"
  check loads "out/$model"
  recipe "moved-$model.toml" "$ids" "$net" 2 0.01 "$objective"
  train "moved-$model.toml"
  "$ETUDE_BIN" -q export "$run" --to "out/$model-moved" --dtype bfloat16
  check loads "out/$model-moved"
  "$ETUDE_BIN" -q export "$run" --to "out/$model-trained"
  if "$python" "$here/models_check.py" same "out/$model-trained" "$source" 2> python.log ||
    ! grep -q 'has changed' python.log; then
    cat python.log
    echo "$model: training changed nothing"
    exit 1
  fi
done

length=32
seq -f 'line %g of a text that is easy to learn by heart' 400 > text.txt
declare -A own=(
  [decoder]='{ kind = "decoder", dim = 32, layers = 2, heads = 4, kv_heads = 2, length = 32 }'
  [stretched]='{ kind = "decoder", dim = 32, heads = 4, head_dim = 12, attention_bias = true, mlp_bias = true, tied = false, length = 32, rope_scaling = { kind = "llama3", original_length = 8 } }'
  [biased]='{ kind = "decoder", dim = 32, heads = 4, qkv_bias = true, length = 32, rope_scaling = { kind = "linear", factor = 2 } }'
  [gpt2]='{ kind = "gpt2", dim = 32, heads = 4, length = 32 }'
)
for name in "${!own[@]}"; do
  recipe "own-$name.toml" text.txt "${own[$name]}" 150 0.01
  train "own-$name.toml"
  "$ETUDE_BIN" -q export "$run" --to "out/own-$name"
  text=$("$ETUDE_BIN" generate "$run" --prompt 'line 7' --tokens 24 --temperature 0 --json |
    "$python" -c 'import json, sys; print(json.loads(sys.stdin.readline())["text"], end="|")')
  check greedy "out/own-$name" 'line 7' "${text%|}" 24
  check bytes "out/own-$name"
done
# An encoder of our own: what it has learned of lines of one letter each, transformers reads out of it.
for letter in c a e b d; do printf "%0100d\n" 0 | tr 0 "$letter"; done > letters-5.txt
for _ in 1 2 3 4 5 6 7 8 9 10; do cat letters-5.txt; done > letters.txt
recipe own-encoder.toml letters.txt \
  '{ kind = "encoder", dim = 32, layers = 1, heads = 4, length = 32, init_std = 0.1 }' 150 0.005 masked_token
train own-encoder.toml
"$ETUDE_BIN" -q export "$run" --to out/own-encoder
check fills out/own-encoder ddddddddddddddddd
check fills out/own-encoder aaaaaaaaaaaaaaaaa
echo ok
