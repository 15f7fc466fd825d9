#!/usr/bin/env bash
# setup/lint.sh BUILD_DIR [files]: clang-tidy (.clang-tidy) over the given files, or over all of ours.
# A file that uses LibTorch takes half a minute: clang can't read g++'s precompiled header.
set -euo pipefail
build=$1
shift
command -v clang-tidy > /dev/null || { echo "clang-tidy is missing: apt-get install clang-tidy" >&2; exit 1; }
mkdir -p "$build/lint"
sed -E 's/-include [^ ]*cmake_pch\.hxx//; s/ -fpch-preprocess| -Winvalid-pch| -Werror//g; s/ -Wno-[a-z-]+//g' \
  "$build/compile_commands.json" > "$build/lint/compile_commands.json"
if [ $# -eq 0 ]; then
  mapfile -t files < <(git ls-files '*.cpp' | grep -E '^(src|methods|cli)/' | grep -v '_test\.cpp$')
  set -- "${files[@]}"
fi
printf '%s\0' "$@" | xargs -0 -n 1 -P "$(nproc)" clang-tidy --quiet -p "$build/lint"
