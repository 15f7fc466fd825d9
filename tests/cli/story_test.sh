# Own texts in a folder with umlauts, as bytes and through a tokenizer that is trained on them; and after the texts and
# the place of the run have moved.
. "$(dirname "$0")/lib.bash"
. "${ETUDE_SOURCE:?}/tests/support/story.bash"
export ETUDE_CACHE=$scratch/Zwischenspeicher

own_texts Bücher
story Bücher Läufe Modell
story Bücher Läufe-zwei Modell-zwei 'data.tokenizer={kind = "sentencepiece", vocab = 400}'
[ -s "$trained/tokenizer/tokenizer.model" ] || fail "the run keeps no tokenizer: $(ls "$trained")"
expect 0 '\[400, 16\]' check noloco/noloco --profile smoke --data Bücher --tokenizer "$trained/tokenizer"

# Nothing but the run is needed to use it, and nothing but the exported folder to train on.
run generate "$trained" --prompt 'Große Grüße' --tokens 24 --temperature 0 --json
said=$out
mv Bücher 'Bücher (alt)' && mv Läufe-zwei Umgezogen && rm -rf "$ETUDE_CACHE"
run generate Umgezogen/noloco-noloco/*/ --prompt 'Große Grüße' --tokens 24 --temperature 0 --json
[ "$status" = 0 ] && [ "$said" = "$out" ] || fail "a run that was moved goes on otherwise: $said / $out $err"
expect 0 'valid/loss' run noloco --profile smoke --data 'Bücher (alt)' --tokenizer Modell-zwei \
  'net.model={kind = "hugging_face", path = "Modell-zwei"}' --out Weiter
finish
