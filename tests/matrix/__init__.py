"""What connects: four modes, the kinds of NAT, with and without a relay, measured with the real program.

:mod:`tests.matrix.theory` says what has to come of each, :mod:`tests.matrix.measure` what does.
``python -m tests.matrix`` measures all and writes the table of docs/networks.md.
"""
