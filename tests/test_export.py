"""The classifier as a file of its own."""
import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from config import Spec, UserError
from engine import evaluate, export
from models import MODELS
from tests.mirror import mounted

IMAGES = np.random.RandomState(0).randint(0, 256, (5, 16, 16, 3)).astype(np.uint8)
NAMES = ("a", "b ü", "c")
PICTURES = {"height": 16, "width": 16, "channels": 3, "resize": "crop", "values": [0, 255]}
ALONE = """
import json, sys, numpy as np, torch
extra = {"class_names": "", "pictures": ""}
classifier = torch.export.load(sys.argv[1], extra_files=extra).module()
probabilities, real = classifier(torch.from_numpy(np.load(sys.argv[2])))
print(json.dumps([*map(json.loads, extra.values()), probabilities.tolist(), real.tolist()]))
"""


def discriminator(model):
    torch.manual_seed(0)
    return MODELS[model](Spec("toy", (16, 16, 3), 3))["D"]


def expected(D, temperature):
    verdict = evaluate.predict(D, IMAGES, torch.device("cpu"))
    return torch.softmax(verdict.classes / temperature, 1), verdict.real.sigmoid()


@pytest.mark.parametrize("model", ["mlp", "blog"])
def test_the_file_answers_without_this_repository(model, tmp_path):
    D, before = discriminator(model), tmp_path / "images.npy"
    np.save(before, IMAGES)
    assert export.write(tmp_path / "c.pt2", D, 2.0, IMAGES, NAMES, "crop") <= 1e-4
    done = subprocess.run([sys.executable, "-c", ALONE, tmp_path / "c.pt2", before], cwd=tmp_path, text=True,
                          capture_output=True, check=True)
    names, pictures, probabilities, real = json.loads(done.stdout.splitlines()[-1])
    assert names == list(NAMES)
    assert pictures == PICTURES
    for ours, theirs in zip((probabilities, real), expected(D, 2.0), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


@pytest.mark.parametrize("model", [name for name in MODELS if name != "pixelcnn" and "minibatch" not in name])
def test_onnx_gives_the_same_probabilities(model, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs requirements-onnx.txt")
    pytest.importorskip("onnxscript", reason="needs requirements-onnx.txt")
    D = discriminator(model)
    export.write(tmp_path / "c.onnx", D, 2.0, IMAGES, NAMES, "crop")
    session = onnxruntime.InferenceSession(str(tmp_path / "c.onnx"), providers=["CPUExecutionProvider"])
    found = session.run(None, {"images": IMAGES[:3]})  # another number of images than it was made with
    for ours, theirs in zip(found, expected(D, 2.0), strict=True):
        np.testing.assert_allclose(ours, theirs[:3], atol=1e-4)
    facts = session.get_modelmeta().custom_metadata_map
    assert {name: json.loads(fact) for name, fact in facts.items()} == {"class_names": list(NAMES),
                                                                        "pictures": PICTURES}


def test_a_network_that_onnx_cannot_tell_is_refused(tmp_path):
    pytest.importorskip("onnxscript", reason="needs requirements-onnx.txt")
    with pytest.raises(UserError, match=r"cannot be expressed in ONNX .*; export to \.pt2"):
        export.write(tmp_path / "c.onnx", discriminator("mlp-minibatch"), 1.0, IMAGES, NAMES, "crop")
    assert list(tmp_path.iterdir()) == []


def test_one_test_image_is_enough(tmp_path):
    D = discriminator("mlp")
    assert export.write(tmp_path / "c.pt2", D, 1.0, IMAGES[:1], NAMES, "crop") <= 1e-4
    assert torch.export.load(tmp_path / "c.pt2").module()(torch.from_numpy(IMAGES[:3]))[0].shape == (3, len(NAMES))


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UserError, match=r"needs the package onnx; install requirements-onnx\.txt"):
        export.write(tmp_path / "c.onnx", discriminator("mlp"), 1.0, IMAGES, NAMES, "crop")
    assert list(tmp_path.iterdir()) == []


def test_an_answer_that_differs_is_not_written(tmp_path, monkeypatch):
    save, _ = export.FORMATS[".pt2"]
    monkeypatch.setitem(export.FORMATS, ".pt2", (save, lambda path, some: expected(discriminator("mlp"), 1.01)))
    with pytest.raises(UserError, match="differs from the network"):
        export.write(tmp_path / "c.pt2", discriminator("mlp"), 1.0, IMAGES, NAMES, "crop")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path):
    with mounted(tmp_path) as disk, pytest.raises(UserError, match=r"c\.pt2: cannot be written \(No space left"):
        export.write(disk / "c.pt2", discriminator("mlp"), 1.0, IMAGES, NAMES, "crop")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["c.pth", "c", "none/c.pt2"])
def test_another_kind_or_place_is_refused(name, tmp_path):
    with pytest.raises(UserError, match=f"--export .*{name}"):
        export.write(tmp_path / name, discriminator("mlp"), 1.0, IMAGES, NAMES, "crop")


def test_the_network_itself_is_left_as_it_was(tmp_path):
    D = discriminator("mlp").train()
    export.write(tmp_path / "c.pt2", D, 1.0, IMAGES, NAMES, "crop")
    assert D.training
    assert D.head.weight.requires_grad
