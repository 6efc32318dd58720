#!/usr/bin/env bash
# The checks and benchmarks that need a real GPU, in two halves:
#
#   tests/gpu.sh pack [DIR]           here, with cargo: gathers binaries and scripts in DIR (target/gpu)
#   DIR/gpu.sh run [OUT] [PEERS]      there, with a driver and a CUDA toolkit, without cargo or network:
#                                     runs all checks, then the benchmarks, then the scripts in PEERS
#
# `run` writes OUT/gpu.json and OUT/gpu.md (OUT: gpu-results), and a log a step. It goes on after a
# failure, says what failed or could not be run, and ends with status 1 if anything did. It takes ten minutes at
# most. Fashion-MNIST, for the peers too, is found by $WARPSWEEP_DATA. The python3 on the PATH (or $PYTHON) has
# what the peers need: torch, jax, numpy; ours needs its standard library, for the report.
#
# PEERS is a folder with torch_space.py, torch_fast.py and jax_vmap.py, which train the same kinds of search:
#
#   torch_space.py --device cuda --configs FILE --epochs 1            the very configs that ours has drawn,
#   jax_space.py   --configs FILE --epochs 1    (of benches/)         one trial after the other
#   torch_fast.py  --device cuda --batched N --batch B [--hidden H]   N trials in one program
#   jax_vmap.py    --mode vmap|wide --T N --batch B [--hidden H]      the same
#
# The first two take every 8th and every 32nd config (STRIDE and 4 x STRIDE), for their trials wait for each
# other and JAX compiles each: gpu_report.py says how the time of all follows. JAX's products are set to
# float32, for its default on a GPU is TF32; torch's are float32.
# Options come from the environment: TRIALS_SPACE (256), TRIALS_SOFTMAX (1024), TRIALS_MLP (256), EPOCHS (8),
# PEER_EPOCHS (2), STRIDE. SMALL=1 makes all of them tiny, to see that this script works.
set -uo pipefail

die() {
    printf 'tests/gpu.sh: %s\n' "$*" >&2
    exit 2
}

pack() {
    cd "$(dirname "$0")/.." || die "cannot enter the repository"
    local into="${1:-target/gpu}" built
    mkdir -p "$into/bin" || die "cannot make $into"
    rm -f "$into"/bin/*
    # Executables of the tests and benchmarks, by cargo's own report of where they are.
    built="$(cargo test --no-run --message-format=json --test 'cuda_*' |
        grep -o '"executable":"[^"]*"' | cut -d'"' -f4)" || die "cargo test --no-run failed; see the lines above"
    cargo build --release --quiet || die "cargo build failed; see the lines above"
    local path name
    for path in $built; do
        name="$(basename "${path%-*}")"
        case "$path" in
        */cuda_*) ;;
        */warpsweep) echo "$path" >"$into/program" && continue ;;
        *) continue ;;
        esac
        strip -o "$into/bin/$name" "$path" || die "cannot strip $path"
    done
    strip -o "$into/bin/warpsweep" target/release/warpsweep || die "cannot strip warpsweep"
    cp tests/gpu.sh tests/python/gpu_report.py benches/jax_space.py "$into/" || die "cannot write to $into"
    git rev-parse --short HEAD >"$into/commit"
    du -sh "$into"
}

# Runs a step of at most so many seconds into a log of its name, and books how it ended.
step() {
    local name="$1" limit="$2" status started=$SECONDS left=$((580 - SECONDS))
    shift 2
    # The whole takes ten minutes at most: what comes last gets what is left.
    if ((left < limit)); then limit=$((left > 1 ? left : 1)); fi
    printf '== %s\n' "$name"
    timeout --kill-after=5 "$limit" "$@" >"$out/$name.log" 2>&1
    status=$?
    if ((status == 0)); then
        # A test that found nothing to run on is no success here.
        if grep -q '^skipped:' "$out/$name.log"; then status=77; fi
    fi
    steps+=("$name $status $((SECONDS - started))")
    if ((status != 0)); then
        failed+=("$name")
        printf '   failed with status %s; the end of %s:\n' "$status" "$out/$name.log"
        tail -n 15 "$out/$name.log"
    fi
}

# Books a step that cannot be run, and why: its row stays open, which is no success.
leave_out() {
    echo "skipped: $2" | tee "$out/$1.log"
    steps+=("$1 77 0")
    failed+=("$1")
}

# The first file of this name in a CUDA toolkit or in Python's packages.
library() {
    find /usr/local/cuda*/ "${packages[@]}" -name "$1" -print -quit 2>/dev/null
}

# ours NAME LIMIT OPTION...: a search of ours on the GPU; its events go to NAME.log, a JSON object a line.
ours() {
    local name="$1" limit="$2"
    shift 2
    step "$name" "$limit" "$here/bin/warpsweep" search --device cuda --json --quiet --validation test \
        --study "$out/$name.journal" "${data[@]}" "$@"
}

