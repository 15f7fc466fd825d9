# What users get wrong, one line each: exit code, the value that is wrong, its place, what to do, the command line.
# A refused command leaves nothing behind, waits for nobody, and prints no control characters.
. "$(dirname "$0")/lib.bash"

# row CODE VALUE PLACE HINT ARGUMENTS...: VALUE, PLACE and HINT are patterns (case) within the parts of the message.
rows=0
row() {
  local code=$1 value=$2 place=$3 hint=$4
  shift 4
  rows=$((rows + 1))
  timeout 20 "$etude" --quiet "$@" > .out 2> .err < /dev/null
  status=$?
  err=$(cat .err)
  local words="$*"
  local said="row $rows, etude ${words:0:200}: [$status] ${err:0:600}"
  [ "$status" = "$code" ] || fail "exit code $code wanted: $said"
  case $err in
    *$value*\(*$place*\)*$'\n'hint:*$hint*) ;;
    *) fail "wanted: $value ($place) hint: $hint -- $said" ;;
  esac
  ! grep -q '[[:cntrl:]]' .err || fail "control characters: $said"
  [ ! -e runs ] || { fail "something was left behind: $(find runs) by $said" && rm -rf runs; }
}
smoke=(run noloco --profile smoke)
long=$(printf 'a%.0s' $(seq 300))

# Names that are nearly right.
row 2 "command 'compar'" 'command line' "'compare'" compar noloco
row 2 "command 'helpp'" 'command line' 'etude --help' helpp --help
row 2 "option '--jsn'" 'etude list' "'--json'" --jsn list
row 2 "option '--profil'" 'etude run' "'--profile'" run noloco --profil small
row 2 "'-z'" 'etude run' '--help' run noloco -z
row 2 "method 'nolocco'" 'command line' "'noloco'" run nolocco
row 2 "'medical-ssl'" 'command line' 'list built' run medical-ssl
row 2 "method 'nolo?" 'command line' 'list' show $'nolo\e[31mco'
row 2 "arm 'dilocco'" 'command line' "'diloco'" run noloco/dilocco
row 2 "arm '../x'" 'command line' 'etude show' run noloco/../x
row 2 "arm 'dilocco'" 'command line' "'diloco'" show noloco/dilocco
row 2 "arm 'non'" 'command line' "'none'" compare noloco --arms noloco,non
row 2 "arm 'none' is named twice" '--arms' 'once' compare noloco --arms none,none
row 2 "profile 'smal'" 'noloco.toml' "'small'" run noloco --profile smal
row 2 "technique 'nolocco'" '--with' "'noloco'" "${smoke[@]}" --with nolocco
row 3 "key 'replica'" 'command line' "'replicas'" "${smoke[@]}" replica=2
row 3 "key 'dimm'" 'command line' "'dim'" "${smoke[@]}" net.model.dimm=8
row 3 "key 'evry'" 'command line' "'every'" "${smoke[@]}" with.0.evry=2
row 3 "net 'decodr'" 'command line' "'decoder'" "${smoke[@]}" net.model.kind=decodr
row 3 "optimizer 'adm'" 'command line' "'adam'" "${smoke[@]}" learner.0.optimizer.kind=adm
row 3 "net 'modl'" 'learner model' "'model'" "${smoke[@]}" 'learner.0.params=["modl"]'
row 3 "'5 stepss'" 'command line' "'steps'" "${smoke[@]}" 'stop=5 stepss'
row 4 "built-in text 'wbe'" 'data.path' "'web'" "${smoke[@]}" --data builtin:wbe

# Arguments that are missing, doubled or of another kind.
row 2 'no command' 'command line' 'etude --help'
row 2 "argument 'method'" 'etude run' '--help' run
row 2 '--with needs a value' 'etude run' '--help' run noloco --with
row 2 "'threads'" 'command line' 'key=value' "${smoke[@]}" threads
row 2 "'=3'" 'command line' 'key=value' "${smoke[@]}" =3
row 2 "'a..b'" 'command line' 'dots' "${smoke[@]}" a..b=3
row 2 "'5' is no place" 'command line' 'free one is 1' "${smoke[@]}" with.5.every=3
row 2 "'my.toml'" 'command line' 'etude train' run my.toml
row 2 "'noloco'" 'command line' 'etude run' train noloco
row 2 '--out: it is empty' 'etude run' '--help' "${smoke[@]}" --out ''
row 2 '--data: it is empty' 'etude run' '--help' "${smoke[@]}" --data ''
row 2 "'nowhere'" 'nowhere/recipe.toml' 'etude run' generate nowhere
row 2 'no finished runs' 'noloco' 'etude compare' report noloco

