"""All tests of training run with one seed and one thread."""

from tests.helpers.small_models import one_seed_one_thread

__all__ = ["one_seed_one_thread"]
