"""The demo's HTTP API, as its documentation says it is called."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from modeling_macbdf.report import SCHEMA_VERSION

gradio_client = pytest.importorskip("gradio_client", reason="needs the extra [demo]")


def ask(address: str, path) -> dict:
    client = gradio_client.Client(address, verbose=False, analytics_enabled=False)
    return json.loads(client.predict(file=gradio_client.handle_file(str(path)), api_name="/judge"))


def left_behind(demo) -> list[str]:
    return [path.name for path in demo.folder.rglob("*.mp4") if path.name != "preview.mp4"]


def test_the_api_returns_the_documented_json_and_keeps_no_upload(demo, clips):
    answer = ask(demo.address, clips.talking)
    expected = demo.detector.detect(clips.talking)
    assert answer["schema_version"] == SCHEMA_VERSION
    assert answer["model"]["id"] == demo.detector.model_info["id"]
    (file,) = answer["files"]
    assert (file["path"], file["verdict"], file["status"]) == ("talking.mp4", expected.verdict, "scored")
    assert file["p_fake"] == pytest.approx(expected.p_fake, abs=1e-6)
    assert left_behind(demo) == []


def test_plain_http_as_with_curl(demo, clips):
    import httpx

    with clips.noface.open("rb") as file:
        (path,) = httpx.post(f"{demo.address}gradio_api/upload", files={"files": file}).json()
    body = {"data": [{"path": path, "meta": {"_type": "gradio.FileData"}}]}
    event = httpx.post(f"{demo.address}gradio_api/call/judge", json=body).json()["event_id"]
    stream = httpx.get(f"{demo.address}gradio_api/call/judge/{event}", timeout=120).text
    data = stream.split("event: complete\ndata: ")[1].splitlines()[0]
    assert json.loads(json.loads(data)[0])["files"][0]["status"] == "no_face"


def test_clients_at_once_get_their_own_answers_even_for_the_same_clip(demo, clips):
    """Gradio keeps one file for equal uploads: deleting it after the first answer once took it from the others."""
    asked = [clips.talking, clips.noface, clips.corrupt] * 2
    with ThreadPoolExecutor(len(asked)) as pool:
        answers = list(pool.map(lambda path: ask(demo.address, path), asked))
    for path, answer in zip(asked, answers, strict=True):
        file = answer["files"][0]
        assert file["path"] == path.name
        if path is not clips.corrupt:
            assert file["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert [answer["files"][0]["status"] for answer in answers[:2]] == ["scored", "no_face"]
    assert left_behind(demo) == []


def test_a_clip_that_is_too_long_is_refused_by_its_limit(demo, clips):
    file = ask(demo.address, clips.long)["files"][0]
    assert (file["status"], file["p_fake"]) == ("too_long", None)
    assert "8" in file["reason"]


def test_an_upload_that_is_too_large_is_refused(demo):
    import httpx

    answer = httpx.post(f"{demo.address}gradio_api/upload", files={"files": ("big.mp4", b"0" * 1_200_000)})
    assert answer.status_code == 413
    assert left_behind(demo) == []


def test_an_address_is_not_fetched(demo, monkeypatch):
    """Gradio fetched it without a limit on the size, into one file for all callers."""
    import httpx
    from gradio import processing_utils

    asked = []
    monkeypatch.setattr(processing_utils, "async_ssrf_protected_get", lambda url: asked.append(url))
    body = {"data": [{"path": "https://example.com/clip.mp4", "meta": {"_type": "gradio.FileData"}}]}
    event = httpx.post(f"{demo.address}gradio_api/call/judge", json=body).json()["event_id"]
    stream = httpx.get(f"{demo.address}gradio_api/call/judge/{event}", timeout=60).text
    assert "event: error" in stream
    assert asked == []
    assert left_behind(demo) == []


def test_it_listens_on_loopback_and_tells_nobody(demo):
    import os

    import httpx

    assert demo.address.startswith("http://127.0.0.1:")
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"
    config = httpx.get(f"{demo.address}config").json()
    assert config["analytics_enabled"] is False
    assert config["run_history"] is False
