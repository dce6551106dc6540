"""Packaging: `hyperx`, and with it the seqio tasks and the gin files.

`hyperx/tasks` and `hyperx/configs` are symbolic links to `tasks/` and `gin/`, so that a
checkout, an editable installation and a wheel all offer `hyperx.tasks` and
`hyperx.configs`. `gin/` has no `__init__.py`: it would shadow gin-config.
"""

import pathlib
import re

import setuptools

ROOT = pathlib.Path(__file__).parent

CORE = [
    "jax>=0.10",  # arrays, compilation, meshes
    "flax>=0.12.8",  # Linen modules
    "optax>=0.2.8",  # gradient transformations
    "orbax-checkpoint>=0.12.3,<0.13",  # checkpoints; its v1 API still moves
    "tensorstore>=0.1.86",  # zarr arrays of t5x checkpoints
    "etils[epath]>=1.12",  # paths of files, here or in a bucket
    "numpy>=2.0",  # batches
    "ml_dtypes>=0.5",  # bfloat16 in numpy
    "seqio>=0.0.20",  # task registry and evaluation
    # hyperx.data runs on tensorflow. Not tensorflow-cpu: seqio needs tensorflow-text,
    # which needs tensorflow itself, and the two would overwrite each other's files.
    "tensorflow>=2.20",
    "tensorflow-datasets>=4.9",  # sources of seqio tasks
    "sentencepiece>=0.2",  # vocabularies
    "gin-config>=0.5",  # configuration files
    "clu>=0.0.12",  # metric writers
    "tensorboard>=2.20",  # imported by clu's summary writer
    "rouge-score>=0.1.2",  # ROUGE
    "nltk>=3.8",  # sentences, for ROUGE of summaries
    "scikit-learn>=1.4",  # Matthews correlation, F1
    "scipy>=1.12",  # Pearson and Spearman correlation
    "pyarrow>=15",  # Parquet files
    "jinja2>=3.1",  # templates of promptsource
    "PyYAML>=6",  # the files that they lie in
    "safetensors>=0.5",  # Hugging Face weights, saved task states
    "rich>=13",  # progress bars and tables
    "tqdm>=4.60",  # progress of reading, as TensorFlow Datasets shows its own
    "matplotlib>=3.8",  # pictures in reports
]

SERVE = [
    "fastapi>=0.115",  # routes, checks of requests, OpenAPI
    "pydantic>=2.9",  # what a request may hold
    "uvicorn>=0.34",  # the HTTP server
    "prometheus-client>=0.21",  # metrics
]

EXTRAS = {
    "test": [
        "pytest>=8",
        "pytest-xdist>=3.6",  # test modules run side by side
        "ruff>=0.9",
        "fsspec>=2024.2",  # tests keep runs in its file system in memory
        "setuptools>=77",  # a test builds the wheel
        # A test prepares a data set as TensorFlow Datasets does, which imports it.
        "importlib_resources>=5",
        "httpx>=0.28",  # tests talk to a server
        *SERVE,
    ],
    # What the tests compare hyperx with; they skip where it is absent.
    "parity": ["torch>=2.6", "transformers>=5.0", "peft>=0.18"],
    "tpu": ["jax[tpu]"],
    # `hyperx plan`, on machines without TPUs: the libtpu that goes with their jax.
    "plan": ["jax[tpu]"],
    "gpu": ["jax[cuda13]"],
    "serve": SERVE,
    "hf": ["datasets>=3.0"],  # tasks read from the Hugging Face hub
}


def version() -> str:
    text = (ROOT / "hyperx" / "__init__.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE).group(1)


setuptools.setup(
    name="hyperx",
    version=version(),
    description="Hypernetworks for language models, in JAX and Flax",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license_expression="Apache-2.0",
    license_files=["LICENSE"],
    # tensorflow has no wheels for 3.14.
    python_requires=">=3.11,<3.14",
    packages=setuptools.find_namespace_packages(
        include=["hyperx", "hyperx.*"], exclude=["*.__pycache__", "*.__pycache__.*"]
    ),
    package_data={"": ["*.gin"], "hyperx.serve": ["page.html"]},
    install_requires=CORE,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["hyperx = hyperx.cli:main"]},
)
