"""The process of a local server."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import openai


def test_the_server_ends_with_its_parent_even_if_that_is_killed() -> None:
    program = (
        "import time\nfrom qurating.judging.servers.simulated import Settings, serving\n"
        "with serving(Settings({}, 0.0, 0.0, 0)) as url:\n    print(url, flush=True)\n    time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    base_url = parent.stdout.readline().strip()
    with openai.OpenAI(base_url=base_url, api_key="none", max_retries=0) as client:
        assert client.models.list()
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
        parent.stdout.close()
        deadline = time.monotonic() + 600
        with contextlib.suppress(openai.APIConnectionError):
            while client.models.list():
                assert time.monotonic() < deadline, "it serves on"
                time.sleep(0.1)
