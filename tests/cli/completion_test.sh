# Completion, asked as bash asks for it: the function of the script, called with the variables that bash sets.
. "$(dirname "$0")/lib.bash"
PATH=$(dirname "$etude"):$PATH
[ "$(command -v etude)" = "$etude" ] || ln -s "$etude" etude

expect 0 'complete -F _etude etude' completion bash
expect 0 '#compdef etude' completion zsh
expect 0 'complete -c etude' completion fish
expect 2 "did you mean 'bash'" completion bsh
"$etude" completion bash > bash.sh
. ./bash.sh
complete -p etude | grep -q -- '-F _etude' || fail "the script declares nothing for etude"
for shell in zsh fish; do
  "$etude" completion "$shell" > script
  if command -v "$shell" > /dev/null; then
    "$shell" -n script || fail "the script for $shell has a mistake"
  else
    echo "skipped: the script for $shell is not checked, as $shell is not installed"
  fi
done

# tab LINE: leaves reply, what bash would show when TAB is pressed behind this line. Words are cut as bash does it, at
# blanks and at = and :.
tab() {
  COMP_LINE=$1 COMP_POINT=${#1} COMP_WORDS=() COMPREPLY=()
  local rest=$1 part
  while [ -n "$rest" ]; do
    part=${rest%%[![:space:]]*}
    rest=${rest#"$part"}
    if [[ $rest == [=:]* ]]; then
      part=${rest%%[!=:]*}
    else
      part=${rest%%[[:space:]=:]*}
    fi
    rest=${rest#"$part"}
    [ -z "$part" ] || COMP_WORDS+=("$part")
  done
  [[ $1 != *[[:space:]] ]] || COMP_WORDS+=("")
  COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
  _etude "$etude"
  reply=" ${COMPREPLY[*]} "
}
# shows LINE WORD...: among what is offered.
shows() {
  tab "$1"
  local line=$1 word
  shift
  for word in "$@"; do
    [[ $reply == *" $word "* ]] || fail "TAB behind '$line' does not offer '$word':$reply"
  done
}
# only LINE WORDS: exactly what is offered.
only() {
  tab "$1"
  [ "$reply" = " $2 " ] || fail "TAB behind '$1' offers '$reply' instead of '$2'"
}

shows 'etude ' run compare train eject generate completion
only 'etude comple' completion
only 'etude --js' --json
only 'etude show nolo' 'noloco noloco/diloco noloco/diloco-nesterov noloco/epidemic noloco/fsdp noloco/noloco '\
'noloco/noloco-gamma0 noloco/noloco-routed noloco/noloco-straight noloco/none noloco/pairavg'
only 'etude run noloco/dil' 'noloco/diloco noloco/diloco-nesterov'
only 'etude compare nol' noloco
only 'etude completion ' 'bash zsh fish'
shows 'etude run noloco --' --profile --data --with --out --fresh --nproc --json
only 'etude run noloco --prof' --profile
only 'etude --json run noloco --profile s' 'smoke small'
only 'etude run noloco --profile=sm' 'smoke small'
only 'etude run noloco --with em' ema
shows 'etude run noloco --with ' data_parallel noloco pipeline
only 'etude run noloco --data buil' builtin:web
only 'etude run noloco --data builtin:w' web  # bash keeps what stands before the colon
shows 'etude run noloco --data set:' kjv
only 'etude compare noloco --arms none,pair' none,pairavg
shows 'etude data ' list show get
shows 'etude data get kj' kjv

# Keys of the resolved recipe, up to the next dot; values where there are few.
only 'etude run noloco net.model.di' net.model.dim=
shows 'etude run noloco ' net. with. seed= stop= evaluate.
shows 'etude run noloco with.0.' with.0.every= with.0.beta= with.0.gamma=
only 'etude run noloco learner.0.on_nonfinite=s' 'stop skip_step'
only 'etude run noloco source.shuffle=' 'true false'
shows 'etude run noloco learner.0.optimizer.kind=' adam sgd
only 'etude run noloco data.path=builtin:' web
only 'etude run noloco with.1.kind=da' ''
shows 'etude run noloco --with ema with.1.' with.1.decay= with.1.warmup=
shows 'etude run noloco stop=40 net.model.ro' net.model.role=

# Files and folders.
mkdir -p 'runs/noloco-noloco/abc-s0' 'my texts' recipes
touch my.toml other.txt runs/noloco-noloco/abc-s0/recipe.toml recipes/deep.toml .hidden.toml
only 'etude train m' "my texts/ my.toml"
only 'etude train recipes/' recipes/deep.toml
only 'etude train o' ''
only 'etude generate runs/nol' runs/noloco-noloco/
only 'etude generate runs/noloco-noloco/' runs/noloco-noloco/abc-s0
only 'etude run noloco --data o' other.txt

# Nothing is said, and nothing breaks, where nothing is known.
only 'etude rnu nol' ''
only 'etude run nothing net.' ''
only 'etude train missing.toml net.' ''
expect 0 compare complete
"$etude" --help | grep -q ' complete ' && fail "the hidden command is in the help"
finish
