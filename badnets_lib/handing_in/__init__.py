"""How the coursework's grader reads a notebook, for it and for the student who is about to hand one in."""

from .closing import ClosedError as ClosedError, closed as closed
from .loading import load as load, python as python
from .preview import SECONDS as SECONDS, as_graded as as_graded, report as report
from .written import written as written
