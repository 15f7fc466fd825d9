# The examples that help shows, run as they stand, but for their size; those of inspect, export, data and completion
# have tests of their own.
. "$(dirname "$0")/lib.bash"
mkdir my_texts
yes 'the quick brown fox' | head -c 40000 > my_texts/a.txt

"$etude" --help > .out
[ "$(wc -l < .out)" -le 40 ] || fail "top-level help has more than 40 lines"
longest=$(awk 'length($0) > n { n = length($0) } END { print n }' .out)
[ "$longest" -le 120 ] || fail "a line of $longest columns in the top-level help"

# The example in the size that a test can afford.
small() {
  local line=$1
  case $line in
    *--plan* | *'etude eject'* | *'etude list'* | *'etude show'* | *'etude doctor'* | *'etude version'* | *'list '*) ;;
    *'etude run'* | *'etude check'*' noloco'* | *'etude compare'* | *'etude report noloco'*)
      line=${line//--profile full/}
      line=${line//--profile paper/}
      line=${line//--profile smoke/}
      line="${line//stop=\"1M tokens\"/} --profile smoke"
      ;;
    *'etude train'*) line="${line//stop=\"100 steps\"/} 'stop=2 steps'" ;;
  esac
  case $line in *--arms*) ;; *'compare noloco '*) line="$line --arms noloco,none --seeds 2" ;; esac
  line=${line//HASH-s0/$hash-s0}
  line=${line//RUN/runs/noloco-noloco/$hash-s0}
  printf '%s\n' "$line"
}
etude() { "$etude" "$@"; }

tried=0
for command in list show doctor version eject check run train generate compare report; do
  # Comparisons and their reports among themselves: other runs of the same arms would be in their way.
  if [ "$command" = compare ]; then
    mkdir compared && cp -r my_texts compared && cd compared || exit 1
  elif [ "$command" = report ]; then
    cp -r runs elsewhere
  fi
  "$etude" "$command" --help | sed -n '/^examples:/,$p' | grep '^  etude ' > examples
  [ "$(wc -l < examples)" -ge 2 ] || fail "etude $command --help has fewer than two examples"
  while IFS= read -r line <&3; do
    hash=$(basename "$(dirname runs/noloco-noloco/*/model.safetensors 2> /dev/null | head -n 1)" | sed 's/-s0$//')
    line=$(small "$line")
    case $line in *'etude eject'*) rm -f my.toml ;; esac
    tried=$((tried + 1))
    eval "$line" > .out 2> .err < /dev/null || fail "$line: $(cat .err)"
  done 3< examples
done
[ "$tried" -ge 22 ] || fail "only $tried examples"
finish
