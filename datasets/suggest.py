"""Which images to label: TypiClust (Hacohen, Dekel & Weinshall 2022, "Active Learning on a Budget", arXiv:2202.02794,
section 3). The features are clustered, and from each of the largest clusters without a label the most typical image
is taken. No label is read, only which rows have one.
"""
import numpy as np

CLUSTERS = 500  # at most (the paper's Table 1)
NEIGHBOURS = 20  # over which typicality is measured, section 3.1
PLAIN = 50  # principal components that stand for pixels
FITTED = 60_000  # images at most by which components and clusters are found
PIXELS = 1 << 28  # of them as numbers at most; of large images there are fewer, but never less than LEAST
LEAST = 1000


def plain_features(images: np.ndarray, seed: int) -> np.ndarray:
    """What stands for learnt features before any training: the principal components of the pixels, uint8
    [N, H, W, C] -> float32 [N, F]."""
    from sklearn.decomposition import PCA  # takes a second that nobody else should wait for

    most = min(FITTED, max(LEAST, PIXELS // images[0].size))
    some = np.sort(np.random.RandomState(seed).permutation(len(images))[:most])
    flat = (part.reshape(len(part), -1).astype(np.float32) / 255 for part in (images[some], *_parts(images)))
    pca = PCA(min(PLAIN, *(len(some), int(np.prod(images.shape[1:])))), svd_solver="randomized", random_state=seed)
    pca.fit(next(flat))
    return np.concatenate([pca.transform(part) for part in flat]).astype(np.float32)


def _parts(images: np.ndarray) -> list[np.ndarray]:
    size = min(10_000, max(1, PIXELS // 4 // images[0].size))
    return [images[start:start + size] for start in range(0, len(images), size)]


def typical(features: np.ndarray, known: np.ndarray, count: int, seed: int) -> np.ndarray:
    """`count` rows to label, the most valuable first: int64 [count]. `known` are the rows that have a label; features
    [N, F] are compared by their directions."""
    from sklearn.cluster import KMeans, MiniBatchKMeans

    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    points = features / np.maximum(lengths, np.finfo(np.float32).tiny)
    clusters = min(len(known) + count, CLUSTERS)
    kind = KMeans if clusters <= 50 else MiniBatchKMeans  # as in the paper's code
    some = np.random.RandomState(seed).permutation(len(points))[:FITTED]
    cluster_of = kind(clusters, n_init=1, random_state=seed).fit(points[some]).predict(points)
    taken = np.zeros(len(points), bool)
    taken[known] = True
    chosen = []
    for _ in range(count):
        free = np.bincount(cluster_of[~taken], minlength=clusters)
        labelled = np.bincount(cluster_of[taken], minlength=clusters)
        # The cluster with the fewest labels, of these the largest; one that is used up comes last.
        best = min(range(clusters), key=lambda k: (free[k] == 0, labelled[k], -free[k]))
        rows = np.flatnonzero((cluster_of == best) & ~taken)
        row = rows[typicality(points[cluster_of == best], points[rows]).argmax()]
        taken[row] = True
        chosen.append(row)
    return np.array(chosen, np.int64)


def typicality(cluster: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The inverse mean distance of points of a cluster to their nearest neighbours in it (eq. 1): [number of points].
    0 where a cluster holds nothing else."""
    from sklearn.neighbors import NearestNeighbors

    count = min(NEIGHBOURS, len(cluster) - 1)
    if count < 1:
        return np.zeros(len(points))
    distances, _ = NearestNeighbors(n_neighbors=count + 1).fit(cluster).kneighbors(points)  # the nearest is the point
    return 1 / (distances.sum(1) / count + 1e-9)
