# Shared by the scripts in this folder; sourced, never run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Warnings are errors here and nowhere else, so that a new compiler does not break a user's build.
export CARGO_TERM_COLOR="${CARGO_TERM_COLOR:-never}"
target_dir() { cargo metadata --no-deps --format-version 1 | python3 -c 'import json,sys; print(json.load(sys.stdin)["target_directory"])'; }

say() { printf '\n== %s\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# Counts the cases of one script and prints the closing line that every job ends with.
passed=0 failed=0 skipped=0
pass() { passed=$((passed + 1)); printf 'ok       %s\n' "$*"; }
fail() { failed=$((failed + 1)); printf 'FAILED   %s\n' "$*" >&2; }
# A skip is a result with its reason; it never counts as passed.
skip() { skipped=$((skipped + 1)); printf 'skipped  %s\n' "$*"; }
verdict() {
    printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
    [ "$failed" -eq 0 ]
}
case_() { # case_ NAME COMMAND...: runs a command quietly, shows its output only when it fails
    local name=$1 log; shift
    log=$(mktemp)
    if "$@" >"$log" 2>&1; then pass "$name"; else fail "$name"; sed 's/^/    /' "$log" >&2; fi
    rm -f "$log"
}
