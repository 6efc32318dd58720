#!/usr/bin/env bash
# Every check of this project, from a machine that has Rust, a C compiler and Python with pip:
#
#   tests/run.sh
#
# Python packages that the tests compare with go into target/venv, nowhere else. Tests that want
# the real Fashion-MNIST look in $WARPSWEEP_DATA, then in ../shared/data, and else say that they
# are skipped; with WARPSWEEP_REQUIRE_ALL=1 nothing may be skipped.
set -euo pipefail
cd "$(dirname "$0")/.."

target="${CARGO_TARGET_DIR:-target}"
packages=(optuna==5.0.0 safetensors numpy)

step() { printf '\n== %s\n' "$*"; }
die() {
    printf 'tests/run.sh: %s\n' "$*" >&2
    exit 1
}

command -v cargo >/dev/null || die "cargo is not on the PATH; install Rust from https://rustup.rs"
command -v python3 >/dev/null || die "python3 is not on the PATH; install Python 3 with pip and venv"

step "python packages: ${packages[*]}"
venv="$target/venv"
# The list of what was installed is written last: a half-made environment is made again.
if [[ "$(cat "$venv/installed" 2>/dev/null)" != "${packages[*]}" ]]; then
    rm -rf "$venv"
    mkdir -p "$target"
    python3 -m venv "$venv" || die "python3 -m venv failed; install Python's venv module"
    "$venv/bin/pip" install --quiet --disable-pip-version-check "${packages[@]}" ||
        die "pip could not install ${packages[*]}; see the lines above"
    echo "${packages[*]}" >"$venv/installed"
fi
WARPSWEEP_PYTHON="$(cd "$venv/bin" && pwd)/python"
export WARPSWEEP_PYTHON
"$WARPSWEEP_PYTHON" -c 'import optuna; print("optuna", optuna.__version__)'

step "cargo fmt --check"
cargo fmt --check

step "cargo clippy"
cargo clippy --quiet --all-targets -- -D warnings

# Skips are printed by the tests that skip, so their output is kept and looked through.
log="$target/test-output.txt"
step "cargo test"
cargo test --lib --bins --tests --examples --no-fail-fast -- --show-output 2>&1 | tee "$log"

step "cargo test --doc"
cargo test --doc

# Private items too: a room explains itself by links to its files.
step "cargo doc"
RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" cargo doc --quiet --no-deps --document-private-items

step "result"
printf 'skipped tests: %s\n' "$(grep -c '^skipped:' "$log" || true)"
awk '/^test result:/ { passed += $4; failed += $6 }
     END { printf "all checks passed: %d tests passed, %d failed\n", passed, failed }' "$log"
