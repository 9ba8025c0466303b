"""The demo in a browser, as a person uses it: a clip, its verdict, the timeline, and files that cannot be judged."""

import csv
import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("selenium", reason="needs selenium")
sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))
import demo_screenshots

pytestmark = pytest.mark.skipif(
    not (demo_screenshots.BROWSER and demo_screenshots.DRIVER), reason="needs chromium and chromedriver"
)


@pytest.fixture(scope="module")
def camera(talking_face, tmp_path_factory) -> list[str]:
    """Flags for a camera and a microphone that a rendered talking face sits in front of."""
    from modeling_macbdf.media.write import WriteOptions, write_clip

    frames, voice = talking_face
    folder = tmp_path_factory.mktemp("camera")
    mjpeg = WriteOptions(video_codec="mjpeg", container="mjpeg", pixel_format="yuvj420p", crf=None)
    picture = write_clip(folder / "camera.mjpeg", frames, options=mjpeg)
    sound = write_clip(folder / "voice.wav", None, waveform=voice, options=WriteOptions(audio_codec="pcm_s16le"))
    return [
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-video-capture={picture}",
        f"--use-file-for-fake-audio-capture={sound}",
    ]


@pytest.fixture(scope="module")
def browser(demo, camera):
    """A browser on the demo's page."""
    with demo_screenshots.browser(camera) as driver:
        driver.get(demo.address)
        yield SimpleNamespace(driver=driver, wait=demo_screenshots.waiter(driver))


def judge(browser, path) -> str:
    """Uploads a file, clicks the button and returns the text of the verdict once it names the file."""
    from selenium.webdriver.common.by import By

    browser.wait("document.querySelector('#m-file input[type=file]')")
    browser.driver.find_element(By.CSS_SELECTOR, "#m-file input[type=file]").send_keys(str(path))
    browser.wait(f"document.querySelector('#m-file').innerText.includes('{path.stem}')")
    browser.driver.find_element(By.ID, "m-judge").click()
    browser.wait(f"document.querySelector('#m-verdict').innerText.includes('{path.name}')")
    return browser.driver.find_element(By.ID, "m-verdict").text


def test_a_clip_gets_its_verdict_and_the_timeline_moves_the_video(browser, clips, demo):
    """A click in the middle shows the middle of the clip, and the arrow key goes one step on."""
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    from modeling_macbdf.evidence.fragments import HEADLINES

    expected = demo.detector.detect(clips.talking)
    words = judge(browser, clips.talking)
    assert HEADLINES[expected.verdict] in words
    assert f"{expected.p_fake:.0%}" in words
    browser.wait("(document.querySelector('#m-preview video') || {}).readyState >= 1")
    track = browser.driver.find_element(By.CSS_SELECTOR, "#m-timeline .m-track")
    ActionChains(browser.driver).move_to_element(track).click().perform()  # in its middle
    middle = browser.driver.execute_script("return document.querySelector('#m-preview video').currentTime")
    assert middle == pytest.approx(3.0, abs=0.1)
    browser.driver.find_element(By.CSS_SELECTOR, "#m-timeline .m-timeline").send_keys(Keys.ARROW_RIGHT)
    moved = browser.driver.execute_script("return document.querySelector('#m-preview video').currentTime")
    assert moved == pytest.approx(middle + 0.2, abs=0.05)
    assert browser.driver.find_elements(By.CSS_SELECTOR, "#m-faces img")


@pytest.mark.parametrize(("name", "words"), [("noface", "no face"), ("corrupt", "Not judged"), ("long", "8 s")])
def test_a_file_that_cannot_be_judged_says_why_and_shows_no_number(browser, clips, name, words):
    text = judge(browser, getattr(clips, name))
    assert "Not judged" in text
    assert words in text
    assert "%" not in text


def test_a_sound_file_gets_a_player_on_the_clock_of_the_timeline(browser, clips):
    judge(browser, clips.sound)
    browser.wait("(document.querySelector('#m-preview video') || {}).readyState >= 1")
    length = browser.driver.execute_script("return document.querySelector('#m-preview video').duration")
    assert length == pytest.approx(4.0, abs=0.25)


def test_a_recording_is_judged_with_its_sound(browser, demo):
    """Gradio mutes and mirrors recordings unless told otherwise, with an ffmpeg program that need not be there."""
    from selenium.webdriver.common.by import By

    record = "#m-webcam button[aria-label='start recording']"
    demo_screenshots.click(browser.driver, "Webcam")
    browser.wait("document.querySelector('#m-webcam').innerText.includes('Access Webcam')")
    demo_screenshots.click(browser.driver, "Click to Access Webcam")
    browser.wait(f'document.querySelector("{record}")')
    browser.driver.find_element(By.CSS_SELECTOR, record).click()
    time.sleep(4.0)
    browser.driver.find_element(By.CSS_SELECTOR, record).click()
    browser.wait("document.querySelector('#m-webcam video[src]')")
    browser.driver.find_element(By.ID, "m-judge").click()
    browser.wait("document.querySelector('#m-verdict').innerText.includes('webm')")
    reports = [json.loads(path.read_text())["files"][0] for path in demo.folder.rglob("report.json")]
    recorded = next(file for file in reports if file["path"].endswith("webm"))
    assert (recorded["status"], recorded["reason"]) == ("scored", "")
    assert recorded["p_fake_audio"] is not None


def test_many_files_fill_a_table_and_its_csv(browser, clips, demo):
    demo_screenshots.judge_many(browser.driver, [clips.noface, clips.corrupt])
    text = browser.driver.execute_script("return document.querySelector('#m-table').innerText")
    assert "no_face" in text
    (written,) = demo.folder.rglob("verdicts.csv")
    assert [row["path"] for row in csv.DictReader(written.open())] == ["noface.mp4", "corrupt.mp4"]


def test_the_page_asks_nobody_else(browser, demo):
    messages = [json.loads(entry["message"])["message"] for entry in browser.driver.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    over_a_network = [url for url in asked if url.startswith(("http", "ws"))]
    assert any(url.startswith(demo.address) for url in over_a_network)
    assert [url for url in over_a_network if not url.startswith(demo.address)] == []


def test_nothing_is_wider_than_a_phone(browser):
    browser.driver.set_window_size(500, 900)
    browser.driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    )
    browser.wait("window.innerWidth <= 390")
    assert browser.driver.execute_script("return document.documentElement.scrollWidth") <= 390
