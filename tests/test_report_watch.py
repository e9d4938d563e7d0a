"""The page of a sweep that runs: it says what is missing, loads itself anew, and ends when nothing is left."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from suite.cli.main import main
from suite.records import Store

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture
def half(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Store, Callable[[], None]]:
    """A store that lacks runs of its sweep, and a function that brings them."""
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    store = Store("runs")
    late = [store.run_folder(record["run_id"]) for record in store.records() if record["seed"] == 2]
    for folder in late:
        (tmp_path / "late" / folder.parent.name).mkdir(parents=True, exist_ok=True)
        folder.rename(tmp_path / "late" / folder.parent.name / folder.name)
    return store, lambda: shutil.copytree(tmp_path / "late", store.path / "runs", dirs_exist_ok=True) and None


def page_of(store: Store) -> Path:
    (page,) = store.path.glob("sweeps/*/report/index.html")
    return page


def progress(html: str) -> str:
    return " ".join(re.findall(r"\d+ of \d+ runs have a result", html))


def test_a_page_follows_its_sweep_and_is_final_in_the_end(
    half: tuple[Store, Callable[[], None]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store, bring = half
    seen: list[str] = []

    def sleep(seconds: float) -> None:
        assert seconds == 7
        seen.append(page_of(store).read_text())
        if len(seen) == 2:
            bring()

    monkeypatch.setattr("suite.cli.commands.report.time.sleep", sleep)
    assert main(["report", "s.yaml", "--watch", "7"]) == 0
    assert [progress(html) for html in seen] == ["8 of 16 runs have a result"] * 2 + ["16 of 16 runs have a result"]
    assert all('<meta http-equiv="refresh" content="7">' in html for html in seen) and seen[0] == seen[1]
    final = page_of(store).read_text()
    assert "refresh" not in final and not progress(final) and "the page is final" in capsys.readouterr().out


def test_wrong_requests(half: tuple[Store, Callable[[], None]], capsys: pytest.CaptureFixture[str]) -> None:
    for words, sentence in (
        (["report", "--watch", "5"], "--watch is for the page of one sweep"),
        (["report", "s.yaml", "--watch", "0"], "--watch must be from 1 to 86,400 seconds, got 0"),
        (["report", "s.yaml", "--watch", "nan"], "--watch must be from 1"),
    ):
        assert main(words) == 2
        assert sentence in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_browser_shows_new_results_without_a_hand(half: tuple[Store, Callable[[], None]]) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    store, bring = half
    watching = subprocess.Popen(
        [sys.executable, "-c", "import sys; from suite.cli.main import main; sys.exit(main(sys.argv[1:]))",
         "report", "s.yaml", "--watch", "2"],
    )  # fmt: skip
    try:
        until = time.monotonic() + 60
        while not list(store.path.glob("sweeps/*/report/index.html")) and time.monotonic() < until:
            time.sleep(0.2)
        with playwright.sync_playwright() as started:
            browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            page = browser.new_page()
            complaints: list[str] = []
            page.on("console", lambda message: complaints.append(message.text))
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.goto(page_of(store).absolute().as_uri())
            assert progress(page.inner_text("body")) == "8 of 16 runs have a result"
            assert page.locator("figure svg").count() > 0
            threading.Timer(1, bring).start()
            page.wait_for_function(
                "() => document.body.innerText.includes('16 of 16 runs have a result')", timeout=60e3
            )
            page.wait_for_function("() => !document.body.innerText.includes('runs have a result')", timeout=60e3)
            assert complaints == []
            browser.close()
        assert watching.wait(60) == 0
    finally:
        watching.kill()
