"""A run in words and numbers: reads and writes text only."""
import contextlib
import json
import re
import shlex
from pathlib import Path
from typing import Any

from datasets import files
from engine.log import read_metrics

SHOWN = 20  # classes in the printed table
NETWORK = {  # settings of a model's discriminator, and the usual ones
    "conv-small": {"pool": "average", "scales": "standardised"}, "conv-large": {"normalise": False},
    "ssgan": {"norm_type": "batch"}}
TRAINING = ("batch_size", "learning_rate_d", "decay_from", "average", "precision", "flip", "shift", "select")
LIMITS = (  # said on the card
    "It knows the classes above and no others: whatever it is shown is put into one of them.",
    "Its accuracy is that on test images from the same source as the training images; pictures of another camera, crop "
    "or time may be read worse. `evaler.py --predict` marks those that look unlike the training images.",
    "One run with one seed; a number to compare methods by is a mean over several (README.md).")
Curve = tuple[list[int], list[float]]  # steps and values


def curves(folder: Path) -> dict[str, Curve]:
    """The curves in the metrics.jsonl of a run folder, by name; none where there is no such file."""
    found: dict[str, Curve] = {}
    for line in read_metrics(folder):
        step = line.pop("step")
        for name, value in line.items():
            steps, values = found.setdefault(name, ([], []))
            steps.append(step)
            values.append(value)
    return found


def baseline(folder: Path, facts: dict[str, Any]) -> dict[str, Any] | None:
    """The finished `supervised` run beside the run `folder` with the labelled images, data, network and seed of
    `facts` (what the run's config.json holds): its accuracy, folder name, and the step that counts. Of several, that
    which differs least from the run in how it was trained, of these the longest, of these the newest. None if there is
    none, or if the run is supervised itself."""
    if facts["settings"]["recipe"] == "supervised":
        return None
    wanted = _identity(facts) | {"recipe": "supervised"}
    found = []
    for config in folder.resolve().parent.glob("*/config.json"):
        # A neighbour that cannot be read, or was written by something else, is no baseline and no reason to stop.
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            other = json.loads(config.read_text())
            if config.parent.is_symlink() or _identity(other) != wanted:
                continue
            steps, accuracies = (seen := curves(config.parent))["accuracy/test"]
            at = -1
            if other["settings"].get("select") == "validation":
                at = seen["accuracy/validation"][1].index(max(seen["accuracy/validation"][1]))
            if steps[-1] == other["settings"]["steps"] and 0 <= accuracies[at] <= 1:
                newest = (config.parent / "metrics.jsonl").stat().st_mtime
                alike = sum(other["settings"].get(name) == facts["settings"].get(name) for name in TRAINING)
                found.append((alike, steps[-1], newest, config.parent.name, steps[at], accuracies[at]))
    if not found:
        return None
    *_, run, step, accuracy = max(found)
    return {"accuracy": accuracy, "run": run, "steps": step}


def _identity(facts: dict[str, Any]) -> dict[str, Any]:
    settings = {name: facts["settings"][name] for name in ("recipe", "dataset", "model", "seed")}
    usual = NETWORK.get(settings["model"], {})
    settings |= {name: facts["settings"].get(name, value) for name, value in usual.items()}
    return settings | {"labelled": facts["labelled_digest"], "data": facts["data"]}


def summary(result: dict[str, Any]) -> str:
    """What eval.json holds, for a reader; of many classes, those with the most errors."""
    if "bits_per_dimension" in result:
        return (f"{result['recipe']} on {result['dataset']}, step {result['step']}: test images "
                f"{result['bits_per_dimension']:.4f} bits per dimension, with raw weights "
                f"{result['bits_per_dimension_raw_weights']:.4f}")
    if "accuracy" not in result:
        return f"{result['recipe']} on {result['dataset']}, step {result['step']}: no classifier, so no accuracy"
    n, beside = result["test_images"], result["supervised_baseline"]
    lines = [f"{result['recipe']} on {result['dataset']}, {result['labels']} labels",
             f"test accuracy {accuracy(result['errors'], n, result['step'], result['average'])}"]
    if result["selection"].startswith("best"):
        lines.append(result["selection"])
    if result["average"]:
        lines.append(f"with raw weights {_share(result['errors_raw_weights'], n)}")
    if beside:
        share = _share(beside["errors"], n, f"{beside['steps']} steps", beside["run"])
        lines.append(f"the same classifier on the {result['labels']} labels alone {share}")
    elif result["recipe"] != "supervised":
        lines.append("the same classifier on the labels alone: no such run beside this one (--recipe supervised)")
    lines += [f"negative log-likelihood {result['nll']:.4f} nats, calibration error {result['ece']:.2%}", ""]
    return "\n".join(lines + _table(result["per_class"], result["confusion"]))


def accuracy(errors: int, images: int, step: int, average: float) -> str:
    """The accuracy of the evaluated weights in words; `average` is the decay of their average, 0 if there is none."""
    return _share(errors, images, f"{'averaged ' if average else ''}weights of step {step}")


def share_right(text: str) -> float | None:
    """The first accuracy that `accuracy` put into the text, from its counts; None if there is none."""
    found = re.search(r"\((\d+) of (\d+) wrong", text)
    return 1 - int(found[1]) / int(found[2]) if found else None