# peer NAME MODULE SCRIPT OPTION...: a program of others, if Python has its module.
peer() {
    local name="$1" module="$2" script="$3"
    shift 3
    if [[ ! -e "$script" ]]; then
        leave_out "$name" "there is no $script; name the folder of the peers' programs"
    elif ! "$python" -c "import numpy, $module" 2>/dev/null; then
        leave_out "$name" "$python has no $module or no numpy"
    else
        step "$name" 80 "$python" "$script" "${gz[@]}" "$@"
    fi
}

checks() {
    local test
    step devices 30 "$here/bin/warpsweep" devices
    # The tests of the command line run the program where it was built.
    local program
    program="$(cat "$here/program")"
    if [[ ! -e "$program" ]]; then mkdir -p "$(dirname "$program")" && ln -s "$here/bin/warpsweep" "$program"; fi
    for test in "$here"/bin/cuda_*; do
        # Compiled for the one architecture that is here anyway.
        if [[ "$test" != */cuda_compiles ]]; then step "$(basename "$test")" 100 "$test"; fi
    done
}

# A small search, and the products, under NVIDIA's own checks.
sanitizer() {
    local tool sanitizer
    sanitizer="$(command -v compute-sanitizer || library compute-sanitizer)"
    local small=(--device cuda --data "$out/tiny" --epochs 2 --trials 8 --validation test --quiet
        --param 'batch_size=choice(16,100)' --param 'layers=randint(0,2)' --param units=40
        --param dropout=0.2 --param momentum=0.9 --param 'activation=choice(relu,tanh,gelu)')
    local bits=a_problem_has_the_same_bits_alone_and_in_a_group_of_any_order
    "$python" "$here/gpu_report.py" data "$out/tiny"
    for tool in memcheck racecheck initcheck synccheck; do
        if [[ -z "$sanitizer" ]]; then
            leave_out "sanitizer_$tool" "compute-sanitizer was not found; it is in the CUDA toolkit"
            continue
        fi
        step "sanitizer_$tool" 45 "$sanitizer" --tool "$tool" --error-exitcode 3 \
            "$here/bin/warpsweep" search "${small[@]}" --study "$out/sanitizer_$tool.journal"
    done
    if [[ -n "$sanitizer" ]]; then
        step sanitizer_products 45 "$sanitizer" --tool racecheck --error-exitcode 3 "$here/bin/cuda_gemm" "$bits"
    fi
}

# Ours beside cuBLAS: squares, then the thin products of this work, alone and in groups of 64.
products() {
    local bench=("$here/bin/warpsweep" bench gemm --device cuda:0 --data synthetic --passes 1 --min-time 0.05
        --time-limit 0.5) sizes=(512 1024 2048 4096 8192) size
    local precisions=precision=fp32,tf32,3xtf32 thin=(--axis batch=16,64,256 --axis units=10,64,256,512 --axis trials=1,64)
    if [[ -n "$small" ]]; then sizes=() precisions=precision=fp32 thin=(--axis batch=16 --axis units=10); fi
    for size in "${sizes[@]}"; do
        step "gemm_$size" 40 "${bench[@]}" --axis "$precisions" --axis "batch=$size" --axis "units=$size" \
            --axis "inputs=$size" --axis product=forward --output "$out/gemm_$size.json"
    done
    step gemm_thin 150 "${bench[@]}" --axis "$precisions" "${thin[@]}" --output "$out/gemm_thin.json"
}

# The MLP table space: ours, then the same configs trial by trial.
space() {
    local table=(
        --param 'learning_rate=loguniform(1e-6,1e-1)' --param 'batch_size=lograndint(8,256)'
        --param 'momentum=uniform(0,0.99)' --param 'activation=choice(tanh,relu)'
        --param 'units=lograndint(32,1024)' --param 'layers=randint(1,6)'
    )
    ours space 120 --trials "$TRIALS_SPACE" --epochs 1 "${table[@]}"
    local stride
    for stride in "$STRIDE" $((4 * STRIDE)); do
        "$python" "$here/gpu_report.py" configs "$out/space.log" "$stride" >"$out/configs_$stride.jsonl"
    done
    peer space_torch torch "$peers/torch_space.py" --device cuda --epochs 1 --configs "$out/configs_$STRIDE.jsonl"
    peer space_jax jax "$here/jax_space.py" --epochs 1 --configs "$out/configs_$((4 * STRIDE)).jsonl"
}

