"""Work in other processes comes back, and no process outlives the one that asked."""

import os
import signal
import subprocess
import sys

import psutil
import pytest
from project import ROOT

from coursework.apart import spread

ASLEEP = """
import time
from coursework.apart import spread
print(list(spread(divmod, [(7, 2)] * 4, jobs=2)), flush=True)
list(spread(time.sleep, [(120,)] * 4, jobs=2))
"""


def test_results_come_back_in_order_if_that_is_asked():
    assert list(spread(divmod, [(7, 2), (8, 3)], jobs=1, ordered=True)) == [(3, 1), (2, 2)]


@pytest.mark.slow  # processes are started
def test_nothing_survives_a_kill():
    asked = subprocess.Popen([sys.executable, "-c", ASLEEP], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert asked.stdout.readline() == f"{[(3, 1)] * 4}\n"
    family = psutil.Process(asked.pid).children(recursive=True)
    workers = [each for each in family if "resource_tracker" not in " ".join(each.cmdline())]
    assert len(workers) >= 2
    os.kill(asked.pid, signal.SIGKILL)
    asked.wait()
    gone, alive = psutil.wait_procs(workers, timeout=15)
    for each in alive:
        each.kill()
    assert not alive and len(gone) == len(workers)
