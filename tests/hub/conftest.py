"""A Hub on the loopback interface, and a token for it."""

import pytest
from huggingface_hub import constants

from .server import TOKEN, Hub


@pytest.fixture(scope="module")
def hub():
    server = Hub()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def token(hub, monkeypatch):
    """The real client, pointed at the loopback Hub."""
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    return TOKEN