# Softmax regression, then one hidden layer: many trials of one shape.
side_by_side() {
    local rates='learning_rate=loguniform(1e-4,1)' mode
    ours softmax 60 --trials "$TRIALS_SOFTMAX" --epochs "$EPOCHS" --batch-size 16 --param "$rates"
    peer softmax_torch torch "$peers/torch_fast.py" --device cuda --batched "$TRIALS_SOFTMAX" --batch 16 \
        --epochs "$PEER_EPOCHS"
    ours mlp 60 --trials "$TRIALS_MLP" --epochs "$EPOCHS" --batch-size 64 --param "$rates" \
        --param layers=1 --param units=128
    peer mlp_torch torch "$peers/torch_fast.py" --device cuda --batched "$TRIALS_MLP" --batch 64 --hidden 128 \
        --epochs "$PEER_EPOCHS"
    # Its batch must divide the samples: 75 is in its favour.
    for mode in wide vmap; do
        peer "softmax_jax_$mode" jax "$peers/jax_vmap.py" --mode "$mode" --T "$TRIALS_SOFTMAX" --batch 16 \
            --epochs "$PEER_EPOCHS"
        peer "mlp_jax_$mode" jax "$peers/jax_vmap.py" --mode "$mode" --T "$TRIALS_MLP" --batch 75 --hidden 128 \
            --epochs "$PEER_EPOCHS"
    done
}

# The README's command, start to end: the first compiles the kernels, the others find them compiled.
five_trials() {
    local run
    for run in cold warm1 warm2 warm3; do
        step "five_$run" 30 bash -c 'TIMEFORMAT="wall %R"; time "$@"' five \
            "$here/bin/warpsweep" search --device cuda "${data[@]}" "${few[@]}" --study "$out/five_$run.journal"
    done
}

run() {
    here="$(cd "$(dirname "$0")" && pwd)"
    out="${1:-gpu-results}" peers="${2:-PEERS}" python="${PYTHON:-python3}"
    mkdir -p "$out" || die "cannot make $out"
    out="$(cd "$out" && pwd)"
    if [[ -d "$peers" ]]; then peers="$(cd "$peers" && pwd)"; fi
    # A study that stands there would be gone on with: nothing would be trained, and fast.
    rm -f "$out"/*.journal "$out"/*.log "$out"/gemm_*.json
    steps=() failed=() packages=() data=() gz=() few=()
    command -v nvidia-smi >/dev/null || die "nvidia-smi is not on the PATH; this half runs where a GPU is"
    command -v "$python" >/dev/null || die "there is no $python; install Python 3, or name it with PYTHON"
    mapfile -t packages < <("$python" -c 'import site; print(*site.getsitepackages(), sep="\n")' 2>/dev/null)
    local nvrtc cublas small="${SMALL:-}"
    nvrtc="$(library 'libnvrtc.so.1[23]')" cublas="$(library 'libcublas.so.1[23]')"
    export WARPSWEEP_NVRTC="${WARPSWEEP_NVRTC:-$nvrtc}" WARPSWEEP_CUBLAS="${WARPSWEEP_CUBLAS:-$cublas}"
    WARPSWEEP_COMMIT="$(cat "$here/commit")"
    export WARPSWEEP_COMMIT WARPSWEEP_CACHE="$out/cache" JAX_DEFAULT_MATMUL_PRECISION=float32
    printf 'NVRTC %s\ncuBLAS %s\n' "$WARPSWEEP_NVRTC" "$WARPSWEEP_CUBLAS"
    TRIALS_SPACE="${TRIALS_SPACE:-${small:+4}}" TRIALS_SOFTMAX="${TRIALS_SOFTMAX:-${small:+3}}"
    TRIALS_MLP="${TRIALS_MLP:-${small:+3}}" EPOCHS="${EPOCHS:-${small:+1}}" STRIDE="${STRIDE:-${small:+2}}"
    : "${TRIALS_SPACE:=256}" "${TRIALS_SOFTMAX:=1024}" "${TRIALS_MLP:=256}" "${EPOCHS:=8}" "${STRIDE:=8}"
    : "${PEER_EPOCHS:=2}"
    if [[ -n "${WARPSWEEP_DATA:-}" ]]; then
        local folder="$WARPSWEEP_DATA"
        if [[ -d "$folder/fashion-mnist" ]]; then folder="$folder/fashion-mnist"; fi
        data=(--data fashion-mnist --data-dir "$folder") gz=(--gz "$folder")
    fi
    # Too few samples to hold ten thousand out, and a simulated device to train them on.
    if [[ -n "$small" ]]; then few=(--validation test --epochs 1 --trials 1); fi

    # What shows that it is right, then the rows by their weight: what comes last may run out of time.
    checks
    five_trials
    products
    space
    side_by_side
    sanitizer
    rm -rf "$out/cache" "$out/tiny"
    printf '%s\n' "${steps[@]}" >"$out/steps"
    "$python" "$here/gpu_report.py" report "$out" "$WARPSWEEP_COMMIT" "$STRIDE" \
        "$(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader | head -1)" || failed+=(report)
    if ((${#failed[@]} > 0)); then
        printf 'tests/gpu.sh: failed or left out: %s; see the logs in %s\n' "${failed[*]}" "$out" >&2
        exit 1
    fi
    echo "all checks passed; $out/gpu.md"
}

case "${1:-}" in
pack) shift && pack "$@" ;;
run) shift && run "$@" ;;
*) die "say \`pack [DIR]\` or \`run [OUT] [PEERS]\`" ;;
esac
