"""The JavaScript client, through Node's own test runner."""
from conftest import run_js


def test_sandbox(daemon):
    run_js("sandbox.test.mjs", daemon.client_env())
