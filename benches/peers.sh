#!/usr/bin/env bash
# Runs warpsweep and other programs on the same task in the same minutes, and prints the ratios.
#
#   cargo build --release
#   benches/peers.sh PEERS_DIR PYTHON [softmax|space]
#
# PEERS_DIR has jax_vmap.py, torch_fast.py and torch_space.py; PYTHON has torch, jax and numpy.
# Every peer runs as one process a core, each pinned to its own, which is its fastest way; ours is
# one process. The times are of training and validation, without loading and compiling.
#
# softmax  softmax regression, batch 16, TRIALS at once, in ROUNDS that alternate between programs.
#          Our trials have a shuffle each; the peers' share one.
# space    an MLP's search space: the very configs that our search draws, dealt to the peer's
#          processes in equal numbers and about equal cost.
#
# Options come from the environment: TRIALS (64), EPOCHS (softmax 8, space 1), ROUNDS (softmax 3,
# space 1), SEED (0), DATA (PEERS_DIR/../data/fashion-mnist), WARPSWEEP (target/release/warpsweep).
set -euo pipefail

die() {
    printf 'peers.sh: %s\n' "$*" >&2
    exit 2
}

[[ $# -ge 2 && $# -le 3 ]] || die "usage: benches/peers.sh PEERS_DIR PYTHON [softmax|space]"
here="$(cd "$(dirname "$0")/.." && pwd)"
peers="$(cd "$1" && pwd)" || die "there is no folder $1; name the folder of the peers' programs"
python="$2"
mode="${3:-softmax}"
trials="${TRIALS:-64}" seed="${SEED:-0}"
data="${DATA:-$peers/../data/fashion-mnist}"
ours="${WARPSWEEP:-$here/target/release/warpsweep}"
[[ -x "$ours" ]] || die "there is no program $ours; run cargo build --release"
[[ -d "$data" ]] || die "there is no folder $data; name the folder of the IDX files with DATA"
"$python" -c 'import numpy, torch' || die "$python lacks numpy or torch; install them with pip"
cores="$(nproc)"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT

# search NAME OPTION...: our search with a study of its own; its JSON lines go to NAME.json.
search() {
    local name="$1"
    shift
    rm -f "$scratch/$name.journal"
    "$ours" search --json --quiet --data fashion-mnist --data-dir "$data" --validation test \
        --trials "$trials" --seed "$seed" --study "$scratch/$name.journal" "$@" \
        >"$scratch/$name.json"
}

# summary NAME KEY: a number of a search's last line.
summary() {
    "$python" -c 'import json, sys
print(json.loads(open(sys.argv[1]).readlines()[-1])[sys.argv[2]])' "$scratch/$1.json" "$2"
}

# on_every_core SCRIPT OPTION...: a pinned process a core, all at once, `{}` in an option being the
# core's number; their last lines.
on_every_core() {
    local script="$1" core pid pids=()
    shift
    for ((core = 0; core < cores; core++)); do
        OMP_NUM_THREADS=1 taskset -c "$core" "$python" "$peers/$script" --gz "$data" \
            "${@//\{\}/$core}" >"$scratch/core$core" &
        pids+=($!)
    done
    for pid in "${pids[@]}"; do wait "$pid" || die "$script failed; see the lines above"; done
    for ((core = 0; core < cores; core++)); do tail -n 1 "$scratch/core$core"; done
}

# The numbers behind KEY= in standard input, a line each.
field() { grep -o "$1=[0-9.e+]*" | cut -d= -f2; }
total() { awk '{ sum += $1 } END { print sum }'; }
largest() { sort -g | tail -n 1; }
median() { sort -g "$1" | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", a / b }'; }

softmax() {
    local epochs="${EPOCHS:-8}" rounds="${ROUNDS:-3}" round name best=0
    local names=("jax, wide" "torch, batched")
    "$python" -c 'import jax' 2>/dev/null || names=("torch, batched")
    for ((round = 1; round <= rounds; round++)); do
        search ours --epochs "$epochs" --batch-size 16 --param 'learning_rate=loguniform(1e-4,1)'
        summary ours trial_epochs_per_second >>"$scratch/warpsweep.rates"
        for name in "${names[@]}"; do
            case "$name" in
            jax*) on_every_core jax_vmap.py --T "$trials" --mode wide --batch 16 --epochs "$epochs" ;;
            torch*) on_every_core torch_fast.py --batched "$trials" --batch 16 --epochs "$epochs" --threads 1 ;;
            esac | field epoch-trials/s | total >>"$scratch/$name.rates"
        done
        for name in warpsweep "${names[@]}"; do
            printf 'round %s  %-16s %8.2f trial-epochs/s\n' "$round" "$name" "$(tail -n 1 "$scratch/$name.rates")"
        done
    done
    local mine
    mine="$(median "$scratch/warpsweep.rates")"
    printf 'median   %-16s %8.2f trial-epochs/s\n' warpsweep "$mine"
    for name in "${names[@]}"; do
        local rate
        rate="$(median "$scratch/$name.rates")"
        best="$(printf '%s\n' "$best" "$rate" | largest)"
        printf 'median   %-16s %8.2f trial-epochs/s, %s of them on %s cores\n' "$name" "$rate" "$cores" "$cores"
    done
    printf 'ratio    %s x the best peer (%s, float32, Fashion-MNIST, softmax regression, batch 16, %s trials, %s epochs, seed %s)\n' \
        "$(ratio "$mine" "$best")" "$(summary ours device)" "$trials" "$epochs" "$seed"
}

# deal FILE: the configs of a search as JSON lines in configs0, configs1, ..., a file a core.
deal() {
    "$python" - "$1" "$cores" "$scratch/configs" <<'PYTHON'
import json, sys

source, parts, target = sys.argv[1], int(sys.argv[2]), sys.argv[3]
events = [json.loads(line) for line in open(source)]
configs = [event["params"] for event in events if event["event"] == "trial"]


def cost(config):
    units, layers = config["units"], config["layers"]
    return 2 * 784 * units + 3 * units * (units * (layers - 1) + 10)


# The dearest first, each to the lightest part that is not full.
full = -(-len(configs) // parts)
dealt, loads = [[] for _ in range(parts)], [0] * parts
for config in sorted(configs, key=cost, reverse=True):
    part = min((i for i in range(parts) if len(dealt[i]) < full), key=lambda i: loads[i])
    dealt[part].append(config)
    loads[part] += cost(config)
for part, lines in enumerate(dealt):
    with open(f"{target}{part}", "w") as out:
        out.writelines(json.dumps(config) + "\n" for config in lines)
PYTHON
}

# params NAME: every trial's number and config, to compare two searches by.
params() {
    "$python" -c 'import json, sys
events = map(json.loads, open(sys.argv[1]))
print(sorted((e["number"], json.dumps(e["params"])) for e in events if e["event"] == "trial"))' \
        "$scratch/$1.json"
}

space() {
    local epochs="${EPOCHS:-1}" rounds="${ROUNDS:-1}" round mine peer
    local table=(
        --param 'learning_rate=loguniform(1e-6,1e-1)' --param 'batch_size=lograndint(8,256)'
        --param 'momentum=uniform(0,0.99)' --param 'activation=choice(tanh,relu)'
        --param 'units=lograndint(32,1024)' --param 'layers=randint(1,6)'
    )
    search drawn --epochs 0 "${table[@]}"
    deal "$scratch/drawn.json"
    for ((round = 1; round <= rounds; round++)); do
        search ours --epochs "$epochs" "${table[@]}"
        [[ "$(params ours)" == "$(params drawn)" ]] || die "the two searches drew other configs"
        summary ours seconds >>"$scratch/warpsweep.seconds"
        on_every_core torch_space.py --configs "$scratch/configs{}" --threads 1 --epochs "$epochs" \
            >"$scratch/torch.lines"
        field wall <"$scratch/torch.lines" | largest >>"$scratch/torch.seconds"
        field GFLOP/s <"$scratch/torch.lines" | total >>"$scratch/torch.rates"
        printf 'round %s  warpsweep %.2f s, torch %.2f s (%.1f GFLOP/s in all)\n' "$round" \
            "$(tail -n 1 "$scratch/warpsweep.seconds")" "$(tail -n 1 "$scratch/torch.seconds")" \
            "$(tail -n 1 "$scratch/torch.rates")"
    done
    mine="$(median "$scratch/warpsweep.seconds")"
    peer="$(median "$scratch/torch.seconds")"
    printf 'median   warpsweep %.2f s, torch %.2f s, %s processes of one thread\n' "$mine" "$peer" "$cores"
    printf 'ratio    %s x torch (%s, float32, Fashion-MNIST, MLP space, %s trials, %s epochs, seed %s)\n' \
        "$(ratio "$peer" "$mine")" "$(summary ours device)" "$trials" "$epochs" "$seed"
}

case "$mode" in
softmax | space) "$mode" ;;
*) die "unknown mode $mode; take softmax or space" ;;
esac
