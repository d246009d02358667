"""The command `badnets`: audit, scan, score, poison and repair from a terminal.

A thin face: it reads files and options, calls the library, and turns what comes back into text and an exit code.
"""

from .run import main as main
