"""Which images are proposed for labelling."""
import numpy as np
import pytest

from datasets import suggest

RNG = np.random.RandomState(0)
CENTRES = 10 * np.eye(5)[:, :5]
KIND = np.repeat(np.arange(5), [50, 40, 30, 20, 10])
POINTS = (CENTRES[KIND] + RNG.randn(150, 5)).astype(np.float32)


def test_each_cluster_is_asked_once_the_largest_first():
    rows = suggest.typical(POINTS, np.empty(0, np.int64), 5, seed=1)
    assert KIND[rows].tolist() == [0, 1, 2, 3, 4]


def test_what_is_labelled_already_is_not_asked_again():
    known = np.flatnonzero(KIND < 3)[::45]  # of kinds 0, 0, 1 or so
    rows = suggest.typical(POINTS, known, 4, seed=1)
    assert len({*rows, *known}) == 4 + len(known)
    assert {3, 4} <= set(KIND[rows])


def test_the_typical_image_lies_where_others_are():
    cluster = np.concatenate([0.1 * RNG.randn(30, 3), [[3.0, 0, 0]]]).astype(np.float32)
    density = suggest.typicality(cluster, cluster)
    assert density.argmin() == 30
    # eq. 1: the inverse mean distance to the 20 nearest others
    distances = np.sort(np.linalg.norm(cluster[4] - cluster, axis=1))[1:21]
    assert density[4] == pytest.approx(1 / distances.mean(), rel=1e-5)
    chosen, = suggest.typical(cluster + 5, np.empty(0, np.int64), 1, seed=1)
    directions = (cluster + 5) / np.linalg.norm(cluster + 5, axis=1, keepdims=True)
    assert chosen == suggest.typicality(directions, directions).argmax()


def test_more_can_be_asked_than_there_are_clusters():
    assert sorted(suggest.typical(POINTS[:30], np.empty(0, np.int64), 30, seed=1)) == list(range(30))


def test_plain_features_keep_what_tells_images_apart():
    patterns = RNG.randint(0, 256, (3, 8, 8, 1))
    kind = np.arange(60) % 3
    images = np.clip(patterns[kind] + RNG.randint(-9, 10, (60, 8, 8, 1)), 0, 255).astype(np.uint8)
    found = suggest.plain_features(images, seed=1)
    assert found.shape == (60, 50)
    assert sorted(kind[suggest.typical(found, np.empty(0, np.int64), 3, seed=1)]) == [0, 1, 2]


def test_components_of_large_images_are_found_by_few_of_them(monkeypatch):
    from sklearn.decomposition import PCA

    seen, fit, transform = [], PCA.fit, PCA.transform
    monkeypatch.setattr(PCA, "fit", lambda self, x: seen.append(len(x)) or fit(self, x))
    monkeypatch.setattr(PCA, "transform", lambda self, x: seen.append(len(x)) or transform(self, x))
    monkeypatch.setattr(suggest, "PIXELS", 64 * 40)
    monkeypatch.setattr(suggest, "LEAST", 30)
    assert suggest.plain_features(RNG.randint(0, 256, (100, 8, 8, 1)).astype(np.uint8), seed=1).shape == (100, 40)
    assert seen == [40, *[10] * 10]
