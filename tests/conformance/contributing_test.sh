# "Add a method in one folder": the files of CONTRIBUTING.md, put into a copy of the tree as they stand, are a method
# that the build finds, whose sources compile, with no other file changed. tests/slow builds and runs it.
. "$(dirname "$0")/contributing.bash"

copy_tree
extract_example "$copy"
if [ -e "$copy/.git" ] && command -v git > /dev/null; then
  changed=$(git -C "$copy" status --porcelain --untracked-files=all)
  [ "$(printf '%s\n' "$changed" | sed 's/^...//' | cut -d/ -f1,2 | sort -u)" = methods/lookahead ] ||
    fail "more than methods/lookahead has changed: $changed"
fi

configure
grep -q '"lookahead", register_lookahead' "$work/build/gen/registry.gen.cpp" || fail "the registry lacks the method"
for asset in arms/sgd.toml arms/lookahead.toml arms/_base.toml claims.toml README.md; do
  grep -q "^methods/lookahead/$asset" "$work/build/gen/assets.list" || fail "$asset is not embedded"
done
grep -rq 'methods/lookahead/lookahead_test.cpp' "$work/build/CMakeFiles/test_methods.dir" "$work/build/build.ninja" ||
  fail "test_methods lacks the method's tests"
for source in lookahead.cpp lookahead_test.cpp; do
  compiles "$copy/methods/lookahead/$source" || fail "methods/lookahead/$source does not compile"
done

# A second folder whose name differs in '-' and '_' only.
mkdir "$copy/methods/look-ahead" "$copy/methods/look_ahead"
touch "$copy/methods/look-ahead/look_ahead.cpp" "$copy/methods/look_ahead/look_ahead.cpp"
configure 2> /dev/null && fail "two equal slugs are configured"
grep -q 'methods/look-ahead and methods/look_ahead' "$work/configure.txt" ||
  fail "two equal slugs: $(cat "$work/configure.txt")"
finish
