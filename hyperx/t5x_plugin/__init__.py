"""hyperx inside t5x: its models under ``python -m t5x.train``, ``eval`` and ``infer``.

Nothing imports this package; gin files for t5x do. `feature_converters`, `factoring`
and `rows` work without t5x, the other modules need it. See ``docs/t5x.md``.
"""
