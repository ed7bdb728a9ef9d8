"""The JavaScript client, through Node's own test runner."""
import pytest
from conftest import run_js


@pytest.mark.parametrize("script", ["sandbox.test.mjs", "pause.test.mjs"])
def test_javascript(daemon, script):
    run_js(script, daemon.client_env())
