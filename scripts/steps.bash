# Sourced by the scripts beside it: finds the project's folder and runs named steps. Works from any current directory,
# without a terminal and with stdin closed.
set -euo pipefail

script_name=$(basename "$0")
caller_dir=$PWD
project_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$project_dir"
exec </dev/null

# say TEXT: one line about what happens now.
say() { printf '==> %s\n' "$*"; }

# fail TEXT [STATUS]: says what went wrong and ends the script.
fail() {
  printf '%s: %s\n' "$script_name" "$1" >&2
  exit "${2:-1}"
}

# step NAME COMMAND...: runs a command under a name; a failure names the step and ends the script with its status.
step() {
  local name=$1 status=0
  shift
  say "$name"
  "$@" || status=$?
  ((status == 0)) || fail "step \"$name\" failed (status $status): $*" "$status"
}

# num_jobs: how many compilers to run at once, one per processor that this process may use.
num_jobs() { nproc; }

# configure PRESET [OPTION...]: configures build/PRESET; quiet unless it fails.
configure() {
  local preset=$1 output status=0
  shift
  output=$(cmake --preset "$preset" "$@" 2>&1) || status=$?
  ((status == 0)) || printf '%s\n' "$output" >&2
  return "$status"
}
