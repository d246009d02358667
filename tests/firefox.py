"""A page in the Firefox of this machine, by WebDriver BiDi: Playwright drives only a Firefox of its own."""

import asyncio
import json
import re
import shutil
import subprocess
import tempfile
import threading
from contextlib import contextmanager
from itertools import count

from tornado.websocket import websocket_connect

BROWSER = next(filter(None, map(shutil.which, ("firefox", "firefox-esr"))), None)
LARGEST = 2**24  # bytes of a message


@contextmanager
def firefox_page(address):
    """Opens a page; yields a `Page`, and ends the browser."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [BROWSER, "--headless", "--no-remote", "--profile", profile, "--remote-debugging-port", "0"]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        try:
            told = (re.search("BiDi listening on (.*)", line) for line in process.stderr)
            page = Page(next(found[1] for found in told if found))
            page.send("browsingContext.navigate", context=page.context, url=address, wait="complete")
            yield page
        finally:
            process.terminate()
            process.communicate(timeout=20)


class Page:
    """One page of the browser that listens at a socket: `run` calls JavaScript in it, `wrong` lists its errors."""

    def __init__(self, socket):
        self.loop = asyncio.new_event_loop()  # one of our own: Playwright keeps the main thread's
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.numbers, self.wrong = count(1), []
        self.connection = self.wait(self.connected(f"{socket}/session"))
        self.send("session.new", capabilities={})
        self.send("session.subscribe", events=["log.entryAdded"])
        self.context = self.send("browsingContext.getTree")["contexts"][0]["context"]

    async def connected(self, address):
        return await websocket_connect(address, max_message_size=LARGEST)

    def wait(self, coroutine, timeout=180):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(timeout)

    def run(self, body):
        """What the body of an asynchronous JavaScript function returns, as JSON has it."""
        script = f"(async () => JSON.stringify(await (async () => {{ {body} }})()))()"
        found = self.send("script.evaluate", expression=script, target={"context": self.context}, awaitPromise=True)
        if found["type"] == "exception":
            raise RuntimeError(found["exceptionDetails"]["text"])
        return json.loads(found["result"]["value"])

    def send(self, method, **params):
        """The result of a command."""
        told = self.wait(self.answer(next(self.numbers), method, params))
        if told["type"] == "error":
            raise RuntimeError(f"{method}: {told['message']}")
        return told["result"]

    async def answer(self, number, method, params):
        await self.connection.write_message(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            told = json.loads(await self.connection.read_message())
            if told.get("id") == number:
                return told
            if told.get("method") == "log.entryAdded" and told["params"]["level"] == "error":
                self.wrong.append(told["params"]["text"])
