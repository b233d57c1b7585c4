"""catgan: the head that it has. Its entropies are tested in test_losses.py."""
import pytest

from config import UserError
from engine import command


def test_catgan_has_no_fake_class():
    with pytest.raises(UserError, match="--head"):
        command.settings(["--recipe", "catgan", "--head", "explicit"])
