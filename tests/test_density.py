"""The low-density term of bad-gan: which density it takes, its threshold, and what a checkpoint keeps of both."""
import dataclasses
import shutil

import numpy as np
import pytest
import torch

import losses
from config import UserError
from engine import command, density, loop, restore, start, state
from engine import run as engine_run

STEPS = 3


def saved(run, folder):
    folder.mkdir(exist_ok=True)
    return state.save(run.state.state_dict(), engine_run.record(run), folder, keep=9)


@pytest.fixture
def file(build, tmp_path):
    """The checkpoint of a density model of Grey8, hardly trained."""
    run = build("pixelcnn", seed=5)
    for _ in range(2):
        run.step()
    return saved(run, tmp_path / "density")


@pytest.fixture
def bad_gan(build, file):
    """bad_gan(**changes) -> Run with that density."""
    def make(**changes):
        return build("bad-gan", **{"density": str(file), **changes})
    return make


def generator_terms(run, count=8):
    player = run.players[1]
    batch = run.pipeline.batch(run.pipeline.fetch(1, 0), torch.zeros(()), run.state.nets["G"].prior(count, "cpu"))
    return player.loss(run.state.seen, batch)


def test_the_term_is_there_with_a_density_alone(build, bad_gan):
    assert build("bad-gan").players[1].terms == ("feature_matching",)
    run = bad_gan()
    assert run.players[1].terms == ("feature_matching", "low_density")
    assert tuple(generator_terms(run)) == run.players[1].terms


def test_likelihoods_are_those_of_the_density_in_the_pixels_of_the_game(file, bad_gan):
    run, trained = bad_gan(), state.load(file)
    _, P = restore.networks(trained, file, *restore.settings(trained, file), run.data.spec, run.device)
    images = torch.from_numpy(run.data.arrays.test_image[:5]).permute(0, 3, 1, 2)
    assert run.pipeline.pixels != P.pixels  # from 0 to 1 beside -1 to 1
    x = P.pixels.from_bytes(images)
    found = run.state.nets["density"](run.pipeline.pixels.from_bytes(images))
    torch.testing.assert_close(found, losses.log_likelihood(x, *P.eval()(x)), rtol=1e-4, atol=1e-2)


def test_the_threshold_is_a_quantile_of_training_images(bad_gan, monkeypatch):
    run = bad_gan()
    ours = run.state.nets["density"]
    images = torch.from_numpy(run.data.arrays.train_image).permute(0, 3, 1, 2)
    with torch.no_grad():
        log_p = ours(run.pipeline.pixels.from_bytes(images)).numpy()
    assert ours.threshold.item() == pytest.approx(np.quantile(log_p, 0.1), rel=1e-5)
    monkeypatch.setattr(density, "IMAGES", 30)
    monkeypatch.setattr(density, "CHUNK", 7)
    rows = run.pipeline.take("pool", 0, 0, 30)[0]
    with torch.no_grad():
        some = ours(run.pipeline.pixels.from_bytes(rows)).numpy()
    assert bad_gan().state.nets["density"].threshold.item() == pytest.approx(np.quantile(some, 0.1), rel=1e-5)


def test_the_term_is_the_papers_and_reaches_the_generator(bad_gan):
    run = bad_gan(low_density=0.5)
    threshold, G = run.state.nets["density"].threshold, run.state.nets["G"]
    for level in (1e6, -1e6):
        threshold.fill_(level)
        torch.manual_seed(3)
        term = generator_terms(run)["low_density"]
        torch.manual_seed(3)
        with torch.no_grad():
            log_p = run.state.nets["density"](G(G.prior(8, "cpu"))[:3])
        assert term.item() == pytest.approx(0.5 * (log_p - threshold).clamp(min=0).mean().item(), rel=1e-5)
        gradient = torch.autograd.grad(term, list(G.parameters()))
        assert any(g.abs().sum() > 0 for g in gradient) == (level < 0)


def test_the_density_is_frozen(bad_gan):
    run = bad_gan(weight=("G/feature_matching=0",))
    run.state.nets["density"].threshold.sub_(1e6)
    (P,) = run.state.nets["density"].model
    before = [{k: v.clone() for k, v in net.state_dict().items()} for net in (P, run.state.nets["G"])]
    for _ in range(STEPS):
        assert run.step().isfinite().all()
    assert all(torch.equal(v, before[0][k]) for k, v in P.state_dict().items())
    assert any(not torch.equal(v, before[1][k]) for k, v in run.state.nets["G"].state_dict().items())
    assert not P.training


