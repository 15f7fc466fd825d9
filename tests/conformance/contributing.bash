# For the scripts that follow CONTRIBUTING.md: a copy of the tree, the example's files in it, its configuration.
set -u
export LC_ALL=C
source=${ETUDE_SOURCE:?}
work=$(mktemp -d "${TMPDIR:-/tmp}/etude-contributing.XXXXXX")
trap 'rm -rf "$work"' EXIT
copy=$work/copy
failures=0

fail() {
  echo "FAILED: $*" >&2
  failures=$((failures + 1))
}

# The tree as a commit has it, with what is changed but not committed.
copy_tree() {
  mkdir "$copy"
  if [ -e "$source/.git" ] && command -v git > /dev/null; then
    git clone -q --shared "$source" "$copy"
    git -C "$source" ls-files -z --cached --others --exclude-standard |
      (cd "$source" && xargs -0 sh -c 'for f; do [ ! -e "$f" ] || printf "%s\0" "$f"; done' _) |
      tar -C "$source" --null -T - -cf - | tar -C "$copy" -xf -
    git -C "$copy" add -A
    git -C "$copy" -c user.name=test -c user.email=test@localhost commit -q --allow-empty -m "as it is"
  else
    tar -C "$source" --exclude=./build --exclude=./.deps --exclude=./runs -cf - . | tar -C "$copy" -xf -
  fi
  [ ! -d "$source/.deps" ] || ln -s "$source/.deps" "$copy/.deps"
}

# Writes each block of CONTRIBUTING.md that follows a line `methods/lookahead/FILE` into that file below $1.
extract_example() {
  awk -v root="$1/" '
    /^`methods\/lookahead\/[^`]*`/ { split($0, part, "`"); file = part[2]; next }
    /^```/ && open { close(root file); open = 0; file = ""; next }
    /^```/ && file != "" {
      folder = file; sub("/[^/]*$", "", folder); system("mkdir -p \"" root folder "\""); open = 1; next
    }
    open { print > (root file) }
  ' "$source/CONTRIBUTING.md"
  for file in README.md claims.toml lookahead.h lookahead.cpp lookahead_test.cpp arms/_base.toml arms/lookahead.toml; do
    [ -s "$1/methods/lookahead/$file" ] || fail "CONTRIBUTING.md has no methods/lookahead/$file"
  done
}

# Configures the copy as the build of the tests is configured; what is said goes to configure.txt.
configure() {
  local torch
  torch=$(sed -n 's/^ETUDE_TORCH:[A-Z]*=//p' "${ETUDE_BIN_DIR:?}/CMakeCache.txt")
  cmake -S "$copy" -B "$work/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DETUDE_BENCH=OFF ${torch:+-DETUDE_TORCH="$torch"} \
    > "$work/configure.txt" 2>&1 && return
  cat "$work/configure.txt" >&2
  return 1
}

# Compiles a source without writing an object, with the flags and the precompiled header of the build of the tests.
compiles() {
  local command
  command=$(sed -n 's/^ *"command": "\(.*\)",$/\1/p' "$ETUDE_BIN_DIR/compile_commands.json" |
    grep -m 1 ' -c [^ ]*/methods/[^ ]*\.cpp$' | sed 's/ -o .*//; s/\\"/"/g')
  [ -n "$command" ] || fail "compile_commands.json has no method"
  (cd "$ETUDE_BIN_DIR" && eval "$command -I'$copy' -fsyntax-only '$1'")
}

finish() {
  [ "$failures" = 0 ] || exit 1
  echo ok
}
