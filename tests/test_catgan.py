"""catgan: the head that it has. Its entropies are tested in test_losses.py."""
import pytest

import trainer
from config import UserError


def test_catgan_has_no_fake_class():
    with pytest.raises(UserError, match="--head"):
        trainer.settings(["--recipe", "catgan", "--head", "explicit"])
