#!/usr/bin/env bash
# Ten thousand strings in 26 languages: ids, offsets and decoded text of Etude's tokenizers are those of the reference
# libraries.
source "$(dirname "$0")/lib.bash"
need_python tokenizers sentencepiece
"$python" -B "$here/tokenizers_check.py" "$ETUDE_BIN_DIR/tokenize" "$here/fixtures/tokenizers"
