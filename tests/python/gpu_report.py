#!/usr/bin/env python3
"""What tests/gpu.sh measured, as a JSON and a Markdown file.

usage: gpu_report.py configs SEARCH.log STRIDE          every STRIDE-th config of a search, a JSON object a line
       gpu_report.py data FOLDER                        a tiny data set, for checks that slow a search down
       gpu_report.py report OUT COMMIT STRIDE GPU       OUT/gpu.json and OUT/gpu.md from OUT/steps and the logs
"""
import datetime
import json
import pathlib
import random
import re
import struct
import sys

RESULTS = {0: "passed", 77: "left out", 124: "out of time", 137: "out of time"}


def events(log):
    """The JSON lines of a search's log: what stands between them are warnings."""
    for line in log.splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict):
            yield event


def configs(log, stride):
    trials = sorted((e for e in events(log) if e.get("event") == "trial"), key=lambda e: e["number"])
    return [trial["params"] for trial in trials[::stride]]


def cost(config):
    """What a trial costs who trains it alone: small models wait for launches, a few a layer and step."""
    return -(-60000 // int(config["batch_size"])) * (int(config["layers"]) + 1)


def scale(log, stride):
    """The cost of all trials over that of every stride-th."""
    sample = sum(map(cost, configs(log, stride)))
    return sum(map(cost, configs(log, 1))) / sample if sample else None


def write_data(folder):
    """500 random images to train on, 100 to test on, 14 x 14, ten classes."""
    folder.mkdir(exist_ok=True)
    draw = random.Random(1)
    for part, count in (("train", 500), ("t10k", 100)):
        pixels, labels = draw.randbytes(count * 14 * 14), bytes(i % 10 for i in range(count))
        (folder / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">4I", 0x803, count, 14, 14) + pixels)
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 0x801, count) + labels)


class Logs:
    """The logs of the steps that ended well: a figure of another is none."""

    def __init__(self, out, steps):
        self.out, self.good = out, {step["name"] for step in steps if step["status"] == 0}

    def text(self, name):
        return (self.out / f"{name}.log").read_text(errors="replace") if name in self.good else ""

    def field(self, name, key):
        """The number behind the last KEY= (or KEY and a space) in a log."""
        found = re.findall(rf"(?:^|\s){re.escape(key)}[= ]([0-9.]+(?:e[+-]?[0-9]+)?)", self.text(name))
        return float(found[-1]) if found else None

    def summary(self, name, key):
        found = [e for e in events(self.text(name)) if e.get("event") == "summary"]
        return found[-1].get(key) if found else None


def products(out):
    """What `warpsweep bench gemm` measured, a dictionary a product."""
    for path in sorted(out.glob("gemm_*.json")):
        try:
            points = json.loads(path.read_text())["points"]
        except ValueError:
            continue  # cut off with its step, which says so
        for axes, measured in ((point["axes"], point["measured"]) for point in points if "measured" in point):
            seconds, cublas = measured["time"]["median"], measured.get("cublas_seconds")
            yield {"precision": axes["precision"], "product": axes["product"], "m": axes["batch"], "n": axes["units"],
                   "k": axes["inputs"], "group": axes["trials"], "tile": measured["conditions"]["tile"], "seconds": seconds,
                   "tflops": measured["work"]["flop"] / seconds / 1e12,
                   "speed_beside_cublas": cublas / seconds if cublas else None}


def over(a, b):
    return a / b if a and b else None


def least(values):
    values = [value for value in values if value is not None]
    return min(values, default=None)


def greatest(values):
    values = [value for value in values if value is not None]
    return max(values, default=None)


