"""The demo in a browser, as a person uses it: a clip, its verdict, the timeline, and files that cannot be judged."""

import shutil
import tempfile
from types import SimpleNamespace

import pytest

selenium = pytest.importorskip("selenium", reason="needs selenium")
BROWSER, DRIVER = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (BROWSER and DRIVER), reason="needs chromium and chromedriver")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --window-size=1280,1400"
)
PATIENCE_S = 600  # of a very busy machine


@pytest.fixture(scope="module")
def browser(demo):
    """A browser on the demo's page; `requested` gives the addresses that it asked for."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for flag in [*FLAGS.split(), f"--user-data-dir={profile}"]:
            options.add_argument(flag)
        driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
        driver.set_page_load_timeout(PATIENCE_S)
        try:
            driver.get(demo.address)
            yield SimpleNamespace(driver=driver, wait=waiter(driver))
        finally:
            driver.quit()


def waiter(driver):
    from selenium.common.exceptions import StaleElementReferenceException
    from selenium.webdriver.support.ui import WebDriverWait

    wait = WebDriverWait(driver, PATIENCE_S, ignored_exceptions=[StaleElementReferenceException])
    return lambda script: wait.until(lambda driver: driver.execute_script(f"return {script}"))


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


def test_the_page_asks_nobody_else(browser, demo):
    import json

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
