# TensorBoard's own reader shows of each run what metrics.jsonl says: of a straight one, of one whose processes died
# within lines and undid steps, of one whose leading rank died.
source "$(dirname "$0")/lib.bash"
need_python tensorboard numpy
cd "$work"
etude=${ETUDE_BIN:?}
check=$ETUDE_SOURCE/tests/interop/tensorboard_check.py
arguments=(run noloco --profile smoke 'log=1 steps' 'checkpoint.every=4 steps' 'evaluate.every=3 steps')

"$etude" -q "${arguments[@]}" 'stop=12 steps' --with ema --out straight > /dev/null
"$python" "$check" straight/*/* 1

# A death at a write leaves half of it. Of these operations some are lines, some lie within a save.
deaths=0
for operation in 31 46 53 64 71; do
  "$etude" -q --inject "io:$operation:kill" "${arguments[@]}" 'stop=30 steps' --out died > /dev/null 2>&1 ||
    deaths=$((deaths + 1))
done
"$etude" -q "${arguments[@]}" 'stop=30 steps' --out died > /dev/null
[ "$deaths" -ge 4 ] || { echo "only $deaths deaths"; exit 1; }
"$python" "$check" died/*/* "$((deaths + 1))"

"$etude" -q --inject rank:0:kill@9/forward "${arguments[@]}" 'stop=20 steps' --nproc 2 --deadline 5 --out led > /dev/null
"$python" "$check" led/*/* 2
