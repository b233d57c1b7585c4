"""The mean over runs of one configuration that were trained one by one."""
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from config import UserError
from engine import evaluate, report, state

# Settings that make another sample of the same thing, or none at all.
MAY_DIFFER = {"seed", "label_seed", "labelled", "device", "data", "threads", "graph", "compile", "log_every",
              "eval_every", "sample_every", "save_every", "keep", "prefix", "train_dir", "data_dir", "density"}


def over(asked: Sequence[str], data_dir: str, device: str) -> None:
    """Count the errors of each run asked for (as --checkpoint), print them and their mean as `report.mean` does, and
    write them beside the first run. UserError where they are not finished runs of one configuration, each another."""
    check(asked)
    runs = []
    for one in asked:
        path, saved = state.selected(one)
        run = evaluate.restore(saved, path, data_dir, device)
        images, labels = run.data.arrays.test_image, run.data.arrays.test_label
        wrong = evaluate.errors(run.averaged, images, labels, run.device)
        runs.append({"run": str(path.parent), "checkpoint": path.name, "seed": run.cfg.seed,
                     "label_seed": run.cfg.label_seed, "labelled_digest": saved["labelled_digest"], "errors": wrong,
                     "accuracy": 1 - wrong / len(labels)})
        print(f"{path.parent}: test accuracy {report.accuracy(wrong, len(labels), saved['step'], run.cfg.average)}",
              flush=True)
    report.mean(runs, Path(runs[0]["run"]).resolve().parent)


def check(asked: Sequence[str]) -> None:
    """UserError where they are not finished runs of one configuration, each another."""
    first: dict[str, Any] = {}
    seen: dict[tuple[int, str], Path] = {}
    for one in asked:
        path, saved = state.selected(one)
        recipe, cfg = evaluate.settings(saved, path)
        if not recipe.classifies:
            raise UserError(f"--checkpoint {one}: a run of {cfg.recipe} has no accuracy, of which there were a mean; "
                            "leave it out")
        last = path if Path(one).is_file() else state.checkpoints(path.parent)[-1]
        if last.name != f"model-{cfg.steps}.pt":
            raise UserError(f"--checkpoint {one}: {last.name} of {cfg.steps} steps; end it first, with\n"
                            f"python trainer.py --checkpoint {path.parent}")
        facts = {f"--{name}": value for name, value in saved["settings"].items() if name not in MAY_DIFFER}
        with state.fitting(path, "data"):
            facts["images"] = saved["data"]["digest"][:12]
        first = first or facts
        if other := [name for name in first if facts.get(name) != first[name]]:
            raise UserError(f"--checkpoint {one}: not of the same configuration as {asked[0]}: {other[0]} "
                            f"{facts.get(other[0])}, there {first[other[0]]}; name runs that differ in their seeds")
        if (twin := seen.setdefault((cfg.seed, saved["labelled_digest"]), path)) is not path:
            raise UserError(f"--checkpoint {one}: the seed and labelled images of {twin.parent}; name each run once")
