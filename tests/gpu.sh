#!/usr/bin/env bash
# The checks and benchmarks that need a real GPU, in two halves:
#
#   tests/gpu.sh pack [DIR]           here, with cargo: gathers binaries and scripts in DIR (target/gpu)
#   DIR/gpu.sh run [OUT] [PEERS]      there, with a driver and a CUDA toolkit, without cargo or network:
#                                     runs all checks, then the benchmarks, then the scripts in PEERS
#
# `run` writes OUT/gpu.json and OUT/gpu.md (OUT: gpu-results), and a log a step. It goes on after a
# failure, says what failed, and ends with status 1 if anything did. It takes ten minutes at most.
# PEERS is a folder with torch_space.py and jax_vmap.py, programs that train the same kind of search;
# Fashion-MNIST, for them and for ours, is found by $WARPSWEEP_DATA.
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
    cp tests/gpu.sh "$into/gpu.sh"
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

# The first file of this name in a CUDA toolkit or in Python's packages.
library() {
    find /usr/local/cuda*/ "${packages[@]}" -name "$1" -print -quit 2>/dev/null
}

run() {
    local here test
    here="$(cd "$(dirname "$0")" && pwd)"
    out="${1:-gpu-results}"
    local peers="${2:-}"
    mkdir -p "$out" || die "cannot make $out"
    out="$(cd "$out" && pwd)"
    steps=() failed=() packages=()
    command -v nvidia-smi >/dev/null || die "nvidia-smi is not on the PATH; this half runs where a GPU is"
    mapfile -t packages < <(python3 -c 'import site; print(*site.getsitepackages(), sep="\n")' 2>/dev/null)
    local nvrtc cublas
    nvrtc="$(library 'libnvrtc.so.1[23]')" cublas="$(library 'libcublas.so.1[23]')"
    export WARPSWEEP_NVRTC="${WARPSWEEP_NVRTC:-$nvrtc}" WARPSWEEP_CUBLAS="${WARPSWEEP_CUBLAS:-$cublas}"
    WARPSWEEP_COMMIT="$(cat "$here/commit")"
    export WARPSWEEP_COMMIT XDG_CACHE_HOME="$out/cache"
    printf 'NVRTC %s\ncuBLAS %s\n' "$WARPSWEEP_NVRTC" "$WARPSWEEP_CUBLAS"

    # The tests of the command line run the program where it was built.
    local program
    program="$(cat "$here/program")"
    if [[ ! -e "$program" ]]; then mkdir -p "$(dirname "$program")" && ln -s "$here/bin/warpsweep" "$program"; fi

    step devices 30 "$here/bin/warpsweep" devices
    for test in "$here"/bin/cuda_*; do
        # Compiled for the one architecture that is here anyway.
        if [[ "$test" != */cuda_compiles ]]; then step "$(basename "$test")" 100 "$test"; fi
    done
    if command -v compute-sanitizer >/dev/null; then
        local bits=a_problem_has_the_same_bits_alone_and_in_a_group_of_any_order tool
        for tool in memcheck racecheck; do
            step "sanitizer_$tool" 60 compute-sanitizer --tool "$tool" --error-exitcode 3 \
                "$here/bin/cuda_gemm" "$bits"
        done
    fi
    # Ours beside cuBLAS: squares, then the thin products of this work, alone and in groups of 64.
    local bench=("$here/bin/warpsweep" bench gemm --device cuda:0 --data synthetic --passes 1 --min-time 0.05
        --time-limit 0.5 --axis precision=fp32,tf32,3xtf32) size
    for size in 512 1024 2048 4096 8192; do
        step "gemm_$size" 40 "${bench[@]}" --axis "batch=$size" --axis "units=$size" --axis "inputs=$size" \
            --axis product=forward --output "$out/gemm_$size.json"
    done
    step gemm_thin 150 "${bench[@]}" --axis batch=16,64,256 --axis units=10,64,256,512 --axis trials=1,64 \
        --output "$out/gemm_thin.json"
    local parameter space=() table=(learning_rate='loguniform(1e-6,1e-1)' batch_size='lograndint(8,256)' momentum='uniform(0,0.99)'
        activation='choice(tanh,relu)' units='lograndint(32,1024)' layers='randint(1,6)')
    for parameter in "${table[@]}"; do space+=(--param "$parameter"); done
    step search 120 "$here/bin/warpsweep" search "${space[@]}" --trials 256 --epochs 1 --device cuda --study "$out/search.jsonl"
    if [[ -n "$peers" ]]; then
        local gz=()
        if [[ -n "${WARPSWEEP_DATA:-}" ]]; then gz=(--gz "$WARPSWEEP_DATA/fashion-mnist"); fi
        step peer_torch 60 python3 "$peers/torch_space.py" --device cuda --trials 4 --epochs 1 "${gz[@]}"
        # JAX takes the GPU by itself.
        step peer_jax 60 python3 "$peers/jax_vmap.py" --T 1,64,256 --epochs 1 --hidden 256 "${gz[@]}"
    fi
    rm -rf "$out/cache"
    report
    if ((${#failed[@]} > 0)); then
        printf 'tests/gpu.sh: failed: %s; see the logs in %s\n' "${failed[*]}" "$out" >&2
        exit 1
    fi
    echo "all checks passed; $out/gpu.md"
}

# Both reports, from the steps and the benchmark's own results.
report() {
    printf '%s\n' "${steps[@]}" >"$out/steps"
    python3 - "$out" "$WARPSWEEP_COMMIT" "$(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader | head -1)" <<'PYTHON'
import datetime, json, pathlib, sys

out, commit, gpu = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]
steps = []
for line in (out / "steps").read_text().splitlines():
    name, status, seconds = line.split()
    log = (out / f"{name}.log").read_text(errors="replace")
    steps.append({"name": name, "status": int(status), "seconds": int(seconds), "end": log.splitlines()[-12:]})
gemm = []
for path in sorted(out.glob("gemm_*.json")):
    gemm += [point for point in json.loads(path.read_text())["points"] if "measured" in point]
date = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
report = {"gpu": gpu, "date": date, "commit": commit, "steps": steps, "gemm": gemm}
(out / "gpu.json").write_text(json.dumps(report, indent=1) + "\n")

lines = [f"# On a GPU: {gpu}", "", f"{date}, commit {commit}", "", "| step | result | seconds |", "|---|---|---|"]
results = {0: "passed", 77: "skipped", 124: "out of time", 137: "out of time"}
for step in steps:
    result = results.get(step["status"], f"failed ({step['status']})")
    lines.append(f"| {step['name']} | {result} | {step['seconds']} |")
if gemm:
    lines += ["", "| precision | product | rows | outputs | inputs | group | tile | us | TFLOP/s | x cuBLAS |",
              "|---|---|---|---|---|---|---|---|---|---|"]
    for point in gemm:
        axes, measured = point["axes"], point["measured"]
        seconds, cublas = measured["time"]["median"], measured.get("cublas_seconds")
        cells = [axes["precision"], axes["product"], axes["batch"], axes["units"], axes["inputs"], axes["trials"],
                 measured["conditions"]["tile"], f"{seconds * 1e6:.1f}",
                 f"{measured['work']['flop'] / seconds / 1e12:.2f}", f"{cublas / seconds:.2f}" if cublas else ""]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
for step in steps:
    if step["name"] in ("devices", "search", "peer_torch", "peer_jax") or step["status"]:
        lines += ["", f"## {step['name']}", "", "```", *step["end"], "```"]
(out / "gpu.md").write_text("\n".join(lines) + "\n")
PYTHON
}

case "${1:-}" in
pack) shift && pack "$@" ;;
run) shift && run "$@" ;;
*) die "say \`pack [DIR]\` or \`run [OUT] [PEERS]\`" ;;
esac
