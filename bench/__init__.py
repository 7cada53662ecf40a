"""Side-by-side timing of recurrent layers: ``python -m bench run``, ``report``, ``compare``.

Every peer is checked against the float64 formulas before it is timed, each peer lives in its own
process, and the repeats of all peers are interleaved. See ``docs/benchmarks.md``.
"""
