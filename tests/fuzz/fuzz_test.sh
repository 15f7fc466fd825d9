#!/usr/bin/env bash
# Runs every fuzz target for FUZZ_SECONDS (60): first as it is, where nothing may be found, then with a bug planted in
# it (tests/fuzz/planted.h), which must be found. Both begin with the seeds of tests/fuzz/corpus/<target>.
#
#   FUZZ_SECONDS=600 make fuzz          longer
#   FUZZ_TARGETS="safetensors npy"      some targets alone
#   PLANTED=1 or PLANTED=0              only with the planted bug, or only without
#
# Targets run side by side, as many as there are cores (FUZZ_JOBS). What was found lies in build/fuzz/found.
set -uo pipefail
cd "${ETUDE_SOURCE:-$(dirname "$0")/../..}" || exit
build=$PWD/build/fuzz
seconds=${FUZZ_SECONDS:-60}

command -v clang++ > /dev/null || { echo "skipped: no clang++; setup/install.sh fuzz installs it"; exit 77; }
echo 'extern "C" int LLVMFuzzerTestOneInput(const unsigned char*, unsigned long) { return 0; }' |
  clang++ -fsanitize=fuzzer,address -x c++ - -o /dev/null 2> /dev/null ||
  { echo "skipped: clang++ lacks libFuzzer; setup/install.sh fuzz installs it"; exit 77; }

if [ ! -f "$build/build.ninja" ]; then
  cmake --preset fuzz > "$build.log" 2>&1 || { cat "$build.log"; exit 1; }
fi
ninja -C "$build" -j "${JOBS:-$(nproc)}" > "$build/build.log" 2>&1 || { tail -n 40 "$build/build.log"; exit 1; }

# one KIND TARGET: a line that says what came of it. Status 0 when it is what must come.
one() {
  local kind=$1 target=$2 work=$build/work/$1_$2 log=$build/work/$1_$2.log status=0
  rm -rf "$work"
  mkdir -p "$work" "$build/found"
  local seeds=() dictionary=()
  [ ! -d "tests/fuzz/corpus/$target" ] || seeds=("tests/fuzz/corpus/$target")
  [ ! -f "tests/fuzz/corpus/$target.dict" ] || dictionary=("-dict=tests/fuzz/corpus/$target.dict")
  # One input may take 10 s and 1 GB, and no single piece of memory more than 256 MB.
  "$build/${kind}_$target" "$work" "${seeds[@]}" "${dictionary[@]}" -max_total_time="$seconds" -timeout=10 \
    -rss_limit_mb=1024 -malloc_limit_mb=256 -detect_leaks=0 -print_final_stats=1 \
    -artifact_prefix="$build/found/${kind}_$target-" > "$log" 2>&1 || status=$?
  local runs took
  runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  took=$(sed -n 's/^Done .* in \([0-9]*\) second.*/\1/p' "$log")
  if [ "$kind" = fuzz ] && [ $status -eq 0 ]; then
    printf '%-24s nothing found in %s runs, %s s\n' "$target" "$runs" "${took:-?}"
  elif [ "$kind" = fuzz ]; then
    printf '%-24s FOUND: %s\n' "$target" "$(grep -E -m 1 'ERROR|runtime error|SUMMARY' "$log")"
    printf '  again: build/fuzz/fuzz_%s %s\n' "$target" "$(sed -n 's/.*Test unit written to //p' "$log" | tail -n 1)"
    sed -n '/ERROR/,$p' "$log" | grep -E '^ *#[0-9]+ .*/(src|tests)/' | head -n 8
    return 1
  elif grep -q 'planted' <(grep -A 8 'deadly signal' "$log"); then
    printf '%-24s the planted bug was found in %s runs\n' "$target" "${runs:-?}"
  else
    printf '%-24s the planted bug was NOT found in %s runs, %s s\n' "$target" "$runs" "${took:-?}"
    return 1
  fi
}

targets=${FUZZ_TARGETS:-$(cd tests/fuzz && printf '%s\n' *.cpp | sed 's/\.cpp$//')}
kinds='fuzz planted'
[ "${PLANTED:-}" != 1 ] || kinds=planted
[ "${PLANTED:-}" != 0 ] || kinds=fuzz
failed=$build/failed
rm -f "$failed"
for kind in $kinds; do
  for target in $targets; do
    while [ "$(jobs -rp | wc -l)" -ge "${FUZZ_JOBS:-$(nproc)}" ]; do wait -n || true; done
    { one "$kind" "$target" || echo "$kind $target" >> "$failed"; } &
  done
  wait
done
[ ! -s "$failed" ]
