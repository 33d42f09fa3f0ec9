#!/usr/bin/env bash
# Checks that every public header can be the first include of a file, and be included twice, without a warning.
# Usage: headers.sh COMPILER GENERATED_INCLUDE_DIR INCLUDE_DIR...
set -euo pipefail
compiler=$1
shift
options=(-std=c++20 -fsyntax-only -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror)
for folder in "$@"; do options+=("-I$folder"); done
shift

check() {
  printf '#include <troupe/%s>\n#include <troupe/%s>\n' "$1" "$1" | "${@:2}" -x c++ - ||
    { echo "troupe/$1 does not compile on its own"; return 1; }
}
export -f check

find "$@" -name '*.hpp' -path '*/troupe/*' -printf '%P\0' | sed -z 's|^troupe/||' | sort -z |
  xargs -0 -P 2 -I HEADER bash -c 'check "$@"' check HEADER "$compiler" "${options[@]}"
