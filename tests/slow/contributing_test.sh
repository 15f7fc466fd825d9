# The method of CONTRIBUTING.md, built and run: its test, a run, its conformance; then with a counter that no
# checkpoint holds, which conformance must find.
. "$(dirname "$0")/../conformance/contributing.bash"

build() { ninja -C "$work/build" ${JOBS:+-j "$JOBS"} "$@" > "$work/build.txt" 2>&1 || { tail -n 40 "$work/build.txt" >&2 && fail "ninja $*"; }; }

copy_tree
extract_example "$copy"
configure || exit 1
export OMP_WAIT_POLICY=passive ETUDE_BIN=$work/build/etude ETUDE_BIN_DIR=$work/build ETUDE_SOURCE=$copy
build etude test_methods test_conformance
"$work/build/test_methods" --gtest_filter='Lookahead.*' | grep -q 'PASSED.* 1 test' || fail "the method's test does not pass"
(cd "$work" && "$ETUDE_BIN" run lookahead --profile smoke) || fail "it does not run"
(cd "$work" && "$ETUDE_BIN" compare lookahead --profile smoke --seeds 2) || fail "it is not compared"
"$ETUDE_BIN" list lookahead | grep -q 'Lookahead: k steps forward' || fail "it is not listed"
"$work/build/test_conformance" --gtest_filter='*lookahead*' > "$work/conformance.txt" || fail "$(cat "$work/conformance.txt")"
grep -q 'Method.Conforms/lookahead' "$work/conformance.txt" || fail "conformance did not find the method"

sed -i 's/  Options options_;/&\n  int64_t calls_ = 0;/' "$copy/methods/lookahead/lookahead.h"
sed -i 's/(step.number() + 1) % options_.every/event == Event::follow \&\& ++calls_ % options_.every/' \
  "$copy/methods/lookahead/lookahead.cpp"
grep -q 'calls_' "$copy/methods/lookahead/lookahead.cpp" || fail "the counter was not put in"
build test_conformance
"$work/build/test_conformance" --gtest_filter='*lookahead*' > "$work/conformance.txt" &&
  fail "conformance does not notice a counter outside of the run state"
grep -q 'lookahead/lookahead, resume: stopped after step' "$work/conformance.txt" || fail "$(cat "$work/conformance.txt")"
finish