def test_resume_is_bitwise_and_takes_the_threshold_of_the_checkpoint(bad_gan, tmp_path, monkeypatch):
    whole, half = bad_gan(low_density=1.0), bad_gan(low_density=1.0)
    for run in (whole, half):
        run.state.nets["density"].threshold.sub_(100)  # so that the term acts
    expected = [whole.step() for _ in range(2 * STEPS)]
    assert all(row[-2] > 0 for row in expected)
    for _ in range(STEPS):
        half.step()
    path = saved(half, tmp_path / "half")
    monkeypatch.setattr(density.Density, "choose_threshold", lambda *_: pytest.fail("chosen once, at the start"))
    resumed = engine_run.build(half.cfg, state.load(path))
    assert resumed.state.nets["density"].threshold == half.state.nets["density"].threshold
    for row in expected[STEPS:]:
        assert torch.equal(resumed.step(), row)
    for ours, theirs in zip(resumed.state.nets["G"].parameters(), whole.state.nets["G"].parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_checkpoint_keeps_the_threshold_and_the_digest_and_no_weights(bad_gan, tmp_path):
    kept = state.load(saved(bad_gan(), tmp_path / "run"))["nets"]["density"]
    assert set(kept) == {"threshold", "digest"}
    assert (kept["threshold"].dim(), kept["digest"].shape) == (0, (32,))


def test_evaluation_does_without_the_densitys_file(bad_gan, file, tmp_path):
    path = saved(bad_gan(), tmp_path / "run")
    shutil.rmtree(file.parent)
    restored = restore.run(state.load(path), path)
    assert set(restored.nets) == {"D", "G"}


def test_a_run_goes_on_with_the_same_density_alone(bad_gan, build, file, tmp_path):
    run = bad_gan()
    run.step()
    path = saved(run, tmp_path / "run")
    other = saved(build("pixelcnn", seed=6), tmp_path / "other")
    moved = shutil.copyfile(file, tmp_path / "moved.pt")
    with pytest.raises(UserError, match=r"--density .*other.*: not the file with which the run was begun"):
        engine_run.build(dataclasses.replace(run.cfg, density=str(other)), state.load(path))
    with pytest.raises(UserError, match=r"--density '': the run in the checkpoint was begun with one"):
        engine_run.build(dataclasses.replace(run.cfg, density=""), state.load(path))
    file.unlink()
    with pytest.raises(UserError, match=r"--density .*model-2.pt: no such file or folder"):
        command.resumed(path, [])
    assert command.resumed(path, ["--density", str(moved)]).state.step == 1


def test_a_run_keeps_the_density_that_it_was_begun_with(bad_gan, file, tmp_path):
    run = bad_gan(steps=2)
    training = start.in_new_folder(run)
    loop.train([training])
    shutil.rmtree(file.parent)
    moved = training.folder.rename(tmp_path / "moved")
    again = command.resumed(moved / "model-2.pt", ["--steps", "3"])
    again.step()
    assert again.state.step == 3
    assert again.cfg.density == str(moved / "density.pt")


def test_a_run_begun_without_a_density_goes_on_without(build, file, tmp_path):
    run = build("bad-gan")
    path = saved(run, tmp_path / "run")
    with pytest.raises(UserError, match="was begun without one"):
        engine_run.build(dataclasses.replace(run.cfg, density=str(file)), state.load(path))


def test_a_density_of_other_images_or_none_is_refused(bad_gan, build, tmp_path):
    elsewhere = saved(build("pixelcnn", "Colour16"), tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"--density .*: trained on other images \(Colour16, digest .* of Grey8"):
        bad_gan(density=str(elsewhere))
    none = saved(build("supervised"), tmp_path / "none")
    with pytest.raises(UserError, match=r"a run of --recipe supervised, .*--recipe pixelcnn --dataset Grey8"):
        bad_gan(density=str(none))
    with pytest.raises(UserError, match="--density nowhere: no such file or folder"):
        bad_gan(density="nowhere")


def test_the_settings_name_the_file_of_a_folder(bad_gan, file):
    assert bad_gan(density=str(file.parent)).cfg.density == str(file)
