"""Checks a study file with Optuna itself.

Usage: check_study.py FILE EXPECTED.json

EXPECTED.json is {"name": ..., "attributes": {...}, "trials": [...]}, each trial with number, state,
value, params, distributions (Optuna's JSON) and intermediate_values. Afterwards one trial is appended
by Optuna, which the writer must tolerate.
"""

import json
import sys

import optuna
from optuna.distributions import json_to_distribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend


def same(what, found, expected):
    # repr tells 1 from 1.0 and True, and -0.0 from 0.0.
    if repr(found) != repr(expected):
        sys.exit(f"{what}: Optuna has {found!r}, expected {expected!r}")


def main():
    path, expected_path = sys.argv[1:]
    with open(expected_path, encoding="utf-8") as file:
        expected = json.load(file)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = JournalStorage(JournalFileBackend(path))
    study = optuna.load_study(study_name=expected["name"], storage=storage)
    same("directions", study.direction, optuna.study.StudyDirection.MINIMIZE)
    for key, value in expected["attributes"].items():
        same(f"study attribute {key}", study.user_attrs.get(key), value)
    same("number of trials", len(study.trials), len(expected["trials"]))
    for trial, want in zip(study.trials, expected["trials"]):
        what = f"trial {want['number']}: "
        same(what + "number", trial.number, want["number"])
        same(what + "state", trial.state.name, want["state"])
        same(what + "value", trial.value, want["value"])
        same(what + "params", trial.params, want["params"])
        distributions = {k: json_to_distribution(v) for k, v in want["distributions"].items()}
        same(what + "distributions", trial.distributions, distributions)
        steps = {int(k): v for k, v in want["intermediate_values"].items()}
        same(what + "intermediate values", trial.intermediate_values, steps)
        for key, value in want["user_attrs"].items():
            same(what + "attribute " + key, trial.user_attrs.get(key), value)
        # Optuna's own consistency checks: values within their distributions, times, values.
        trial._validate()
    complete = [t for t in expected["trials"] if t["state"] == "COMPLETE"]
    same("best", study.best_trial.number, min(complete, key=lambda t: t["value"])["number"])

    # Optuna writes on: a trial of its own, with numbers that JSON has no words for.
    trial = study.ask()
    trial.suggest_float("learning_rate", 1e-4, 1.0, log=True)
    trial.report(float("nan"), 1)
    trial.report(float("-inf"), 2)
    trial.set_user_attr("note", 'NaN in a "text" stays')
    study.tell(trial, 0.75)
    print(f"optuna {optuna.__version__}: {len(expected['trials'])} trials are the same")


if __name__ == "__main__":
    main()
