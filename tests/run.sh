#!/usr/bin/env bash
# Every check of this project, from a machine that has Rust, a C compiler and Python with pip:
#
#   tests/run.sh
#
# Python packages that the tests compare with go into target/venv, nowhere else, and so does NVRTC,
# the compiler of the CUDA kernels. The tests of the CUDA engine, tests/cuda_*.rs, run on a simulated
# device (tests/sim), which stands in for the driver; tests/gpu.sh runs them on a real GPU. Tests that want
# the real Fashion-MNIST look in $WARPSWEEP_DATA, then in ../shared/data, and else say that they
# are skipped; with WARPSWEEP_REQUIRE_ALL=1 nothing may be skipped.
set -euo pipefail
cd "$(dirname "$0")/.."

target="${CARGO_TARGET_DIR:-target}"
packages=(optuna==5.0.0 safetensors numpy nvidia-cuda-nvrtc==13.0.88)

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
WARPSWEEP_NVRTC="$("$WARPSWEEP_PYTHON" -c 'import nvidia.cu13, os; print(os.path.join(nvidia.cu13.__path__[0], "lib"))')"
export WARPSWEEP_PYTHON WARPSWEEP_NVRTC
"$WARPSWEEP_PYTHON" -c 'import optuna; print("optuna", optuna.__version__)'

step "cargo fmt --check"
cargo fmt --all --check

step "cargo clippy"
cargo clippy --quiet --workspace --all-targets -- -D warnings

# Private items too: a room explains itself by links to its files.
step "cargo doc"
RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" cargo doc --quiet --no-deps --document-private-items

# Skips are printed by the tests that skip, so their output is kept and looked through. What fails is
# told at the end, after everything has run.
log="$target/test-output.txt"
: >"$log"
failed=0
run() { "$@" --no-fail-fast -- --show-output 2>&1 | tee -a "$log" || failed=1; }

cuda=() other=()
for file in tests/*.rs; do
    name="$(basename "$file" .rs)"
    if [[ "$name" == cuda_* ]]; then cuda+=(--test "$name"); else other+=(--test "$name"); fi
done
step "cargo test"
run cargo test --lib --bins --examples "${other[@]}"

# In a folder of its own: cargo puts target/debug on the loader's path of all tests, and only the
# CUDA tests may find a driver.
step "cargo test, the simulated device"
run cargo test -p cuda-sim --target-dir "$target/sim"
cargo build --quiet --profile test -p cuda-sim --target-dir "$target/sim"
mkdir -p "$target/sim/driver"
cp "$target/sim/debug/libcuda.so" "$target/sim/driver/libcuda.so.1"
simulated="$(cd "$target/sim/driver" && pwd)"

step "cargo test, CUDA on the simulated device"
runner="target.'cfg(unix)'.runner = ['env', 'LD_LIBRARY_PATH=$simulated']"
run cargo test --config "$runner" "${cuda[@]}"

# The simulated device is an sm_80 unless told; these kernels have code of their own for later ones.
step "cargo test, fused kernels and products on a simulated sm_90"
CUDA_SIM_CC=90 run cargo test --config "$runner" --test cuda_fused --test cuda_fused_mlp --test cuda_gemm --test cuda_sgd

step "cargo test --doc"
cargo test --doc || failed=1

step "result"
printf 'skipped tests: %s\n' "$(grep -c '^skipped:' "$log" || true)"
awk '/^test result:/ { passed += $4; failed += $6 }
     END { printf "%d tests passed, %d failed\n", passed, failed }' "$log"
# Once more what went wrong: a log of all this is long, and its end is what is read.
if ((failed != 0)); then
    awk '/^failures:$/ { on = 1 } /^test result:/ { on = 0 } on' "$log" | head -n 150
    grep '^test .* FAILED$' "$log" || true
fi
((failed == 0)) || die "not all checks passed; see the lines above"
echo "all checks passed"
