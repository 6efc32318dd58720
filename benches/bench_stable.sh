#!/usr/bin/env bash
# Is the bench itself to be trusted? Three questions, each asked again and again on this machine as it is:
#
#   benches/bench_stable.sh [REPEATS] [FOLDER]     default: 20 repeats, into target/bench_stable
#
# 1. The same program twice: does `--baseline` call any point faster or slower, though nothing changed?
# 2. With 10 % more work planted in the suite `known` (WARPSWEEP_BENCH_SLOWDOWN=10, which nothing else
#    reads): are its points found slower?
# 3. Are times right? A sleep of 20 ms, a copy in units of the reference's copy, and 10 % more of anything.
#
# Runs are kept in FOLDER and are not measured again, so that it can be stopped and gone on with. Nothing
# has to be quiet: keep the machine busy with something else to make it hard. A repeat takes a minute.
# $WARPSWEEP is the program, $LIMIT the seconds a point (5).
set -euo pipefail

repeats="${1:-20}"
here="$(cd "$(dirname "$0")/.." && pwd)"
folder="${2:-$here/target/bench_stable}"
program="${WARPSWEEP:-$here/target/release/warpsweep}"
mkdir -p "$folder"

# measure FILE SUITES...: a run of suites into a file, unless it is there.
measure() {
    local to="$folder/$1"
    shift
    if [[ ! -s "$to" ]]; then
        "$program" bench "$@" --device cpu --data synthetic --quiet --time-limit "${LIMIT:-5}" \
            --output "$to.part" --format json >/dev/null
        mv "$to.part" "$to"
    fi
}

# Work of every kind: sleeps, copies and products of known cost, single products, whole training.
all=(known gemm train --axis product=forward,weight_gradient --axis batch=16,256 --axis units=10,256
    --axis trials=1)
measure same_0.json "${all[@]}"
for ((i = 1; i <= repeats; i++)); do
    WARPSWEEP_BENCH_SLOWDOWN=10 measure "slow_$i.json" known
    measure "same_$i.json" "${all[@]}"
    for kind in same slow; do
        "$program" bench --render "$folder/${kind}_$i.json" --baseline "$folder/same_$((i - 1)).json" \
            --format json --output "$folder/${kind}_$i.compared"
    done
done

python3 - "$folder" "$repeats" <<'PYTHON'
import collections, json, pathlib, statistics, sys

folder, repeats = pathlib.Path(sys.argv[1]), int(sys.argv[2])
for kind, title in [("same", "nothing changed"), ("slow", "10 % more work was planted")]:
    found = collections.defaultdict(collections.Counter)
    for i in range(1, repeats + 1):
        for point in json.loads((folder / f"{kind}_{i}.compared").read_text())["points"]:
            name = " ".join([point["suite"], *map(str, point["axes"].values())])
            found[name][(point.get("baseline") or {}).get("verdict", "too little")] += 1
    print(f"\n{title}, {repeats} repeats:")
    total = collections.Counter()
    for name, verdicts in found.items():
        total.update(verdicts)
        print(f"  {name:48}", ", ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items())))
    print(f"  {'all':48}", ", ".join(f"{count} {verdict}" for verdict, count in sorted(total.items())))

print("\nmeasured beside what is known, median (least to most) of all runs:")
shares = collections.defaultdict(list)
for i in range(1, repeats + 1):
    for point in json.loads((folder / f"slow_{i}.compared").read_text())["points"]:
        if point.get("baseline"):
            shares[f"{point['axes']['op']}, 10 % more of it"].append(point["baseline"]["ratio"]["middle"] / 1.1)
    for point in json.loads((folder / f"same_{i}.json").read_text())["points"]:
        measured = point.get("measured")
        if point["suite"] != "known" or not measured:
            continue
        if point["axes"]["op"] == "sleep":
            shares["sleep"].append(measured["time"]["median"] / 20e-3)
        if point["axes"]["op"] == "copy":
            # What the reference copies in a call's processor time, beside what the call copies.
            costs = [round["processor"] * round["reference_processor"] for round in measured["rounds"]]
            shares["copy"].append(statistics.median(costs) / measured["work"]["bytes"])
for name, values in shares.items():
    low, middle, high = min(values), statistics.median(values), max(values)
    print(f"  {name:48} {100 * middle:6.1f} % ({100 * low:.1f} to {100 * high:.1f})")
PYTHON
