#!/usr/bin/env bash
# Runs scripts/setup (and the steps that the other scripts share with it) where id, dpkg-query, apt-get and sudo are
# stand-ins: nothing is installed and nobody needs to be root.
# Usage: setup_test.sh SOURCE_DIR
set -euo pipefail
source_dir=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

# stand_in NAME: reads the script of a program that takes the place of the real one.
stand_in() {
  rm -f "$work/bin/$1"  # it may be a link to the real one
  { echo '#!/bin/bash'; cat; } >"$work/bin/$1"
  chmod +x "$work/bin/$1"
}

# given UID MISSING...: a machine where the user is UID and these packages are missing; apt-get and sudo are there.
given() {
  rm -rf "$work/bin" "$work/log" "$work/missing"
  mkdir "$work/bin"
  local tool
  for tool in bash env basename dirname cat sed cmake; do ln -s "$(command -v "$tool")" "$work/bin/$tool"; done
  touch "$work/log"
  printf '%s\n' "${@:2}" >"$work/missing"
  stand_in id <<<"echo $1"
  stand_in dpkg-query <<<"while read -r name; do [[ \"\$name\" != \"\${@: -1}\" ]] || exit 1; done <$work/missing; echo -n installed"
  stand_in apt-get <<<"echo \"apt-get \$*\" >>$work/log; [[ \"\$*\" != *install* ]] || : >$work/missing"
  stand_in sudo <<<"echo \"sudo \$1\" >>$work/log; shift; exec \"\$@\""
}

# run SCRIPT [ARGUMENT...]: runs it without a terminal, from another folder, with stdin closed.
run() {
  status=0
  output=$(cd "$work" && PATH="$work/bin" "$source_dir/scripts/$1" "${@:2}" 2>&1 <&-) || status=$?
  log=$(cat "$work/log")
}

# expect WHAT CONDITION...: one check, named by what a user would miss.
expect() {
  local what=$1
  shift
  "$@" && return
  printf 'FAILED: %s\nstatus %s, output:\n%s\ncalled:\n%s\n\n' "$what" "$status" "$output" "$log"
  failed=1
}
says() { [[ "$output" == *"$1"* ]]; }
called() { [[ "$log" == *"$1"* ]]; }
called_nothing() { [[ -z "$log" ]]; }
ends_with() { ((status == $1)); }

given 1000
run setup
expect "nothing missing: succeeds" ends_with 0
expect "nothing missing: installs nothing" called_nothing

given 0 libcaf-dev capnproto
run setup
expect "root: succeeds" ends_with 0
expect "root: renews the lists" called "apt-get -q update"
expect "root: installs exactly what is missing" called "install -y --no-install-recommends libcaf-dev capnproto"
expect "root: names what is missing" says "missing: libcaf-dev capnproto"

given 1000 libcaf-dev
run setup
expect "sudo: succeeds" ends_with 0
expect "sudo: never asks for a password without a terminal" called "sudo -n"
expect "sudo: installs" called "install -y --no-install-recommends libcaf-dev"

given 1000 libcaf-dev
rm "$work/bin/sudo"
run setup
expect "no sudo: ends with 1" ends_with 1
expect "no sudo: prints the exact command" \
  says "apt-get update && apt-get install -y --no-install-recommends libcaf-dev"
expect "no sudo: installs nothing" called_nothing

given 1000 libcaf-dev
stand_in sudo <<<"echo 'sudo: a password is required' >&2; exit 1"
run setup
expect "sudo refuses: ends with 1" ends_with 1
expect "sudo refuses: prints the exact command" says "apt-get install -y --no-install-recommends libcaf-dev"

given 0 libcaf-dev
stand_in apt-get <<<"[[ \"\$*\" == *install* ]] || exit 100; : >$work/missing"
run setup
expect "lists cannot be renewed: installs from the old ones" ends_with 0

given 0 libcaf-dev
stand_in apt-get <<<"exit 100"
run setup
expect "apt-get fails: ends with 1" ends_with 1
expect "apt-get fails: names the step" says 'step "apt-get install" failed'

given 0 libcaf-dev
stand_in apt-get <<<"exit 0"
run setup
expect "apt-get does nothing: ends with 1" ends_with 1
expect "apt-get does nothing: names the package" says "still missing: libcaf-dev"

given 1000
rm "$work/bin/dpkg-query"
run setup
expect "not a Debian: goes on" ends_with 0
expect "not a Debian: lists what is needed" says "libcapnp-dev"

given 1000
run test --preset nonsense
expect "a failing step: ends with a failure" [ "$status" -ne 0 ]
expect "a failing step: is named" says 'step "configure build/nonsense" failed'

for script in demo test bench soak; do
  given 1000
  stand_in cmake <<<"exit 3"
  run "$script"
  expect "$script cannot configure: has that step's status" ends_with 3
  expect "$script cannot configure: names the step" says 'step "configure build/'
done

given 1000
stand_in cmake <<<"exit 0"
stand_in nproc <<<"echo 1"
stand_in ctest <<<"exit 8"
stand_in python3 <<<"exit 5"
run test
expect "tests fail: has their status" ends_with 8
expect "tests fail: names the step" says 'step "test build/dev" failed'
run bench
expect "benchmarks fail: has their status" ends_with 5
expect "benchmarks fail: names the step" says 'step "run the benchmarks" failed'

given 1000 libcaf-dev
rm "$work/bin/sudo"
run test
expect "setup fails: the test script ends" ends_with 1
expect "setup fails: nothing is configured" [ "${output#*configure}" = "$output" ]

exit $failed
