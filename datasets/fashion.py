"""Fashion-MNIST: 60,000 + 10,000 pictures of clothes of 28x28 pixels (Xiao et al., 2017), in MNIST's format."""
from datasets.mnist import build
from datasets.source import File, Source

CLASSES = ("T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")


def _upstream() -> tuple[File, ...]:
    from torchvision.datasets import FashionMNIST  # here: it takes seconds to import

    return tuple(File(name, tuple(mirror + name for mirror in FashionMNIST.mirrors), md5)
                 for name, md5 in FashionMNIST.resources)


SOURCE = Source("Fashion", (28, 28, 1), CLASSES, "Fashion-MNIST, Xiao et al. 2017", build, _upstream)
