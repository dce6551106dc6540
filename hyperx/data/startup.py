"""How a program brings in TensorFlow: silently, and off the accelerators."""

import os
import shutil
import sys
import tempfile


def prepare_tensorflow() -> None:
    """Imports TensorFlow without its chatter and hides accelerators from it.

    Its libraries log to file descriptor 2 while they load, whatever
    ``TF_CPP_MIN_LOG_LEVEL`` says; what they wrote is shown only if they fail.
    """
    if "tensorflow" in sys.modules:
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # It logs, for data alone.
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), 2)
        try:
            import tensorflow as tf
            from absl import logging

            logging.set_verbosity(logging.ERROR)  # seqio warns of what is intended
            tf.config.set_visible_devices([], "GPU")  # They are for JAX.
        except BaseException:
            log.seek(0)
            with open(stderr, "wb", closefd=False) as terminal:
                shutil.copyfileobj(log, terminal)
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
