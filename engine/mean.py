"""The mean over runs of one configuration that were trained one by one."""
import os
import re
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from config import Config, UserError, as_dict
from engine import command, evaluate, report, restore, state

# Settings that make another sample of the same thing, or no difference; some are compared in another way below.
MAY_DIFFER = (command.MAY_CHANGE - {"steps", "epochs"}) | {"seed", "label_seed", "labelled", "threads", "compile",
                                                           "prefix", "train_dir"}


def over(asked: Sequence[str], data_dir: str, device: str) -> None:
    """Count the errors of each run asked for (as --checkpoint), print them and their mean as `tell` does, and
    write them beside the first run. UserError where they are not finished runs of one configuration, each another."""
    # RUNS/* may name those, too.
    asked = [one for one in asked if not re.fullmatch(r"seeds-[\d-]+\.json", Path(one).name)]
    if len(asked) < 2:
        raise UserError("--checkpoint: a mean needs two runs or more")
    common = check(asked)
    runs = [judged(one, data_dir, device) for one in asked]
    tell(runs, Path(os.path.abspath(state.find(asked[0]).parent)).parent, configuration=common)


def tell(runs: list[dict[str, Any]], folder: Path, **common: Any) -> None:
    """Print the mean of the accuracies of those runs that have one, and their deviation as a sample's (n - 1); write
    both with what is known of each run and is common to all to seeds-<time>.json in `folder`. Nothing of fewer than
    two."""
    shares = [run["accuracy"] for run in runs if run["accuracy"] is not None]
    if len(shares) < 2:
        return
    found = {"mean": statistics.mean(shares), "standard_deviation": statistics.stdev(shares), "n": len(shares)}
    missing = len(runs) - len(shares)
    print(f"test accuracy {100 * found['mean']:.2f} ± {100 * found['standard_deviation']:.2f} % (mean and sample "
          f"standard deviation of {len(shares)} runs{f'; {missing} more did not finish' if missing else ''})")
    path = folder / f"seeds-{time.strftime('%Y%m%d-%H%M%S')}.json"
    report.write(path, {**found, **common, "runs": runs})
    print(path)


def judged(asked: str, data_dir: str, device: str) -> dict[str, Any]:
    """What is kept of one run; its accuracy is printed."""
    path, saved = state.selected(asked)
    run = restore.run(saved, path, data_dir, device)
    images, labels = run.data.arrays.test_image, run.data.arrays.test_label
    wrong = evaluate.errors(run.averaged, images, labels, run.device)
    told = {"command": command.line(run.cfg, run.data.spec), **facts(path, saved)}
    print(f"{path.parent}: test accuracy {report.accuracy(wrong, len(labels), saved['step'], run.cfg.average)}; "
          f"{told['selection']}", flush=True)
    return {**told, "errors": wrong, "test_images": len(labels), "accuracy": 1 - wrong / len(labels)}


def facts(path: Path, saved: dict[str, Any]) -> dict[str, Any]:
    """Which run that checkpoint is of, and what makes it another sample than its neighbours."""
    return {"run": path.parent.resolve().name, "checkpoint": path.name,
            "selection": saved.get("selection", "the last step"), "seed": saved["settings"]["seed"],
            "label_seed": saved["settings"]["label_seed"], "labelled_digest": saved["labelled_digest"],
            "versions": saved["versions"]}


def check(asked: Sequence[str]) -> dict[str, Any]:
    """The configuration of those runs. UserError where they are not finished runs of one, each another."""
    first: dict[str, Any] = {}
    seen: dict[tuple, Path] = {}
    for one in asked:
        path = state.find(one)  # of a folder the newest, which knows how long the run is
        saved = state.load(path)
        recipe, cfg = restore.settings(saved, path)
        if not recipe.classifies:
            raise UserError(f"--checkpoint {one}: a run of {cfg.recipe} has no accuracy to take a mean of; leave it "
                            "out")
        if saved["step"] != cfg.steps:
            raise UserError(f"--checkpoint {one}: step {saved['step']} of {cfg.steps}; name the run's folder, or end "
                            f"the run with\npython trainer.py --checkpoint {path.parent}")
        with state.fitting(path, "contents"):
            own = configuration(cfg, saved)
            sample = cfg.seed, str(saved["labelled_digest"]), tuple(saved["validation"].tolist())
        first = first or own
        if other := [name for name in first | own if own.get(name) != first.get(name)]:
            raise UserError(f"--checkpoint {one}: not of the same configuration as {asked[0]}: {other[0]} "
                            f"{own.get(other[0])}, there {first.get(other[0])}; name runs that differ in their seeds")
        if (twin := seen.setdefault(sample, path)) is not path:
            raise UserError(f"--checkpoint {one}: the seed and labelled images of {twin.parent}; name each run once")
    return first


def configuration(cfg: Config, saved: dict[str, Any]) -> dict[str, Any]:
    """What must be the same in runs of which a mean is made."""
    facts = {f"--{name}": value for name, value in as_dict(cfg).items() if name not in MAY_DIFFER}
    facts["--labelled"] = "given" if cfg.labelled else "not given"
    if cfg.select == "validation":  # it is selected among these
        facts["--eval_every"] = cfg.eval_every
    if density := saved["nets"].get("density"):
        facts["--density, digest"] = bytes(density["digest"].tolist()).hex()[:12]
    # Rates and ramps of a run that was made longer are those of the former length up to there.
    facts["steps before"] = [entry["steps_before"] for entry in saved["resumed"]
                             if entry.get("steps_before", cfg.steps) != cfg.steps] or "the same"
    return facts | {"classes": saved["data"]["class_names"], "images, digest": str(saved["data"]["digest"])[:12]}
