"""Side-by-side timing of recurrent layers: ``python -m bench run`` and ``python -m bench report``.

Every peer is checked against the float64 formulas before it is timed, each peer lives in its own
process, and the repeats of all peers are interleaved. See ``bench/README.md`` for the method.
"""