# Wrong types, ranges, and numbers that are none.
row 3 '"many" (string)' 'command line' 'threads' "${smoke[@]}" threads=many
row 3 'is 5000' 'command line' 'threads' "${smoke[@]}" threads=5000
row 3 'is 0, but must be >= 1' 'command line' 'source.batch' "${smoke[@]}" source.batch=0
row 3 'is -1' 'command line' 'seed' "${smoke[@]}" seed=-1
row 3 '1.5' 'command line' 'seed' "${smoke[@]}" seed=1.5
row 3 '1e400' 'command line' '1.8e308' "${smoke[@]}" seed=1e400
row 3 '99999999999999999999' 'command line' '9223372036854775807' "${smoke[@]}" seed=99999999999999999999
row 3 'nan' 'command line' 'clip' "${smoke[@]}" learner.0.clip=nan
row 3 'inf' 'command line' 'clip' "${smoke[@]}" learner.0.clip=inf
row 3 '1e400' 'command line' 'number' "${smoke[@]}" learner.0.clip=1e400
row 3 '1e400 steps' 'command line' 'steps' "${smoke[@]}" 'stop=1e400 steps'
row 3 'must be > 0' 'command line' 'stop' "${smoke[@]}" 'stop=0 steps'
row 3 "'->' expected" 'command line' 'cosine' "${smoke[@]}" 'learner.0.optimizer.lr="cosine(1 > 0)"'
row 3 'heads = 3' 'command line' 'divisor' "${smoke[@]}" net.model.heads=3
row 3 'replicas = 3' 'recipe' 'shards = 3' "${smoke[@]}" replicas=3
row 2 "'0' is no whole number" 'etude compare' '--help' compare noloco --seeds 0
row 2 "'99999999999999999999'" 'etude compare' '--help' compare noloco --seeds 99999999999999999999
row 2 "'nan' is no number" 'etude generate' '--help' generate nowhere --temperature nan
row 2 "'1e400' is no number" 'etude generate' '--help' generate nowhere --temperature 1e400
row 2 "'-1' is no whole number" 'etude generate' '--help' generate nowhere --seed -1
row 2 "'0' is no number of an operation" '--inject' 'from 1' --inject io:0:enospc version
row 2 "'99999999999999999999'" '--inject' 'from 1' --inject io:99999999999999999999:eio version
row 2 "'enospcc'" '--inject' "'enospc'" --inject io:1:enospcc version
row 2 "'oi:1:eio' rehearses no fault" '--inject' 'io:N:eio' --inject oi:1:eio version
row 2 "fault 'kil'" '--inject' "'kill'" --inject rank:0:kil@0/save version
row 2 "phase 'exchnge'" '--inject' "'exchange'" --inject net:latency=5,rank:0:kill@0/exchnge version
row 2 "'x' is no step" '--inject' 'from 0' --inject rank:0:drop@x/bucket version
row 2 'stop needs seconds' '--inject' 'stop=5' --inject rank:0:stop@0/save version
row 2 "'0.5' is no factor" '--inject' '1 to 1000' --inject rank:0:slow=0.5 version
row 2 'no rank 1' '--inject' '--nproc' --inject rank:1:kill@0/save "${smoke[@]}"

