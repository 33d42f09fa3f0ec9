#!/usr/bin/env bash
# Runs a sample and compares what it prints with what its README shows. The first code block of the README that begins
# with "$ ./NAME" holds the command line and the output.
# What differs from run to run is made equal on both sides: process ids and numbers, times, ports, which worker or buyer
# did what, whether the system dumps core; lines that begin with two spaces come from several processes, so each run of
# them is sorted.
# Usage: compare_output.sh PROGRAM README [--unique]
#   --unique: of equal lines in such a run only one counts, for samples that start a process per processor
set -euo pipefail
program=$1
readme=$2
unique=${3:+-u}
name=$(basename "$program")

# shown: the command line in the README, then the output that it shows.
shown() {
  sed -n "/^\$ \.\/$name/,/^\`\`\`/ p" "$readme" | sed '/^```/ Q'
}

normalize() {
  sed -E -e 's/pid [0-9]+/pid N/g' -e 's/Process-[0-9]+/Process-N/g' -e 's/worker [0-9]+ ended/worker N ended/g' \
    -e 's/: [0-9]+\.[0-9]+ s$/: T s/' -e 's/@[A-Z]/@W/g' -e 's/ #[0-9]+/ #N/g' \
    -e 's/for [0-9]+ [mu]s/for T/g' -e 's/[0-9]+ MiB/N MiB/g' -e 's/, core dumped,//g' \
    -e 's/127\.0\.0\.1:[0-9]+/127.0.0.1:N/g' -e 's/buyer [0-9]+/buyer N/g' |
    sort_indented
}

sort_indented() {
  local line lines=()
  flush() {
    if ((${#lines[@]})); then printf '%s\n' "${lines[@]}" | LC_ALL=C sort $unique; fi
    lines=()
  }
  while IFS= read -r line; do
    if [[ $line == '  '* ]]; then
      lines+=("$line")
    else
      flush
      printf '%s\n' "$line"
    fi
  done
  flush
}

read -r _ _ arguments <<<"$(shown | head -n 1)"
[[ -n $(shown) ]] || { echo "no block that begins with \"\$ ./$name\" in $readme"; exit 1; }
# The arguments in a README are plain words.
# shellcheck disable=SC2086
actual=$("$program" $arguments </dev/null)
diff --label "$readme" --label "$program" -u <(shown | tail -n +2 | normalize) <(normalize <<<"$actual")
