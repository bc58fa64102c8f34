"""The page that classifies clips, on a real server: with Gradio's client, and in a browser."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest

import tuning.__main__
from tests.helpers.champions import CLASSES, coloured_square
from tests.helpers.processes import LIMIT_SECONDS, PROJECT, wait_for
from tests.helpers.small_models import one_seed_one_thread
from tests.helpers.video_files import write_video
from tuning.config.run_folder import RunFolder
from tuning.inference.app.server import render_prediction
from tuning.inference.champion import Champion
from tuning.ports import find_free_port
from tuning.training.calibration import Calibration

__all__ = ["one_seed_one_thread"]

pytest.importorskip("gradio", reason="requirements-app.txt is not installed")

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def address(run: RunFolder) -> Iterator[str]:
    """The address of the page, served by the command."""
    port = find_free_port()
    command = [sys.executable, "-m", "tuning", "app", "--run", str(run.path), f"--port={port}"]
    # Requests to other machines fail, and no proxy may be used for those to this one.
    dead = {
        "https_proxy": "http://127.0.0.1:9",
        "http_proxy": "http://127.0.0.1:9",
        "all_proxy": "socks5://127.0.0.1:9",
    }
    environment = {**os.environ, **dead, "no_proxy": "", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}/"

    def responds() -> bool:
        assert process.poll() is None, process.communicate()[0].decode()
        try:
            urllib.request.urlopen(url, timeout=2).close()
        except OSError:
            return False
        return True

    try:
        wait_for(responds, "the page responds")
        yield url
    finally:
        process.terminate()
        output = process.communicate(timeout=LIMIT_SECONDS)[0].decode()
    # Gradio's own tracebacks, for requests that no page sends.
    expected = re.findall(r"^gradio\.exceptions\.Error: .* is not in the list of choices", output, re.M)
    assert output.count("Traceback") == len(expected), output


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    file = tmp_path / "holiday.mp4"
    file.write_bytes(b"no video")
    return file


def text(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", html)).split())


def test_uploaded_clip_is_classified(address: str, tmp_path: Path, bad: Path) -> None:
    from gradio_client import Client, handle_file

    client = Client(address, verbose=False, analytics_enabled=False)
    clip = write_video(tmp_path / "mine.mp4", coloured_square("squat", 50), fps=10)
    html = client.predict(handle_file(clip), api_name="/label")
    assert 'class="wc-verdict"' in html
    assert "squat" in text(html).split("mine.mp4")[0]
    assert text(html).count("%") >= len(CLASSES)
    assert html.count("<figure>") == 8
    assert html.count("data:image/jpeg;base64,") == 16
    assert re.search(r"decoded in \d+ ms · model \d+ ms · Grad-CAM \d+ ms", text(html))
    refused = client.predict(handle_file(bad), api_name="/label")
    assert text(refused).startswith("holiday.mp4 can't be classified: FFmpeg can't read it")
    assert "figure" not in refused
    assert text(client.predict(handle_file(clip), api_name="/label")).startswith("squat"), (
        "works after an unreadable file"
    )


def test_test_clips_can_be_chosen_and_no_other_files(address: str, run: RunFolder) -> None:
    from gradio_client import Client
    from gradio_client.exceptions import AppError

    client = Client(address, verbose=False, analytics_enabled=False)
    assert text(client.predict("pull Up/9.mp4", api_name="/label_sample")).startswith("pull Up")
    for other in ("pull Up/5.mp4", "../runs/x", str(run.path / "config.yaml")):
        with pytest.raises(AppError):
            client.predict(other, api_name="/label_sample")


def test_content_policy_forbids_other_servers(address: str) -> None:
    with urllib.request.urlopen(address) as answer:
        policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'self'")
    assert "http" not in policy


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
@pytest.mark.parametrize("width", [1280, 390])
def test_page_in_a_browser(address: str, tmp_path: Path, bad: Path, width: int) -> None:
    from playwright.sync_api import sync_playwright

    clip = write_video(tmp_path / "mine.mp4", coloured_square("dip", 51), fps=10)
    requested: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": 800})
        page.on("request", lambda request: requested.append(request.url))
        page.goto(address)
        assert page.locator("h2").inner_text() == "Try my *best* run"
        upload = page.locator("input[type=file]")
        upload.wait_for(state="attached")
        upload.set_input_files(clip)
        page.locator(".wc-answer").wait_for(timeout=60_000)
        assert page.locator(".wc-verdict").inner_text() == "dip"
        assert page.locator(".wc-frames img").count() == 16
        assert page.evaluate("[...document.querySelectorAll('.wc-frames img')].every(i => i.naturalWidth > 0)")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.get_by_label("Or a clip of the test split").click()
        page.get_by_role("option", name="squat/14.mp4").click()
        page.wait_for_function("document.querySelector('.wc-verdict')?.innerText === 'squat'", timeout=60_000)
        page.get_by_label(re.compile("Remove|Clear")).first.click()
        upload.wait_for(state="attached")
        upload.set_input_files(bad)
        page.locator(".wc-message").wait_for(timeout=60_000)
        assert (
            page.locator(".wc-message").inner_text().startswith("holiday.mp4 can't be classified: FFmpeg can't read it")
        )
        assert "Traceback" not in page.content()
        browser.close()
    assert [url for url in requested if not url.startswith((address, "data:", "blob:"))] == []


def test_page_says_when_it_abstains_and_when_a_video_is_long(run: RunFolder, tmp_path: Path) -> None:
    champion = Champion(run.best)
    champion.calibration = Calibration(1.0, 1.01, 0.1, 0.0, 1.0, 3)
    clip = write_video(tmp_path / "<i>.mp4", coloured_square("dip", 52, 9), fps=10)
    html = render_prediction(champion, clip, clip.name, 2.0)
    assert "Not sure. No class reaches 101 %" in text(html)
    assert "the most likely class is dip" in text(html)
    assert "This video is 9 s long, the training clips 2 s" in text(html)
    assert "&lt;i&gt;.mp4" in html
    champion.calibration = replace(champion.calibration, threshold=0.0)
    html = render_prediction(champion, clip, clip.name, None)
    assert text(html).startswith("dip ")
    assert "Not sure" not in html
    assert "training clips" not in html


def test_missing_gradio_and_invalid_port_are_refused_with_one_line(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tuning.__main__.main(["app", "--run", str(run.path), "--port=99999"]) == 2
    assert "give another --port" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert tuning.__main__.main(["app", "--run", str(run.path)]) == 2
    assert (
        capsys.readouterr().err
        == "error: the page needs the package gradio; install it with: pip install -r requirements-app.txt\n"
    )
