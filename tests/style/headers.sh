#!/usr/bin/env bash
# Checks that every public header can be the first include of a file, and be included twice, without a warning.
# Usage: headers.sh INCLUDE_DIR... -- COMPILER OPTION...
set -euo pipefail
include_dirs=()
while [[ "$1" != -- ]]; do
  include_dirs+=("$1")
  shift
done
shift
compile=("$@" "${include_dirs[@]/#/-I}" -std=c++20 -fsyntax-only -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror)

check() {
  printf '#include <troupe/%s>\n#include <troupe/%s>\n' "$1" "$1" | "${@:2}" -x c++ - ||
    { echo "troupe/$1 does not compile on its own"; return 1; }
}
export -f check

find "${include_dirs[@]}" -name '*.hpp' -path '*/troupe/*' -printf '%P\0' | sed -z 's|^troupe/||' | sort -z |
  xargs -0 -P 2 -I HEADER bash -c 'check "$@"' check HEADER "${compile[@]}"
