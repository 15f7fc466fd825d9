# Help, names that are nearly right, and values that are wrong: exit code, place and hint.
. "$(dirname "$0")/lib.bash"

for command in list show run compare train eject check generate report doctor version; do
  expect 0 examples "$command" --help
done
expect 0 'etude compare noloco' --help
expect 2 'etude list'

expect 2 "did you mean 'compare'" compar noloco
expect 2 "did you mean 'noloco'" run nolocco
expect 2 "did you mean 'diloco'" run noloco/dilocco
expect 2 "did you mean 'small'" run noloco --profile smal
expect 2 "did you mean '--profile'" run noloco --profil small
expect 2 "did you mean 'noloco'" run noloco --profile smoke --with nolocco
expect 2 'not built' run medical-ssl
expect 2 'etude train' run my.toml
expect 2 'no recipe' train missing.toml
expect 2 'no finished runs' report noloco
expect 2 'no run' generate nowhere
expect 3 "did you mean 'replicas'" run noloco --profile smoke replica=2
expect 3 'threads' run noloco --profile smoke threads=many
expect 3 '1024' run noloco --profile smoke threads=5000
expect 2 'key=value\|key' run noloco --profile smoke threads
expect 4 'missing' run noloco --profile smoke --data missing
[ ! -e runs/noloco-noloco ] || [ -z "$(find runs -name recipe.toml)" ] || fail "a refused run left a recipe"

printf 'seed = 0\nreplica = 2\n' > bad.toml
expect 3 'bad.toml:2:' check bad.toml
printf 'seed = = 0\n' > broken.toml
expect 3 'broken.toml:1:' check broken.toml

run list
[ "$(printf '%s\n' "$out" | grep -c '^[* ] [a-z]')" = 45 ] || fail "list does not show 45 papers"
expect 0 'noloco/diloco' show noloco
expect 0 'not built' show medical-ssl
expect 0 'LibTorch' doctor
expect 0 'LibTorch' version
for command in 'list' 'show noloco' 'version' 'doctor'; do
  # shellcheck disable=SC2086
  run --json $command
  printf '%s\n' "$out" | python3 -c 'import json, sys; [json.loads(line) for line in sys.stdin]' 2> /dev/null ||
    [ "$(command -v python3)" = "" ] || fail "etude --json $command is no JSON"
done

# Nobody listens.
"$etude" list | head -n 1 > /dev/null
"$etude" list >&- || fail "closed standard output: $?"
"$etude" list > /dev/null 2>&- || fail "closed standard error: $?"
finish
