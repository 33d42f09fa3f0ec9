#!/usr/bin/env bash
# Checks that every field and enumerator of the schemas has a comment: at the end of its line, further in on the next
# one, at the brace of its group, or on a line above several that belong together. What a struct says of itself, below
# its brace, is none of its fields'.
# Usage: schemas.sh SOURCE_DIR
set -euo pipefail
cd "$1"

awk '
  function complain() {
    if (lacking) { print lacking; failed = 1 }
    lacking = ""
  }
  { match($0, /^ */); indent = RLENGTH }
  FNR == 1 { complain(); covered = below_brace = 0 }
  /^ *#/ {
    if (indent > field_indent) lacking = ""
    else if (!below_brace) covered = 1
    next
  }
  { complain(); below_brace = 0; field_indent = indent }
  /^[^#]*[{] *(#|$)/ { below_brace = 1; covered = /:group [{] *#/; next }
  /^ *[a-z][A-Za-z0-9]* @[0-9]+/ { if (!/#/ && !covered) lacking = FILENAME ":" FNR ": no comment:" $0; next }
  { covered = 0 }
  END { complain(); exit failed }
' schemas/*.capnp
