"""t5x itself: the only module that imports it, and says what to install without it."""

try:
    from t5x import adafactor, models, optimizers, partitioning, utils
except ImportError as error:
    raise ImportError(
        "expected t5x, which hyperx.t5x_plugin runs in, got: "
        f"{error}. t5x is not on PyPI; install it and what it needs with `pip install "
        "git+https://github.com/google-research/t5x`, or as docs/t5x.md tells"
    ) from error

__all__ = ["adafactor", "models", "optimizers", "partitioning", "utils"]
