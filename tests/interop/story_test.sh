#!/usr/bin/env bash
# Own texts -> compare -> generate -> export -> loaded by transformers, with its tokenizer, going on as here.
source "$(dirname "$0")/lib.bash"
need_python torch transformers tokenizers sentencepiece
. "$here/../cli/lib.bash"
trap 'rm -rf "$work" "$scratch"' EXIT
set +e
. "$here/../support/story.bash"
export ETUDE_CACHE=$scratch/Zwischenspeicher

own_texts Bücher
for tokenizer in bytes sentencepiece; do
  story Bücher "Läufe-$tokenizer" "Modell-$tokenizer" "data.tokenizer={kind = \"$tokenizer\"$(
    [ "$tokenizer" = bytes ] || echo ', vocab = 400')}"
  printf '%s\n' "$out" | "$python" "$here/story_check.py" "Modell-$tokenizer" || fail "$tokenizer: see above"
done
finish