def rows(logs, gemm, stride):
    """The open rows: (what, bar, figure, whether more is better, beside what)."""
    beside = [m for m in gemm["measurements"] if m["speed_beside_cublas"] is not None]

    def slowest(precision, square):
        squares = lambda m: m["m"] == m["n"] == m["k"] and m["group"] == 1
        return least(m["speed_beside_cublas"] for m in beside if m["precision"] == precision and squares(m) == square)

    for precision in ("fp32", "tf32"):
        yield f"GEMM {precision}, squares: slowest x cuBLAS", 0.95, slowest(precision, True), True, ""
        yield f"GEMM {precision}, skinny and grouped: slowest x cuBLAS", 1.0, slowest(precision, False), True, ""

    told = lambda what, value: f"{what} {value:.4g}" if value else f"{what} open"
    space, log = logs.summary("space", "seconds"), logs.text("space")

    def all_of(name, key, stride):
        sample, factor = logs.field(name, key), scale(log, stride)
        return sample and factor and sample * factor

    torch = all_of("space_torch", "wall", stride)
    jax, waits = (all_of("space_jax", key, 4 * stride) for key in ("run", "wall"))
    yield ("MLP table space: x the best of PyTorch and JAX", 10, over(least([torch, jax]), space), True,
           ", ".join([told("ours s", space), told("torch s", torch), told("JAX s, without compiling", jax), told("with", waits)])
           + f"; theirs from one trial in {stride} and in {4 * stride}, scaled by steps x layers")

    for what, name, bar, least_rate in (("softmax regression", "softmax", 50, 13000), ("one hidden layer of 128", "mlp", 20, None)):
        mine = logs.summary(name, "trial_epochs_per_second")
        peers = {f"{peer}": logs.field(f"{name}_{peer}", "epoch-trials/s") for peer in ("torch", "jax_wide", "jax_vmap")}
        figures = ", ".join([told("ours", mine)] + [told(peer, rate) for peer, rate in peers.items()]) + " trial-epochs/s"
        if least_rate:
            yield f"{what}: trial-epochs/s", least_rate, mine, True, figures
        yield f"{what}: x the best of PyTorch and JAX", bar, over(mine, greatest(peers.values())), True, figures

    walls = sorted(wall for run in ("warm1", "warm2", "warm3") if (wall := logs.field(f"five_{run}", "wall")))
    median = walls[len(walls) // 2] if walls else None
    yield "five trials, start to end: s", 1.0, median, False, told("the first, which compiles the kernels, s", logs.field("five_cold", "wall"))


def verdict(bar, figure, more):
    if figure is None:
        return "open"
    return "met" if (figure >= bar if more else figure <= bar) else "missed"


def report(out, commit, stride, gpu):
    steps = []
    for line in (out / "steps").read_text().splitlines():
        name, status, seconds = line.split()
        log = (out / f"{name}.log").read_text(errors="replace")
        steps.append({"name": name, "status": int(status), "seconds": int(seconds), "end": log.splitlines()[-12:]})
    gemm = {"measurements": list(products(out))}
    keys = ("row", "bar", "figure", "more_is_better", "beside")
    table = [dict(zip(keys, row)) for row in rows(Logs(out, steps), gemm, stride)]
    for row in table:
        row["verdict"] = verdict(row["bar"], row["figure"], row["more_is_better"])
    date = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    whole = {"gpu": gpu, "date": date, "commit": commit, "rows": table, "steps": steps, "gemm": gemm}
    (out / "gpu.json").write_text(json.dumps(whole, indent=1) + "\n")
    (out / "gpu.md").write_text("\n".join(markdown(whole)) + "\n")


def markdown(whole):
    yield from [f"# On a GPU: {whole['gpu']}", "", f"{whole['date']}, commit {whole['commit']}", ""]
    yield from ["| row | bar | figure | | beside |", "|---|---|---|---|---|"]
    for row in whole["rows"]:
        figure = "" if row["figure"] is None else f"{row['figure']:.4g}"
        bar = f"{'at least' if row['more_is_better'] else 'at most'} {row['bar']:g}"
        yield f"| {row['row']} | {bar} | {figure} | {row['verdict']} | {row['beside']} |"
    yield from ["", "| step | result | seconds |", "|---|---|---|"]
    for step in whole["steps"]:
        result = RESULTS.get(step["status"], f"failed ({step['status']})")
        yield f"| {step['name']} | {result} | {step['seconds']} |"
    if whole["gemm"]["measurements"]:
        yield from ["", "| precision | product | rows | outputs | inputs | group | tile | us | TFLOP/s | x cuBLAS |",
                    "|---|---|---|---|---|---|---|---|---|---|"]
        for m in whole["gemm"]["measurements"]:
            beside = m["speed_beside_cublas"]
            cells = [m["precision"], m["product"], m["m"], m["n"], m["k"], m["group"], m["tile"],
                     f"{m['seconds'] * 1e6:.1f}", f"{m['tflops']:.2f}", "" if beside is None else f"{beside:.2f}"]
            yield "| " + " | ".join(map(str, cells)) + " |"
    for step in whole["steps"]:
        # Tests that passed have nothing to tell.
        if step["status"] or not step["name"].startswith("cuda_"):
            yield from ["", f"## {step['name']}", "", "```", *(line[:400] for line in step["end"]), "```"]


if __name__ == "__main__":
    if sys.argv[1] == "configs":
        log = pathlib.Path(sys.argv[2]).read_text(errors="replace")
        for config in configs(log, int(sys.argv[3])):
            print(json.dumps(config))
    elif sys.argv[1] == "data":
        write_data(pathlib.Path(sys.argv[2]))
    else:
        report(pathlib.Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]), sys.argv[5])
