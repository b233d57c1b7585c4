"""Command line to record."""
import dataclasses
import io
import sys
from typing import get_type_hints

import pytest
import torch

import config
import recipes
from config import Config, UserError
from engine import state

SETTINGS = {name: recipe.settings for name, recipe in recipes.RECIPES.items()}


def parse(*argv, record=Config, default=None):
    return config.parse(record, argv, "trainer.py", "Train.", default)


def test_underscores_and_hyphens_are_the_same():
    assert parse("--batch_size", "7", "--label-seed", "3") == parse("--batch-size", "7", "--label_seed", "3")
    assert parse("--weight", "D/real=0", "G/x=2").weight == ("D/real=0", "G/x=2")


def test_too_little_memory_on_a_gpu_is_told_in_two_lines(capsys):
    def main(_):
        with state.fitting("model-1.pt", "contents"):
            raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2 GiB.")

    with pytest.raises(SystemExit) as stop:
        config.guarded(main)
    assert stop.value.code == 2
    assert capsys.readouterr().err.endswith("error: CUDA out of memory. Tried to allocate 2 GiB.\n"
                                            "Take a smaller --batch_size, --data host, or fewer values of --seed at "
                                            "once\n")


def test_command_line_wins_over_the_recipes_settings():
    cfg = parse("--labels", "30", default=Config(labels=50, batch_size=9))
    assert (cfg.labels, cfg.batch_size) == (30, 9)


@pytest.mark.parametrize(("argv", "message"), [
    (["--lables", "3"], "--lables.*\nDid you mean --labels"), (["--learn_rate_d", "3"], "--learning_rate_d"),
    (["--steps", "abc"], "--steps.*abc"), (["--precision", "int8"], "int8.*--precision"), (["extra"], "extra"),
    (["--labels"], "--labels"), (["--label", "3"], "Did you mean --labels or --labelled or --label_seed")])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_wrong_flag_is_named_in_two_lines(argv, message, encoding, monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding))
    with pytest.raises(UserError, match=f"(?s){message}") as error:
        parse(*argv)
    assert len(str(error.value).splitlines()) <= 2
    assert not any(frame in str(error.value) for frame in ("─", "---", "helptext"))


@pytest.mark.parametrize("recipe", SETTINGS)
def test_help_shows_every_flag_with_the_recipes_values(recipe, capsys):
    default = SETTINGS[recipe](batch_size=4321)
    with pytest.raises(SystemExit) as stop:
        parse("--help", record=SETTINGS[recipe], default=default)
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert all(f"--{field.name}" in text for field in dataclasses.fields(default))
    assert "(default: 4321)" in text


@dataclasses.dataclass(frozen=True)
class Optional:
    """With a flag that may be left out."""

    seed: int | None = None
    """Decides."""


def test_none_is_no_value_that_can_be_given(capsys):
    for given in ("None", "x"):
        with pytest.raises(UserError, match=f"--seed: not a whole number: '{given}'"):
            parse("--seed", given, record=Optional)
    with pytest.raises(SystemExit):
        parse("--help", record=Optional)
    assert "--seed INT" in capsys.readouterr().out


@pytest.mark.parametrize("recipe", SETTINGS)
def test_out_of_bounds_is_refused_for_every_number(recipe):
    bounded = [name for name, hint in get_type_hints(SETTINGS[recipe], include_extras=True).items()
               if any(isinstance(m, config.Within) for m in getattr(hint, "__metadata__", ()))]
    numbers = [f.name for f in dataclasses.fields(SETTINGS[recipe])
               if isinstance(f.default, int | float) and not isinstance(f.default, bool)]
    assert bounded == numbers
    config.check(SETTINGS[recipe]())
    for name in numbers:
        for bad in (-1, float("nan"), 1e300):
            with pytest.raises(UserError, match=f"^--{name} "):
                config.check(SETTINGS[recipe](**{name: bad}))


@pytest.mark.parametrize("prefix", ["", "a/b", "..", "../up", ".hidden", "a b"])
def test_a_prefix_stays_in_its_folder(prefix):
    with pytest.raises(UserError, match="--prefix"):
        config.check(Config(prefix=prefix))


@pytest.mark.parametrize("recipe", SETTINGS)
def test_a_record_survives_being_written(recipe):
    cfg = SETTINGS[recipe](labels=30, weight=("a=1.0",), epochs=2.5)
    assert config.from_dict(SETTINGS[recipe], config.as_dict(cfg)) == cfg


@pytest.mark.parametrize("change", [lambda d: d.pop("labels"), lambda d: d.update(unheard=1),
                                    lambda d: d.update(steps="x")])
def test_settings_of_another_version_are_refused(change):
    plain = config.as_dict(Config())
    change(plain)
    with pytest.raises(ValueError, match=r"labels|unheard|invalid"):
        config.from_dict(Config, plain)


def test_nearest_name():
    assert config.nearest("cifar10", ["MNIST", "CIFAR10"], "--dataset") == "CIFAR10"
    assert config.nearest("a_b-C", ["a-b", "a-b_c"], "--recipe") == "a-b_c"
    with pytest.raises(UserError, match="did you mean MNIST"):
        config.nearest("NMIST", ["MNIST", "CIFAR10"], "--dataset")
    with pytest.raises(UserError, match=r"^--dataset: there is no 'zzz'; Known"):
        config.nearest("zzz", ["MNIST", "CIFAR10"], "--dataset")
