# The catalogue, cards and recipes as people and programs read them.
. "$(dirname "$0")/lib.bash"

expect 2 'etude list'
for command in list show run compare train eject check inspect generate export report data doctor completion version; do
  expect 0 "  $command " --help
done

run list
[ "$(printf '%s\n' "$out" | grep -c '^[* ] [a-z]')" = 45 ] || fail "list does not show 45 papers"
[ "$(printf '%s\n' "$out" | sed -n '/^  /,$p' | grep -c '^\*')" = 0 ] || fail "a built paper stands below one that is not"
for words in 'GENSYN' '2025-06 sync' '2506.10911' 'no-all-reduce'; do
  # shellcheck disable=SC2086
  expect 0 '^\* noloco' list $words
done
expect 0 'no paper' list no-such-words
expect 0 'https://arxiv.org/abs/2308.06534' show medical-ssl
expect 0 'not built' show medical-ssl

for part in 'one$' 'noloco/diloco ' 'default 0.5, in \[0, 1)' 'outer momentum' 'as-good-as-diloco'; do
  expect 0 "$part" show noloco
done
[ "$(printf '%s\n' "$out" | wc -L)" -le 80 ] || fail "show noloco is wider than 80 columns"
expect 0 'stop .*count, default' show noloco --keys
# Where a value comes from: the recipe, the profile in it, the command line, nowhere.
arm=(show noloco/diloco --profile smoke with.0.every=7)
expect 0 'replicas  *= 8  *# _base.toml:' "${arm[@]}"
expect 0 'with.0.alpha  *= 0.3  *# diloco.toml:' "${arm[@]}"
expect 0 'with.0.every  *= 7  *# command line' "${arm[@]}"
expect 0 'checkpoint.keep  *= 2  *# default' "${arm[@]}"

# check says all sizes and writes nothing; what is too large is not tried.
expect 0 'lm_head\|embed_tokens' check noloco --profile smoke
expect 0 'exchange (noloco)' check noloco --profile smoke --data builtin:web
expect 0 'warning: noloco: alpha = 0.9 with gamma = 3.9 .*= 0.38' check noloco --profile smoke with.0.alpha=0.9 with.0.gamma=3.9
expect 8 'bytes are wanted' check noloco --profile smoke net.model.dim=1000000
expect 0 'not measured' check noloco --profile paper
[ "$(find . -type f ! -name '.*')" = "" ] || fail "something was written: $(find . -type f)"

expect 0 'verified' doctor
expect 0 'LibTorch' version
for command in 'list' 'show noloco' 'show noloco/none' 'version' 'doctor' 'check noloco --profile smoke'; do
  # shellcheck disable=SC2086
  run --json $command
  printf '%s\n' "$out" | python3 -c 'import json, sys; [json.loads(line) for line in sys.stdin]' 2> /dev/null ||
    [ "$(command -v python3)" = "" ] || fail "etude --json $command is no JSON"
done
finish