# Texts.
mkdir empty no_txt with_pipe circle with_bad
: > empty.txt
printf short > short.txt
printf '\177ELF\2\1\1\200\201\202' > binary.txt
printf 'a\0b\n' > zero.txt
yes 'the quick brown fox' | head -c 20000 > good.txt
cp good.txt cut.txt && printf '\303' >> cut.txt
cp good.txt with_bad/a.txt && printf 'caf\351\n' > with_bad/b.txt
mkfifo pipe.txt with_pipe/a.txt
ln -s loop_b.txt loop_a.txt && ln -s loop_a.txt loop_b.txt
ln -s . circle/self && cp good.txt circle/a.txt
: > no_txt/notes.md
row 4 "'nowhere'" 'data.path' 'builtin:web' "${smoke[@]}" --data nowhere
row 4 'empty' 'empty.txt' 'put text' "${smoke[@]}" --data empty.txt
row 4 '6 tokens' 'short.txt' 'more text' "${smoke[@]}" --data short.txt
row 4 'not UTF-8: byte 0x80 at offset 7' 'binary.txt:1' 'iconv' "${smoke[@]}" --data binary.txt
row 4 'NUL byte at offset 1' 'zero.txt:1' 'plain text' "${smoke[@]}" --data zero.txt
row 4 'byte 0xe9' 'with_bad/b.txt:1' 'iconv' "${smoke[@]}" --data with_bad
row 4 'offset 20000' 'cut.txt:1001' 'truncated' "${smoke[@]}" --data cut.txt
row 4 'FIFO' 'pipe.txt' '.txt file' "${smoke[@]}" --data pipe.txt
row 4 'FIFO' 'with_pipe/a.txt' '.txt file' "${smoke[@]}" --data with_pipe
row 4 'circle' 'loop_a.txt' 'remove the link' "${smoke[@]}" --data loop_a.txt
row 4 'circle' 'circle/self' 'remove the link' "${smoke[@]}" --data circle
row 4 'empty' 'empty' '.txt' "${smoke[@]}" --data empty
row 4 'no .txt file' 'no_txt' '.txt' "${smoke[@]}" --data no_txt
row 4 'device' '/dev/zero' '.txt file' "${smoke[@]}" --data /dev/zero

# Recipes.
mkdir folder.toml
mkfifo pipe.toml
head -c 3000 /dev/zero | tr '\0' '\377' > binary.toml
: > empty.toml
head -c 20000000 /dev/zero | tr '\0' '#' > big.toml
printf 'seed = 0\nreplica = 2\n' > key.toml
printf 'seed = = 0\n' > syntax.toml
printf 'seed = 1\nseed = 2\n' > twice.toml
printf 'seed = 1e400\n' > overflow.toml
printf 'seed = 99999999999999999999\n' > large.toml
printf 'extends = "self"\n' > self.toml
printf 'extends = "nowhere"\n' > orphan.toml
"$etude" eject noloco whole.toml --profile smoke 2> /dev/null
sed 's/^validation = .*/validation = nan/' whole.toml > nan.toml
sed 's/^batch = 1$/batch = -1/' whole.toml > range.toml
head -c 300 whole.toml > torn.toml
row 2 "'missing.toml'" 'missing.toml' 'etude eject' train missing.toml
row 9 'directory' 'folder.toml' 'directory' train folder.toml
row 9 'no regular file' 'pipe.toml' 'regular file' train pipe.toml
row 3 'utf-8' 'binary.toml:1' 'UTF-8' train binary.toml
row 3 'pass' 'empty.toml' 'objective' train empty.toml
row 3 '20000000 bytes' 'big.toml' '16 MiB' check big.toml
row 3 "key 'replica'" 'key.toml:2:1' "'replicas'" check key.toml
row 3 'not TOML' 'syntax.toml:1:' 'seed = = 0' check syntax.toml
row 3 "'seed'" 'twice.toml:2:' 'seed = 2' check twice.toml
row 3 'not TOML' 'large.toml:1:' '99999999999999999999' check large.toml
row 3 "'1e400'" 'overflow.toml:1:' 'seed = 1e400' check overflow.toml
row 3 'nan, but must be' 'nan.toml:' 'validation' check nan.toml
row 3 'circle' 'self.toml:1:1' 'extends' check self.toml
row 2 "'nowhere.toml'" 'nowhere.toml' 'eject' check orphan.toml
row 3 'is -1' 'range.toml:' 'source.batch' check range.toml
row 3 '' 'torn.toml' '' train torn.toml
row 2 "'whole.toml' is there already" 'whole.toml' 'another name' eject noloco whole.toml
row 2 "'whole.txt'" 'command line' '.toml' eject noloco whole.txt
row 9 'too long' "$long" '255 bytes' train "$long.toml"

# Places that can't be written.
: > file
row 9 "'file'" 'file' 'not a directory' "${smoke[@]}" --out file
row 9 'too long' "$long" '255 bytes' "${smoke[@]}" --out "$long"
[ "$(id -u)" != 0 ] && mkdir shut && chmod a-w shut && row 9 'ermission' 'shut' '' "${smoke[@]}" --out shut/runs
[ "$(id -u)" = 0 ] && row 9 '/proc' '/proc' '' "${smoke[@]}" --out /proc/runs

[ "$rows" -ge 60 ] || fail "only $rows rows"
finish
