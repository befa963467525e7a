"""Seeded hammering of what a user can hand over: command lines, data files, run folders, benches; and kills of a training.

    .venv/bin/python tests/fuzz command-lines --n 1000 --seed 0

prints how each case ended and every case that ended badly. A case ends well when it is carried out or refused in one line: no
traceback, at most ten seconds and a bounded memory, and nothing silently different.
"""
