"""The classifier of a run as one file that needs nothing of this repository: classifier.pt2 (torch.export) or
classifier.onnx.

    images uint8 [N, H, W, C] -> probabilities float32 [N, K], real float32 [N]

What is needed to use it travels in the file, as JSON in the metadata of ONNX and the extra files of .pt2:
`class_names`, a list, and `pictures`, how they are prepared: height, width, channels, resize (a photo.Resize) and
values, [0, 255].
"""
import copy
import io
import json
import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from config import UserError, brief
from datasets.files import check_plain

TOLERANCE = 1e-4  # of probabilities, between the file and the network
CHECKED = 256  # images


class Classifier(nn.Module):
    """The averaged discriminator with its preparation of the pixels, for inference alone."""

    def __init__(self, D: nn.Module, temperature: float = 1.0):
        super().__init__()
        self.D, self.temperature = copy.deepcopy(D).cpu().eval().requires_grad_(False), temperature

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        verdict = self.D(self.D.pixels.from_bytes(images.permute(0, 3, 1, 2)))
        return (verdict.classes / self.temperature).softmax(1), verdict.real.sigmoid()


def write(path: Path, D: nn.Module, temperature: float, images: np.ndarray, class_names: tuple[str, ...],
          resize: str) -> float:
    """Write the classifier as the suffix of `path` says, read it back, and compare both on the first of `images`
    (uint8 [N, H, W, C]; `resize` tells how pictures come to that size). Returns the largest difference of a
    probability. UserError for another suffix, a missing package, a network that cannot be exported, a disk that does
    not take it, or a difference above TOLERANCE; then nothing is written."""
    if path.suffix not in FORMATS:
        raise UserError(f"--export {path}: end its name in {' or '.join(FORMATS)}")
    save, answer = FORMATS[path.suffix]
    classifier = Classifier(D, temperature)
    some = torch.from_numpy(np.resize(images[:CHECKED], (max(2, min(CHECKED, len(images))), *images.shape[1:])))
    pictures = dict(zip(("height", "width", "channels"), some.shape[1:], strict=True))
    facts = {"class_names": json.dumps(class_names),
             "pictures": json.dumps({**pictures, "resize": resize, "values": [0, 255]})}
    try:
        check_plain(path)
        with (tempfile.TemporaryDirectory(dir=path.parent, prefix=".export-") as folder, torch.no_grad(),
              warnings.catch_warnings(action="ignore")):  # of the exporter about itself; the answers are compared below
            made = Path(folder) / path.name
            save(made, classifier, some, facts)
            difference = max(float((ours - torch.as_tensor(theirs)).abs().max())
                             for ours, theirs in zip(classifier(some), answer(made, some), strict=True))
            if not difference <= TOLERANCE:
                raise UserError(f"--export {path}: not written: what is exported differs from the network by "
                                f"{difference:.1e}")
            os.replace(made, path)
    except ImportError as error:
        raise UserError(f"--export {path}: needs the package {error.name}; install requirements-onnx.txt, or export "
                        "to .pt2") from None
    except torch.onnx.OnnxExporterError as error:
        reason = brief(error.__cause__ or error)
        raise UserError(f"--export {path}: the network cannot be expressed in ONNX ({reason}); export to .pt2"
                        ) from None
    except OSError as error:
        raise UserError(f"--export {path}: cannot be written ({error.strerror or error}); name another place") from None
    return difference


def _program(classifier: Classifier, some: Tensor) -> torch.export.ExportedProgram:
    return torch.export.export(classifier, (some,), dynamic_shapes=({0: torch.export.Dim("N")},))


def _save_pt2(path: Path, classifier: Classifier, some: Tensor, facts: dict[str, str]) -> None:
    content = io.BytesIO()  # torch ends the process where a disk is full
    torch.export.save(_program(classifier, some), content, extra_files=facts)
    path.write_bytes(content.getvalue())


def _answer_pt2(path: Path, some: Tensor) -> tuple:
    return torch.export.load(path).module()(some)


def _save_onnx(path: Path, classifier: Classifier, some: Tensor, facts: dict[str, str]) -> None:
    import onnx
    import onnxscript  # noqa: F401, which torch.onnx needs; asked for here, so that its absence is told as onnx's

    program = torch.onnx.export(_program(classifier, some), dynamo=True, verbose=False, input_names=["images"],
                                output_names=["probabilities", "real"])
    model = program.model_proto
    onnx.helper.set_model_props(model, facts)
    onnx.save(model, path)


def _answer_onnx(path: Path, some: Tensor) -> tuple:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return tuple(session.run(["probabilities", "real"], {"images": some.numpy()}))


Saver = Callable[[Path, Classifier, Tensor, dict[str, str]], None]
FORMATS: dict[str, tuple[Saver, Callable[[Path, Tensor], tuple]]] = {".pt2": (_save_pt2, _answer_pt2),
                                                                   ".onnx": (_save_onnx, _answer_onnx)}