def folder_named(text: str) -> str | None:
    """The run folder that the trainer's last words name; None if they name none."""
    found = re.search(r"--checkpoint (.+)$", text.strip(), re.DOTALL)
    return found and shlex.split(found[1])[0]


def _share(errors: int, images: int, *notes: str) -> str:
    return f"{1 - errors / images:.2%} ({'; '.join([f'{errors} of {images} wrong', *notes])})"


def _table(per_class: list[dict], confusion: list[list[int]]) -> list[str]:
    rows = list(range(len(per_class)))
    if len(rows) > SHOWN:
        rows = sorted(rows, key=lambda k: -per_class[k]["errors"])[:SHOWN]
    width = max(len("class"), *(len(per_class[k]["class"]) for k in rows))
    lines = [f"{'class':{width}}  images  errors  accuracy  taken for"]
    for k in rows:
        row = per_class[k]
        accuracy = "-" if row["accuracy"] is None else f"{row['accuracy']:.2%}"
        others = sorted((j for j, n in enumerate(confusion[k]) if n and j != k), key=lambda j: -confusion[k][j])
        taken = ", ".join(f"{per_class[j]['class']} ({confusion[k][j]})" for j in others[:3])
        lines.append(f"{row['class']:{width}}  {row['images']:6}  {row['errors']:6}  {accuracy:>8}  {taken}".rstrip())
    if len(rows) < len(per_class):
        lines.append(f"(the {SHOWN} of {len(per_class)} classes with the most errors; all are in eval.json)")
    return lines


def card(result: dict[str, Any], recipe: str, source: str, shape: tuple[int, int, int]) -> str:
    """A run in one page of Markdown for others to read: what it was trained on, by which protocol, how well it does,
    and what it is not good for; from what `evaluate.result` found. `recipe` and `source` are citations."""
    classes = [row["class"] for row in result["per_class"]] if "per_class" in result else []
    wanted = f"{result['labels']} images of the training set are labelled"
    which = "named by a file or `all`" if result["labelled"] else \
        f"the same number of each class, label seed {result['label_seed']}"
    hidden = "every other label was hidden"
    if result["validation_images"]:
        hidden = (f"those of {result['validation_images']} others were used for accuracies only, by which a checkpoint "
                  f"or a temperature may be chosen; {hidden}")
    longer = any(entry.get("steps_before", result["steps"]) != result["steps"]
                 for entry in result["versions"]["resumed"])
    lines = [f"# {result['recipe']} on {result['dataset']}", "",
             f"Method: {recipe}. Network: `{result['model']}`.", "",
             "## Data", "",
             f"{source}. {' x '.join(map(str, shape))} pixels (height x width x channels); digest "
             f"{result['data_digest'][:12]}.",
             f"Classes ({len(classes)}): {', '.join(classes)}." if classes else "No classes.", "",
             "## Labels and protocol", "",
             f"* {wanted} ({which}; digest {result['labelled_digest'][:12]}); {hidden}."
             if classes else "* No label was used.",
             f"* Seed {result['seed']}, {result['step']} of {result['steps']} steps. Reported: {result['selection']}.",
             f"* Trained by `{result['command']}`{', but made longer on its way (Versions)' if longer else ''}.", ""]
    if classes:
        lines += ["## Numbers", "", *_numbers(result), ""]
    elif "bits_per_dimension" in result:
        lines += ["## Numbers", "", f"* {summary(result)}.", ""]
    lines += ["## Versions", "", *_versions(result["versions"]), "",
              "## Limits", "", *(f"* {limit}" for limit in (LIMITS if classes else LIMITS[2:]))]
    return "\n".join(lines) + "\n"


def _numbers(result: dict[str, Any]) -> list[str]:
    n, beside = result["test_images"], result["supervised_baseline"]
    lines = [f"* Test accuracy {accuracy(result['errors'], n, result['step'], result['average'])}."]
    if beside:
        lines.append(f"* The same classifier on the labels alone: {beside['accuracy']:.2%} (step {beside['steps']} of "
                     f"{beside['run']}).")
    lines.append(f"* Negative log-likelihood {result['nll']:.4f} nats, calibration error {result['ece']:.2%} (before "
                 "the temperature that `--predict` fits).")
    worst = sorted((row for row in result["per_class"] if row["errors"]), key=lambda row: -row["errors"])[:3]
    if worst:
        lines.append("* Most mistakes: " + ", ".join(f"{row['class']} ({row['accuracy']:.1%} right)" for row in worst)
                     + ".")
    return lines


def _versions(versions: dict[str, Any]) -> list[str]:
    lines = [f"* Trained with {_listed(versions['training'])}."]
    lines += [f"* From step {entry['step']} with {_listed(entry['versions'])}; the run was to have "
              f"{entry.get('steps_before', 'as many')} steps before." for entry in versions["resumed"]]
    return [*lines, f"* Evaluated with {_listed(versions['evaluation'])}."]


def _listed(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def write(path: Path, result: dict[str, Any]) -> None:
    """Write the result as JSON, as `files.store` does."""
    files.store(path, (json.dumps(result, indent=1, allow_nan=False) + "\n").encode())
