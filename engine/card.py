"""A run in one page for others to read: what it was trained on, by which protocol, how well it does, and what it is not
good for."""
from typing import Any

from engine import report

LIMITS = ("It knows the classes above and no others: whatever it is shown is put into one of them.",
          "Its accuracy is that on test images from the same source as the training images; pictures of another "
          "camera, crop or time may be read worse. `evaler.py --predict` marks those that look unlike the training "
          "images.",
          "One run with one seed; a number to compare methods by is a mean over several (README.md).")


def text(result: dict[str, Any], recipe: str, source: str, shape: tuple[int, int, int]) -> str:
    """The page in Markdown, from what `evaluate.judge` found; `recipe` and `source` are citations."""
    classes = [row["class"] for row in result["per_class"]] if "per_class" in result else []
    wanted = f"{result['labels']} images of the training set are labelled"
    which = "named by a file or `all`" if result["labelled"] else \
        f"the same number of each class, label seed {result['label_seed']}"
    lines = [f"# {result['recipe']} on {result['dataset']}", "",
             f"Method: {recipe}. Network: `{result['model']}`.", "",
             "## Data", "",
             f"{source}. {' x '.join(map(str, shape))} pixels (height x width x channels); digest "
             f"{result['data_digest'][:12]}.",
             f"Classes ({len(classes)}): {', '.join(classes)}." if classes else "No classes.", "",
             "## Labels and protocol", "",
             f"* {wanted} ({which}; digest {result['labelled_digest'][:12]}); every other label was hidden."
             if classes else "* No label was used.",
             f"* Seed {result['seed']}, {result['step']} of {result['steps']} steps. Reported: {result['selection']}.",
             ""]
    if classes:
        lines += ["## Numbers", "", *_numbers(result), ""]
    elif "bits_per_dimension" in result:
        lines += ["## Numbers", "", f"* {report.summary(result)}.", ""]
    lines += ["## Versions", "", *_versions(result["versions"]), "",
              "## Limits", "", *(f"* {limit}" for limit in (LIMITS if classes else LIMITS[2:]))]
    return "\n".join(lines) + "\n"


def _numbers(result: dict[str, Any]) -> list[str]:
    n, beside = result["test_images"], result["supervised_baseline"]
    lines = [f"* Test accuracy {report.accuracy(result['errors'], n, result['step'], result['average'])}."]
    if beside:
        lines.append(f"* The same classifier on the labels alone: {beside['accuracy']:.2%}.")
    lines.append(f"* Negative log-likelihood {result['nll']:.4f} nats, calibration error {result['ece']:.2%} (before "
                 "the temperature that `--predict` fits).")
    worst = sorted((row for row in result["per_class"] if row["errors"]), key=lambda row: row["accuracy"])[:3]
    if worst:
        lines.append("* Most mistakes: " + ", ".join(f"{row['class']} ({row['accuracy']:.1%} right)" for row in worst)
                     + ".")
    return lines


def _versions(versions: dict[str, Any]) -> list[str]:
    lines = [f"* Trained with {_listed(versions['training'])}."]
    lines += [f"* From step {entry['step']} with {_listed(entry['versions'])}." for entry in versions["resumed"]]
    return [*lines, f"* Evaluated with {_listed(versions['evaluation'])}."]


def _listed(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())
