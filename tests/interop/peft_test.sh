# An adapter that is trained here, on models of Hugging Face's, is one that PEFT loads: the same greedy continuations
# with the same log-probabilities, from the adapter beside its base and from the weights with the adapter merged.
source "$(dirname "$0")/lib.bash"
need_python torch transformers peft numpy
cd "$work"
etude=${ETUDE_BIN:?}
check=$here/peft_check.py
"$python" "$check" data

# train MODEL ADAPTER: leaves $run.
train() {
  cat > "$1.toml" << TOML
seed = 1
stop = "20 steps"
[data]
kind = "text"
path = "ids.npy"
length = 32
[net.model]
kind = "hugging_face"
path = "$here/fixtures/models/$1"
adapter = $2
[source]
batch = 4
[[learner]]
optimizer = {kind = "adam", lr = 0.02}
[[pass]]
objective = {kind = "next_token"}
[evaluate]
batches = 1
batch = 2
TOML
  run=$("$etude" -q train "$1.toml" | sed -n 's/^run: //p')
}

for model in llama gpt2; do
  case $model in
    llama) train llama '{rank = 4, alpha = 8}' ;;
    gpt2) train gpt2 '{rank = 3, alpha = 6, rslora = true, targets = ["all-linear"]}' ;;
  esac
  "$etude" -q export "$run" --to "$model-adapter" --format peft
  "$etude" -q export "$run" --to "$model-merged"
  "$etude" -q --json generate "$run" --prompts prompts.jsonl --temperature 0 --tokens 40 --log-probabilities > results
  "$python" "$check" check "$here/fixtures/models/$model" "$model-adapter" "$model-merged" results
done
