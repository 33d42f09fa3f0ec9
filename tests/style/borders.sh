#!/usr/bin/env bash
# Checks the two borders of the project by searching the includes, and the rooms' direction:
#   CAF is included by src/ files only; Cap'n Proto by src/ files and by the public headers of the codec;
#   framework/ knows nothing of actors/, actors/ includes only public headers of framework/, samples only <troupe/...>.
# Usage: borders.sh SOURCE_DIR
set -euo pipefail
cd "$1"

# The public headers whose templates must see Cap'n Proto's builders and readers.
codec_headers='/(codec|callable|failure|fields|dynamic|launch|task|wire_message)[a-z_]*\.hpp:'
failed=0

# complain TEXT LINES: reports a broken rule with the lines that break it, if there are any.
complain() {
  if [[ -n "$2" ]]; then
    printf '%s\n%s\n\n' "$1" "$2" | sed '2,$ s/^./  &/'
    failed=1
  fi
}

# includes PATTERN PATH...: the include lines that match, as file:line:text.
includes() {
  local pattern=$1
  shift
  grep -rnE --include='*.hpp' --include='*.cpp' "^ *# *include *$pattern" "$@" || true
}

complain 'CAF is included outside of the src folders:' \
  "$(includes '[<"]caf/' framework actors samples bench tests | grep -vE '^(framework|actors)/src/' || true)"

complain "Cap'n Proto is included by public headers other than the codec's:" \
  "$(includes '[<"](capnp/|kj/|troupe/wire/)' framework/include actors/include | grep -vE "$codec_headers" || true)"

complain 'framework includes a header of actors:' \
  "$(for header in actors/include/troupe/*.hpp; do
       [[ -e "$header" ]] && includes "[<\"]troupe/$(basename "$header")[>\"]" framework
     done)"

complain 'actors include a private header of framework:' \
  "$(for header in framework/src/*.hpp; do
       name=$(basename "$header")
       [[ -e "actors/src/$name" ]] || includes "\"(.*/)?$name\"" actors
     done)"

complain 'a sample includes a private header:' "$(includes '"(.*/)(framework|actors|src)/' samples)"

complain 'a public header without #pragma once:' \
  "$(grep -LE '^#pragma once$' framework/include/troupe/*.hpp $(find actors/include -name '*.hpp') || true)"

complain 'a public header that its CMakeLists.txt does not list, so that it is not installed:' \
  "$(for header in {framework,actors}/include/troupe/*.hpp; do
       [[ ! -e "$header" ]] || grep -qF "${header#*/}" "${header%%/*}/CMakeLists.txt" || echo "$header"
     done)"

exit $failed
