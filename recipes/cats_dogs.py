"""SemiSupervisedPytorchGAN (opetrova/SemiSupervisedPytorchGAN at 28ccd72, 2020): cats and dogs with 100 labels, a
ResNet-18 without pretraining against a generator that wants its images taken for real.

    L_D = -E log p(y | x, real) + 1/2 E[-log D(x_unl)] + 1/2 E[-log(1 - D(G(z)))]
    L_G = 1/2 E[-log D(G(z))]        (non-saturating; there is no feature matching)

Adam at 0.002 with beta1 0.5 for both, unlabelled batches of 64, no average of the weights; of all steps looked at, the
one with the best accuracy on validation images is tested (--select validation). 40 epochs are those of its README's
result; its notebook has 14. Its baseline, full batches of the 100 labels with SGD for 200 steps:

    trainer.py --recipe supervised --dataset PETS --model resnet18 --optimiser sgd --learning_rate_d 0.001 --labels 100
        --batch_size 100 --steps 200 --average 0 --decay_from 1 --select validation --eval_every 10

Where this differs from the code, and why:
- generated images never enter D's running averages; there they are mixed with those of real ones, and once more in G's
  update. Labelled and unlabelled images are normalised together, there apart;
- G learns from images of its own, not once more from those that D has just learned from;
- labelled images come in batches as large as the unlabelled ones, there all 100 in every step;
- labelled images are also among the unlabelled ones, there not; the best step is one of twenty, there (and in its
  baseline) of every epoch;
- the 100 labels are chosen at random, the same number of each class; there by hand (its README: chosen at random they
  gained about 10 points). Validation images are 1,000, at most a fifth of the training images, as its README has it;
- samples are drawn with G's running averages, there with those of their batch;
- every test image counts once; the code's loader begins again until its batch is full;
- pictures are cut to a square by default when they are made into a data set; --resize stretch is the original's way;
- other sizes than 224 pixels (models/resnet.py) and any number of classes; sizes that are no multiples of 16 take the
  MLP pair. Labels of the toolkit's own data sets are those of `improved-gan`, else 50 of each class.
"""
from functools import partial

import torch

import losses
import ops
from config import GanConfig, Spec

from . import improved_gan
from .player import Player, Recipe

CITATION = "opetrova/SemiSupervisedPytorchGAN (2020), https://github.com/opetrova/SemiSupervisedPytorchGAN"


def published(spec: Spec) -> dict:
    fits = not (spec.shape[0] % 16 or spec.shape[1] % 16)
    known = improved_gan.PUBLISHED.get(spec.name, {"labels": 50 * spec.classes})
    return {"model": "resnet18" if fits else "mlp", "labels": known["labels"], "batch_size": 64, "epochs": 40.0,
            "learning_rate_d": 2e-3, "learning_rate_g": 2e-3, "average": 0.0, "select": "validation"}


def generator(nets, b):
    return {"adversarial": 0.5 * losses.taken_for_real(ops.verdict_on_fake(nets["D"], nets["G"](b.z)).real)}


def players(cfg: GanConfig) -> tuple[Player, Player]:
    return improved_gan.game(cfg, improved_gan.discriminator, ("supervised", "real", "fake"), generator,
                             ("adversarial",), partial(torch.optim.Adam, fused=True))


RECIPE = Recipe("cats-dogs", CITATION, GanConfig, published, players)
