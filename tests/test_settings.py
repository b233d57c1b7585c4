"""The settings that each recipe chooses for a data set, against those of its paper or code."""
import dataclasses

import pytest

import datasets
import recipes
from engine import run as engine_run


@pytest.mark.parametrize("recipe", recipes.RECIPES)
@pytest.mark.parametrize("dataset", datasets.DATASETS)
def test_published_settings_fit_the_data_set(recipe, dataset, data_dir):
    found = recipes.find(recipe)
    spec = datasets.spec(dataset, data_dir)
    cfg = recipes.defaults(found, spec)
    assert cfg.dataset == dataset
    assert cfg.labels % spec.classes == 0
    resolved = engine_run.scheduled(engine_run.resolve(cfg), 50_000, 10_000, "cpu")
    assert resolved.steps == (cfg.steps or round(cfg.epochs * (50_000 // cfg.batch_size)))


# Milliseconds of a step for each image of its batch and of an image in an evaluation, one thread of an AMD EPYC, by
# turns; and how many kinds of weights are evaluated. An MLP's step is dearer beside them than a conv net's.
@pytest.mark.parametrize(("dataset", "recipe", "step", "image", "kinds", "most"), [
    ("MNIST", "improved-gan", 0.884, 0.072, 2, 50), ("SVHN", "improved-gan", 1112 / 25, 4.56, 2, 40),
    ("SVHN", "catgan", 1084 / 25, 4.40, 2, 40), ("SVHN", "vat", 5195 / 25, 25.9, 1, 40),
    ("SVHN", "mean-teacher", 2491 / 25, 26.3, 2, 40), ("SVHN", "supervised", 211.5 / 25, 4.47, 2, 40),
    ("SVHN", "pixelcnn", 469 / 25, 8.87, 1, 40)])
@pytest.mark.parametrize("batch_size", [2, 8, 25, 100])
@pytest.mark.parametrize("steps", [500, 100_000])
def test_evaluations_on_a_cpu_cost_no_more_than_they_may(dataset, recipe, step, image, kinds, most, batch_size, steps,
                                                          data_dir):
    spec, test = datasets.spec(dataset, data_dir), {"MNIST": 10_000, "SVHN": 26_032}[dataset]
    cfg = dataclasses.replace(recipes.defaults(recipes.find(recipe), spec), batch_size=batch_size, steps=steps)
    cfg = engine_run.scheduled(engine_run.resolve(cfg), 60_000, test, "cpu")
    in_steps = kinds * test * image / (step * batch_size)
    assert in_steps <= 0.03 * cfg.eval_every
    assert cfg.eval_every <= max(2000, most * in_steps)
    assert cfg.save_every <= 2000


PUBLISHED = {
    ("ct-gan", "CIFAR10"): {"model": "conv-wide", "epochs": 1000, "batch_size": 100, "learning_rate_d": 3e-4,
                            "decay_from": 1, "flip": True, "shift": 2, "average": 0.9999},
    ("ct-gan", "SVHN"): {"model": "conv-wide", "flip": False, "shift": 2},
    ("manifold-gan", "CIFAR10"): {"model": "conv-small", "epochs": 1400, "batch_size": 25, "learning_rate_d": 3e-4,
                                  "flip": True, "shift": 2, "pool": "max", "scales": "trained", "gamma": 1e-3,
                                  "epsilon": 20, "eta": 1},
    ("manifold-gan", "SVHN"): {"epochs": 400, "batch_size": 50, "flip": False, "shift": 0, "epsilon": 20,
                               "decay_from": 399 / 400},
    ("manifold-gan", "Digits"): {"model": "mlp", "epsilon": 1.44},  # 20 of 2 sqrt(3072) are 1.44 of sqrt(64)
    ("sgan", "MNIST"): {"model": "mlp", "head": "explicit", "adversary": "minimax", "learning_rate_d": 1e-3,
                        "learning_rate_g": 3e-3},
    ("sgan", "Fashion"): {"learning_rate_d": 3e-4, "learning_rate_g": 3e-3},
    ("sgan", "SVHN"): {"model": "conv-small", "learning_rate_d": 3e-4, "learning_rate_g": 3e-3},
    ("sgan", "Digits"): {"learning_rate_d": 6e-3, "learning_rate_g": 3e-3},
    ("ssgan", "CIFAR10"): {"model": "ssgan", "learning_rate_d": 1e-3, "learning_rate_g": 1e-3, "clip": 20},
    ("improved-gan", "MNIST"): {"model": "mlp", "learning_rate_d": 3e-3, "batch_size": 100, "labels": 100},
    ("improved-gan", "SVHN"): {"model": "conv-small", "learning_rate_d": 3e-4, "learning_rate_g": 3e-4, "epochs": 900,
                               "decay_from": 2 / 3, "average": 0.9999, "labels": 1000},
    ("minibatch-gan", "MNIST"): {"model": "mlp-minibatch", "learning_rate_d": 3e-4, "learning_rate_g": 3e-4},
    ("minibatch-gan", "Digits"): {"model": "mlp-minibatch", "learning_rate_d": 3e-3, "learning_rate_g": 3e-4},
    ("minibatch-gan", "CIFAR10"): {"model": "conv-minibatch", "learning_rate_d": 3e-4, "learning_rate_g": 3e-4,
                                   "epochs": 1200, "decay_from": 2 / 3, "average": 0.9999, "labels": 4000},
    ("vat", "CIFAR10"): {"model": "conv-large", "learning_rate_d": 1e-3, "batch_size": 128, "epsilon": 3.5, "xi": 1e-3,
                         "entropy": 1, "flip": True, "shift": 2, "average": 0, "decay_from": 460 / 500},
    ("vat", "SVHN"): {"flip": False, "shift": 2, "epsilon": 3.5, "decay_from": 80 / 120},
    ("mean-teacher", "CIFAR10"): {"model": "conv-large", "learning_rate_d": 3e-3, "average": 0.999, "consistency": 100,
                                  "ramp_up": 40 / 150, "input_noise": 0.15, "flip": True, "shift": 2, "epochs": 300,
                                  "decay_from": 125 / 150},
    ("mean-teacher", "SVHN"): {"normalise": True, "flip": False, "shift": 2, "epochs": 246, "labels": 1000,
                               "decay_from": 125 / 150},
    ("blog-svhn", "SVHN"): {"model": "blog", "batch_size": 128, "epochs": 25, "learning_rate_d": 3e-4,
                            "learning_rate_g": 3e-4, "epoch_decay": 0.9, "smoothing": 0.1, "labels": 1000, "average": 0,
                            "labels_come": "masked"},
    ("catgan", "MNIST"): {"model": "mlp", "head": "implicit"},
    ("cats-dogs", "CIFAR10"): {"model": "resnet18", "batch_size": 64, "epochs": 40, "learning_rate_d": 0.002,
                               "learning_rate_g": 0.002, "average": 0, "select": "validation"},
    ("cats-dogs", "MNIST"): {"model": "mlp", "labels": 100}}


@pytest.mark.parametrize(("recipe", "dataset"), PUBLISHED)
def test_settings_are_the_papers(recipe, dataset, data_dir):
    cfg = recipes.defaults(recipes.find(recipe), datasets.spec(dataset, data_dir))
    expected = PUBLISHED[recipe, dataset]
    assert {name: getattr(cfg, name) for name in expected} == expected


@pytest.mark.parametrize(("device", "steps", "looks", "written", "logged"), [
    ("cpu", 24_000, 1200, 1200, 50), ("cpu", 180_000, 2000, 2000, 50), ("cpu", 600, 750, 50, 50),
    ("cpu", 40, 744, 52, 4), ("cpu", 1, 742, 50, 1), ("cuda", 600, 750, 750, 50), ("cuda", 24_000, 4800, 4800, 240),
    ("cuda", 60_000, 5400, 5400, 600), ("cuda", 180_000, 9000, 9000, 1800), ("cuda", 600_000, 10_000, 10_000, 2000)])
def test_looks_at_a_run_take_little_of_its_time(device, steps, looks, written, logged, settings):
    cfg = engine_run.scheduled(engine_run.resolve(settings(steps=steps, batch_size=100)), 50_000, 10_000, device)
    assert (cfg.eval_every, cfg.save_every, cfg.sample_every, cfg.log_every) == (looks, written, written, logged)
