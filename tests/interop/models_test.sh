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

# recipe FILE DATA NET STEPS LR
recipe() {
  cat > "$1" << TOML
stop = "$4 steps"
data = { kind = "text", path = "$2", length = 32 }
net.model = $3
source = { batch = 8 }
evaluate = { batches = 1, batch = 4 }
[[learner]]
optimizer = { kind = "adam", lr = $5 }
[[pass]]
objective = { kind = "next_token" }
TOML
}
# train FILE: leaves `run`, the directory of the run.
train() {
  local out=runs-${1%.toml}
  "$ETUDE_BIN" -q train "$1" --out "$out" > /dev/null
  run=$(dirname "$out"/*/*/result.json)
}

"$python" -c 'import numpy; numpy.save("ids.npy", numpy.arange(3000, dtype=numpy.uint16) * 7 % 80)'
for model in llama llama_tied qwen2 mistral gpt2; do
  source=$here/fixtures/models/$model
  net="{ kind = \"hugging_face\", path = \"$source\" }"
  recipe "still-$model.toml" ids.npy "$net" 2 0.0
  train "still-$model.toml"
  "$ETUDE_BIN" -q export "$run" --to "out/$model"
  check same "out/$model" "$source"
  check loads "out/$model"
  recipe "moved-$model.toml" ids.npy "$net" 2 0.01
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
echo ok
