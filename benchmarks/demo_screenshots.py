"""Takes the pictures of the demo in docs/, on clips that it renders itself, with the weights that the project ships.

    python benchmarks/demo_screenshots.py             docs/demo-desktop.jpg, demo-many.jpg, demo-phone.jpg
    python benchmarks/demo_screenshots.py --out /tmp/pictures --model runs/small/model --dark

Needs the extras [demo] and [dev], chromium and chromedriver.
"""

import argparse
import base64
import io
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from selenium import webdriver
from selenium.common.exceptions import ElementClickInterceptedException, StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

BROWSER, DRIVER = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --window-size=1280,1400"
)
PATIENCE_S = 600  # of a very busy machine
DOCS = Path(__file__).resolve().parents[1] / "docs"
DESKTOP, PHONE = 960, 390  # pixels: width of the page
READY = (
    "document.querySelector('#m-preview video')?.readyState >= 2 && document.querySelector('#m-faces img')?.complete"
)


@contextmanager
def browser(flags: Sequence[str] = ()) -> Iterator[Any]:
    """A headless browser; `flags` are added to those that every use needs."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(BROWSER)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for flag in [*FLAGS.split(), *flags, f"--user-data-dir={profile}"]:
            options.add_argument(flag)
        driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
        driver.set_page_load_timeout(PATIENCE_S)
        try:
            yield driver
        finally:
            driver.quit()


def waiter(driver: Any) -> Callable[[str], Any]:
    """Waits until a JavaScript expression is true, and gives its value."""
    return lambda script: _until(driver, lambda driver: driver.execute_script(f"return {script}"))


def _until(driver: Any, done: Callable[[Any], Any]) -> Any:
    """Waits until it is done, as long as the page is still being drawn."""
    passing = [StaleElementReferenceException, ElementClickInterceptedException]
    return WebDriverWait(driver, PATIENCE_S, ignored_exceptions=passing).until(done)


def set_width(driver: Any, width: int, height: int = 844) -> None:
    """The page as a screen of this width in pixels shows it."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    driver.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": True})


def photograph(driver: Any, out: Path) -> None:
    """The whole page, however long, as a JPEG."""
    taken = driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "format": "png"})
    Image.open(io.BytesIO(base64.b64decode(taken["data"]))).convert("RGB").save(out, quality=80)


def click(driver: Any, words: str) -> None:
    """Clicks the visible button or tab with these words."""
    path = f"//button[normalize-space()='{words}'][@role='tab' or not(@tabindex)]"

    def clicked(driver: Any) -> bool:
        shown = [button for button in driver.find_elements(By.XPATH, path) if button.is_displayed()]
        for button in shown[:1]:
            button.click()
        return bool(shown)

    _until(driver, clicked)


def open_page(driver: Any, address: str, width: int) -> None:
    """The demo's page, ready to be used."""
    set_width(driver, width)
    driver.get(address)
    waiter(driver)("document.querySelector('#m-judge')")


def judge_example(driver: Any) -> None:
    """Has the first example judged, and stops its video at second 1."""
    wait = waiter(driver)
    click(driver, "A rendered talking face")
    wait("document.querySelector('#m-verdict').innerText.includes('talking.mp4')")
    wait(READY)
    driver.execute_script("document.activeElement.blur(); document.querySelector('#m-preview video').currentTime = 1")
    wait("!document.querySelector('#m-preview video').seeking")


def judge_many(driver: Any, clips: Sequence[Path]) -> None:
    """Has a batch judged, until its CSV can be downloaded."""
    wait = waiter(driver)
    click(driver, "Many files")
    driver.find_element(By.CSS_SELECTOR, "#m-files input[type=file]").send_keys("\n".join(map(str, clips)))
    wait(f"document.querySelector('#m-files').innerText.includes('{clips[-1].stem}')")
    click(driver, "Judge all")
    wait(f"document.querySelector('#m-table').innerText.includes('{clips[-1].name}')")
    wait("document.querySelector('a#m-csv, #m-csv a, #m-csv:not([disabled])')")


def make_clips(folder: Path) -> list[Path]:
    """The demo's own examples, and a file that is no clip."""
    from modeling_macbdf.demo.examples import NAMES, example

    clips = [Path(example(name, folder)) for name in NAMES]
    broken = folder / "broken.mp4"
    broken.write_bytes(clips[0].read_bytes()[:2000])
    return [*clips, broken]


def main() -> None:
    """Takes all pictures."""
    from modeling_macbdf.demo.launch import DemoOptions, running

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=DOCS, help="folder (default: docs/)")
    parser.add_argument("--model", help="folder or Hub repository (default: the weights that the project ships)")
    parser.add_argument("--dark", action="store_true", help="in dark colours")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    theme = "?__theme=dark" if options.dark else "?__theme=light"
    with (
        tempfile.TemporaryDirectory() as folder,
        running(DemoOptions(model=options.model, port=0)) as address,
        browser() as driver,
    ):
        for width, name in ((DESKTOP, "demo-desktop.jpg"), (PHONE, "demo-phone.jpg")):
            open_page(driver, address + theme, width)
            judge_example(driver)
            photograph(driver, options.out / name)
        open_page(driver, address + theme, DESKTOP)
        judge_many(driver, make_clips(Path(folder)))
        photograph(driver, options.out / "demo-many.jpg")
    print(f"wrote three pictures to {options.out}")


if __name__ == "__main__":
    main()
