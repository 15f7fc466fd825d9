# Somebody's own texts, from a folder to a model that other programs load: compare, generate, export.
# For scripts that have sourced tests/cli/lib.bash.

# own_texts FOLDER: texts of four kinds of files, with umlauts in their paths.
own_texts() {
  mkdir -p "$1/Märchen und Übriges"
  (
    cd "$1/Märchen und Übriges" || exit 1
    head -c 60000 "${ETUDE_SOURCE:?}/data/web.txt" > Anfänge.txt
    for i in 1 2 3 4 5 6 7 8; do
      printf '{"id": %s, "text": "Die Königin trägt süße Äpfel über die Brücke, %s mal. Große Grüße! 🍎"}\n' "$i" "$i"
    done > Stücke.jsonl
    gzip -c Stücke.jsonl > 'Stücke, noch einmal.jsonl.gz'
    printf 'text,jahr\r\n"Ein Satz, mit Komma und ""Anführung"".",1812\r\nNoch einer: à la carte,1815\r\n' > Tabelle.csv
  )
}

# story TEXTS OUT MODEL OPTIONS...: compares, generates and exports. Leaves `trained`, the folder of noloco's run.
story() {
  local texts=$1 place=$2 model=$3 said
  shift 3
  expect 0 'better-than-none' compare noloco --profile smoke --arms noloco,none --seeds 1 --out "$place" \
    --data "$texts" "$@"
  trained=$(dirname "$place"/noloco-noloco/*/result.json)
  expect 0 'Königin' generate "$trained" --prompt 'Die Königin' --tokens 12
  expect 0 'written' export "$trained" --to "$model"
  run generate "$trained" --prompt 'Die Königin trägt' --tokens 24 --temperature 0 --json
  said=$out
  run generate "$model" --prompt 'Die Königin trägt' --tokens 24 --temperature 0 --json
  [ "$status" = 0 ] && [ "$said" = "$out" ] || fail "the exported model goes on otherwise than the run: $said / $out $err"
}
