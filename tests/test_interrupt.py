"""The scripts while they are being imported, which takes seconds because of torch."""
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
every_script = pytest.mark.parametrize("script", ["trainer.py", "evaler.py", "download.py"])


def importing(script, h5py, folder):
    """The script with that in place of h5py, which all of them import, the evaluator once it has read its flags."""
    (folder / "h5py.py").write_text(h5py)
    # A test run in the background of a shell ignores SIGINT, and so would its children.
    flags = ["--checkpoint", "none"] if script == "evaler.py" else []
    return subprocess.run([sys.executable, ROOT / script, *flags], env={**os.environ, "PYTHONPATH": str(folder)},
                          timeout=60, capture_output=True, text=True, check=False,
                          preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))


@every_script
def test_an_interrupt_ends_in_one_line(script, tmp_path):
    done = importing(script, "import signal\nsignal.raise_signal(signal.SIGINT)\n", tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", f"{script}: interrupted\n")


@every_script
def test_a_package_that_is_not_there_is_named_in_one_line(script, tmp_path):
    done = importing(script, "import nowhere\n", tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"{script}: error: {sys.executable} has no package nowhere; use the Python of")
    assert len(done.stderr.splitlines()) == 1


@every_script
def test_another_error_is_told_whole(script, tmp_path):
    done = importing(script, "raise ImportError('no library')\n", tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback")
    assert done.stderr.endswith("ImportError: no library\n")
