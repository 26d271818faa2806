"""The page in a real Chromium, by hand as it were: labels, keys, answers, the camera, the token, and no resource from outside."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import pytest

pytest.importorskip("starlette", reason="the extra serve is not installed")
pytest.importorskip("uvicorn", reason="the extra serve is not installed")
pytest.importorskip("prometheus_client", reason="the extra serve is not installed")
from segmentation_bundle import QUARTERS, painted, write_segmentation_bundle
from served import WAIT_S, Server, served, wait_until
from small_bundle import write_small_bundle
from typed_bundle import write_typed_bundle

PAGE = Path(__file__).parents[3] / "runtime/commands/serve/page"
CHROMIUM, DRIVER = (shutil.which(name) for name in ("chromium", "chromedriver"))
TOKEN = "a-word-that-nobody-guesses"
in_chromium = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="no Chromium here: apt-get install chromium chromium-driver"
)


def test_the_page_names_nothing_outside_and_runs_nothing_inline():
    for path in PAGE.iterdir():
        text = path.read_text(encoding="utf-8")
        assert not re.findall(r"(?:https?:)?//[\w.]+\.\w+|@import|url\(", text), path.name
        assert "innerHTML" not in text and "eval(" not in text and "document.write" not in text
    html = (PAGE / "page.html").read_text(encoding="utf-8")
    assert not re.findall(r"<script(?![^>]* src=)|<style| on\w+=| style=", html)


def test_every_control_has_a_name():
    html = (PAGE / "page.html").read_text(encoding="utf-8")
    labelled = set(re.findall(r'<label for="([\w-]+)"', html))
    for name in re.findall(r'<(?:input|select|textarea) id="([\w-]+)"', html):
        assert name in labelled, name
    assert 'lang="en"' in html and 'aria-live="polite"' in html


def _shade(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_text_stands_out_from_its_ground():
    """WCAG 2.1, 1.4.3 and 1.4.11: 4.5 to 1 for text, 3 to 1 for borders; in both schemes."""
    css = (PAGE / "page.css").read_text(encoding="utf-8")
    schemes = [
        dict(re.findall(r"--([\w-]+): (#\w{6})", block)) for block in re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    ]
    assert len(schemes) == 2
    pairs = [(ink, ground, 4.5) for ink in ("ink", "soft", "bad") for ground in ("ground", "part")]
    for ink, ground, least in [*pairs, ("act-ink", "act", 4.5), ("line", "ground", 3), ("act", "ground", 3)]:
        for scheme in schemes:
            dark, light = sorted((_shade(scheme[ink]), _shade(scheme[ground])))
            assert (light + 0.05) / (dark + 0.05) >= least, (ink, ground, scheme)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver")
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    options.binary_location = str(CHROMIUM)
    words = ["--headless=new", "--disable-gpu", "--window-size=1000,1400", "--use-fake-device-for-media-stream"]
    words += ["--use-fake-ui-for-media-stream", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    for word in words:
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    driver.set_page_load_timeout(WAIT_S)
    yield driver
    driver.quit()


class Page:
    def __init__(self, browser: Any, server: Server) -> None:
        self.browser = browser
        browser.get(f"http://127.0.0.1:{server.port}/")

    def at(self, name: str) -> Any:
        return self.browser.find_element("id", name)

    def says(self, name: str, text: str) -> None:
        wait_until(lambda: text in self.at(name).text)

    def complaints(self) -> list[str]:
        return [one["message"] for one in self.browser.get_log("browser") if one["level"] == "SEVERE"]


@in_chromium
def test_a_picture_is_answered_drawn_and_told(tmp_path: Path, browser: Any):
    picture = tmp_path / "quarters.png"
    cv2.imwrite(str(picture), painted(QUARTERS)[..., ::-1])
    bundles = [write_segmentation_bundle(tmp_path / "s.edge"), write_small_bundle(tmp_path / "small.edge")]
    with served(*bundles, write_typed_bundle(tmp_path / "t.edge")) as server:
        page = Page(browser, server)
        wait_until(lambda: len(browser.find_elements("css selector", "#model option")) == 3)
        page.says("health", "Server ready")
        page.at("file").send_keys(str(picture))
        page.says("status", "green 50%, red 25%, blue 25%")
        assert page.at("drawn").get_attribute("alt").endswith("green 50%, red 25%, blue 25%")
        size = browser.execute_script("return [drawn.naturalWidth, drawn.naturalHeight]")
        assert size == [32, 32] and page.at("drawn").is_displayed()
        cells = [one.text for one in browser.find_elements("css selector", "#table tbody tr:first-child td")]
        assert cells == ["green", "1", "50.0 %"]
        assert page.at("keep").get_attribute("download") == "quarters.png"
        page.at("model").send_keys("small")
        page.says("status", "Nothing was asked of small yet.")
        assert not page.at("figure").is_displayed()
        page.at("again").click()
        page.says("status", "green")
        box = page.at("option-top")
        assert box.accessible_name == "How many to show"
        box.send_keys("none")
        page.at("again").click()
        page.says("problem", "top has no value that can be")
        page.at("model").send_keys("typed")
        page.says("inputs", "in_float16")
        assert "tritonclient" in page.at("program").text and not page.at("look").is_displayed()
        assert all("400" in one for one in page.complaints())  # the mistake above, and nothing else


@in_chromium
def test_all_of_it_is_reached_by_keys_and_has_a_name(tmp_path: Path, browser: Any):
    from selenium.webdriver import ActionChains, Keys

    with served(write_segmentation_bundle(tmp_path / "s.edge")) as server:
        page = Page(browser, server)
        page.says("about", "fp32")
        names = []
        for _ in range(5):
            ActionChains(browser).send_keys(Keys.TAB).perform()
            names.append(browser.switch_to.active_element.accessible_name)
        assert names[:3] == ["To the picture", "Bundle", "How many to show"]
        assert "Choose a JPEG or PNG" in names[3] and names[4] == "Start the camera"


@in_chromium
def test_the_camera_is_looked_at_until_it_is_stopped(tmp_path: Path, browser: Any):
    with served(write_small_bundle(tmp_path / "small.edge")) as server:
        page = Page(browser, server)
        page.says("about", "fp32")
        page.at("camera").click()
        wait_until(lambda: server.house.models["small"].told["answered"] >= 2)
        page.says("caption", "camera")
        assert page.at("camera").get_attribute("aria-pressed") == "true"
        page.at("camera").click()
        page.says("camera", "Start the camera")


@in_chromium
def test_a_server_with_a_token_asks_for_it(tmp_path: Path, browser: Any):
    with served(write_small_bundle(tmp_path / "small.edge"), token=TOKEN.encode()) as server:
        page = Page(browser, server)
        wait_until(lambda: page.at("secret").is_displayed())
        page.at("token").send_keys("wrong\n")
        page.says("why-token", "does not know this token")
        page.at("token").send_keys(TOKEN + "\n")
        page.says("about", "fp32")
        assert not page.at("secret").is_displayed() and page.at("token").get_attribute("value") == ""
