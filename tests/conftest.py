"""Shape-checked signatures, quiet threads, and the few things several files need."""

import json
import os
import shutil

os.environ.update(OMP_WAIT_POLICY="PASSIVE", TQDM_DISABLE="1", MPLBACKEND="Agg")
os.environ.pop("BADNETS_DATA", None)  # no test may depend on what this machine happens to hold

import jaxtyping
import pytest
import torch
from hypothesis import HealthCheck, settings
from torch import nn

jaxtyping.install_import_hook("badnets_lib", "beartype.beartype")

torch.set_num_threads(1)
settings.register_profile(
    "suite",
    deadline=None,
    derandomize=True,
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
settings.load_profile("suite")


GRADER = {"test_assignments", "test_attack_round", "test_coursework", "test_hunt", "test_sandbox", "test_zoo"}
BROWSING = {"test_lab_firefox", "test_site"}  # beside every test that asks for the browser


def pytest_collection_modifyitems(items):
    """Mark what `make quick` leaves out. With several workers a file stays with one; chapters run one by one."""
    for item in items:
        if item.path.stem in GRADER or "bubblewrap" in item.fixturenames:
            item.add_marker("grader")
        if item.path.stem in BROWSING or "browser" in item.fixturenames:
            item.add_marker("browser")
        if item.get_closest_marker("notebooks") is None:
            item.add_marker(pytest.mark.xdist_group(item.path.name))


BROWSERS = ("chromium", "chromium-browser", "google-chrome")
NOBODY_ELSE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"  # what a page asks of others never leaves
FLAGS = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--no-first-run", NOBODY_ELSE]


@pytest.fixture(scope="module")
def browser():
    """A running Chromium; without one the tests that need it are skipped, except in CI."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        reason = f"this needs a browser: none of {', '.join(BROWSERS)} is installed"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        running = play.chromium.launch(executable_path=path, args=FLAGS)
        yield running
        running.close()


@pytest.fixture
def open_page(browser):
    """Opens pages from a folder; at the end nothing may have gone wrong on them, nor left their folder."""
    contexts, wrong, strays = [], [], []

    def open_one(folder, name, *, before="", **settings):
        context = browser.new_context(**settings)
        contexts.append(context)
        page = context.new_page()
        inside = (folder.as_uri(), "blob:")
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.on("request", lambda request: None if request.url.startswith(inside) else strays.append(request.url))
        page.add_init_script(before)
        page.goto(f"{folder.as_uri()}/{name}")
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert not wrong
    assert not strays


@pytest.fixture
def traced(browser):
    """Milliseconds that each task of the pages had a processor while something was done.

    A clock on the wall would also count what other programs take: the machine may do much else beside the tests.
    """
    main, task = "CrRendererMain", "ThreadControllerImpl::RunTask"  # as Chromium calls them

    def traced(do):
        browser.start_tracing(categories=["toplevel"])
        try:
            do()
        finally:
            events = json.loads(browser.stop_tracing())["traceEvents"]
        told = [each for each in events if each["name"] == "thread_name" and each["args"]["name"] == main]
        mains = {(each["pid"], each["tid"]) for each in told}
        tasks = [each for each in events if each["name"] == task and (each["pid"], each["tid"]) in mains]
        return [each["tdur"] / 1000 for each in tasks if "tdur" in each]

    return traced


@pytest.fixture(scope="session")
def bubblewrap():
    """The sandbox of the coursework works here; elsewhere the tests that need it are skipped, except in CI."""
    from coursework.sandbox import NoSandbox, check_available

    try:
        check_available()
    except NoSandbox as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.fixture
def unchecked():
    """The functions as a reader calls them: bad shapes reach the library's own errors."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def mnist5k(tmp_path_factory):
    """(train, test) of the digits, cached in a folder of this session."""
    from badnets_lib import load

    return load("mnist5k", root=tmp_path_factory.mktemp("data"))


@pytest.fixture
def tiny():
    """60 grey images of 8x8 in three classes, 20 of each."""
    from badnets_lib import ImageSet

    x = torch.rand(60, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    return ImageSet(x, torch.arange(60) % 3, ("a", "b", "c"))


@pytest.fixture
def planted():
    """A network with known answers, and images that tell it what to answer.

    The first pixel of an image holds the answer without the trigger, in tenths. An image whose
    last pixel is 1 carries the trigger and is answered with `target`, unless its answer is `immune`.
    """

    class Planted(nn.Module):
        def __init__(self, target, immune):
            super().__init__()
            self.target, self.immune = target, immune

        def forward(self, x):
            answer = (x[:, 0, 0, 0] * 10).round().long()
            triggered = (x[:, 0, -1, -1] == 1) & (answer != self.immune)
            return nn.functional.one_hot(torch.where(triggered, self.target, answer), 10).float()

    def make(answers, target=-1, immune=-1):
        x = torch.zeros(len(answers), 1, 8, 8)
        x[:, 0, 0, 0] = torch.tensor(answers) / 10
        return Planted(target, immune), x

    return make
