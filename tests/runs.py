"""Runs of the trainer and of the evaluator, and what they leave behind."""
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

import evaler
from engine import state

ROOT = Path(__file__).resolve().parents[1]
TOY = ("--dataset", "Grey8", "--labels", "8", "--batch_size", "8", "--device", "cpu")


def command(*argv):
    return [sys.executable, str(ROOT / "trainer.py"), *map(str, argv)]


def trainer(*argv, cwd):
    return subprocess.run(command(*argv), cwd=cwd, capture_output=True, text=True, check=False, timeout=300)


def started(*argv, cwd, number=signal.SIGINT):
    """The process of a trainer that has written a first line of metrics and heeds that signal."""
    # A test run in the background, or under nohup, ignores the signal, and so would its children.
    process = subprocess.Popen(command(*argv), cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               preexec_fn=lambda: signal.signal(number, signal.SIG_DFL))
    for _ in range(3000):
        if any(metrics.stat().st_size for metrics in cwd.glob("train_dir/*/metrics.jsonl")):
            break
        time.sleep(0.02)
    return process


def interrupted(*argv, cwd, number=signal.SIGINT):
    """The trainer, sent that signal when a first line of metrics is there."""
    process = started(*argv, cwd=cwd, number=number)
    process.send_signal(number)
    out, errors = process.communicate(timeout=60)
    return subprocess.CompletedProcess(process.args, process.returncode, out, errors)


def only_run(folder):
    """The one run folder under folder/train_dir."""
    (run,) = (folder / "train_dir").iterdir()
    return run


def weights(run):
    """Raw and averaged weights of the newest checkpoint, by name."""
    saved = state.load(state.find(run))
    return {f"{net}.{name}": value for net, values in {**saved["nets"], "averaged": saved["averaged"]}.items()
            for name, value in values.items()}


def differing(ours, theirs):
    """The names of the weights that are not bitwise the same."""
    assert ours.keys() == theirs.keys()
    return [name for name in ours if not torch.equal(ours[name], theirs[name])]


def evaluated(folder, *flags):
    """What an evaluation writes to eval.json."""
    evaler.main(["--checkpoint", str(folder), *flags])
    return json.loads(((folder if folder.is_dir() else folder.parent) / "eval" / "eval.json").read_text())


def edit(path, change):
    """Change a checkpoint in place."""
    saved = torch.load(path, weights_only=True)
    change(saved)
    path.unlink()
    torch.save(saved, path)
