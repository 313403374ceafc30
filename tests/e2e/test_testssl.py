# SPDX-License-Identifier: MIT
"""testssl.sh against `pier serve tls://`: nothing above INFO but what docs/tls.md has a reason for.

It takes minutes, so it runs where it is asked for: PIER_TEST_SSL=1, which `./dev test --all` sets.
"""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
MINUTES = 6  # less than run_tests.py gives the file

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not os.environ.get("PIER_TEST_SSL"), reason="minutes: PIER_TEST_SSL=1"),
    pytest.mark.skipif(not shutil.which("testssl"), reason="no testssl (package testssl.sh)"),
]


def allowed():
    """The findings in the table of docs/tls.md."""
    text = (REPOSITORY / "docs/tls.md").read_text().split("## testssl.sh")[1].split("\n## ")[0]
    return set(re.findall(r"^\| `(\w+)` \|", text, re.M))


@pytest.mark.models("tasks")
def test_testssl_finds_nothing_that_has_no_reason(serve, tmp_path, monkeypatch):
    signal.setitimer(signal.ITIMER_REAL, MINUTES * 60)  # conftest's last resort is for seconds
    server = serve("--handler", "echo", urls=["tls://127.0.0.1:0"],
                   env={"XDG_DATA_HOME": str(tmp_path / "data")})
    port = server.url.rsplit(":", 1)[1]
    report = tmp_path / "report.json"
    subprocess.run(["testssl", "--warnings", "off", "--color", "0", "--quiet", "--openssl-timeout",
                    "10", "--add-ca", str(tmp_path / "data/pier/ca.pem"), "--jsonfile", str(report),
                    f"localhost:{port}"], timeout=MINUTES * 60, stdin=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    findings = json.loads(report.read_text())
    ids = {finding["id"] for finding in findings}
    assert {"TLS1_3", "heartbleed", "cert_chain_of_trust"} <= ids, "the scan was cut short"
    bad = [finding for finding in findings
           if finding["severity"] not in ("OK", "INFO", "DEBUG") and finding["id"] not in allowed()]
    assert not bad
