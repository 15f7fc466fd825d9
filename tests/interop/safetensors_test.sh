#!/usr/bin/env bash
# Checkpoints that safetensors and transformers wrote are read and written again here, and read there.
source "$(dirname "$0")/lib.bash"
need_python torch safetensors transformers numpy
"$python" "$here/safetensors_check.py" "$ETUDE_BIN_DIR/safetensors_rewrite" "$work"
"$ETUDE_BIN" inspect "$work/many" "$work/many-1000" "$work/types" > /dev/null
echo ok
