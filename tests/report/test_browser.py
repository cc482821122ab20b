"""The page in a real browser: no error, no sideways scrolling, tables that sort."""

import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from selfmae.report.page import build_page
from selfmae.results.run_folder import RunFolder

Make = Callable[..., Path]
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--hide-scrollbars"),
    *("--enable-logging=stderr", "--dump-dom"),
)
DRAWING = ("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--virtual-time-budget=60000")
# Headless windows cannot be narrower than 500 pixels: the page is shown in a frame of the wanted width.
FRAME = """<!doctype html><body><iframe id="frame" style="width:400px;height:2000px;border:0" srcdoc="{page}"></iframe>
<script>
frame.onload = function () {{
  var root = frame.contentDocument, table = root.querySelector("table.sortable");
  var wide = root.documentElement.scrollWidth;
  var third = function (row) {{ return row.cells[2].textContent; }};
  var cells = function () {{ return Array.from(table.tBodies[0].rows, third); }};
  var clicks = [];
  for (var i = 0; i < 2; i++) {{ table.querySelectorAll("button")[2].click(); clicks.push(cells().join()); }}
  document.body.setAttribute("data-found", [wide, root.documentElement.clientWidth].concat(clicks).join(";"));
}};
</script></body>"""


@pytest.fixture
def chromium() -> str:
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium on this machine: the page cannot be looked at")
    return path


def look(chromium: str, folder: Path, html: str, flags: Sequence[str] = ("--disable-gpu",)) -> tuple[str, str]:
    """Return the document after its scripts, and the console."""
    path = folder / "page.html"
    path.write_text(html, encoding="utf-8")
    command = [
        chromium,
        *FLAGS,
        *flags,
        f"--user-data-dir={folder / 'profile'}",
        "--window-size=800,2000",
        path.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)


@pytest.mark.parametrize("kind", ["mask", "multilabel"])
def test_a_narrow_page_does_not_scroll_sideways_and_sorts(
    chromium: str, make_run: Make, tmp_path: Path, kind: str
) -> None:
    page = build_page(RunFolder.read(make_run(kind, num_seeds=1))).replace("&", "&amp;").replace('"', "&quot;")
    document, console = look(chromium, tmp_path, FRAME.format(page=page))
    match = re.search(r'data-found="([^"]*)"', document)
    assert match
    wide, shown, upward, downward = match[1].split(";")
    assert console == ""
    assert (wide, shown) == ("400", "400")
    numbers = [float(text) for text in upward.split(",")]
    assert numbers == sorted(numbers)
    assert [float(text) for text in downward.split(",")] == numbers[::-1]


def test_the_page_alone_has_no_console_message(chromium: str, make_run: Make, tmp_path: Path) -> None:
    document, console = look(chromium, tmp_path, build_page(RunFolder.read(make_run(num_seeds=1))))
    assert "Where the numbers are from" in document
    assert console == ""


def click(page: str) -> str:
    """Return the page with a click on the first button that opens a volume."""
    return page.replace("</body>", '<script>document.querySelector(".open").click()</script></body>')


def test_a_click_opens_a_volume_with_truth_and_prediction(chromium: str, make_run: Make, tmp_path: Path) -> None:
    document, console = look(chromium, tmp_path, click(build_page(RunFolder.read(make_run(num_seeds=1)))), DRAWING)
    assert console == ""
    assert document.count('data-shown="3"') == 1


def test_without_webgl_the_pictures_stay_and_the_page_says_why(chromium: str, make_run: Make, tmp_path: Path) -> None:
    page = click(build_page(RunFolder.read(make_run(num_seeds=1))))
    document, console = look(chromium, tmp_path, page, ("--disable-3d-apis", "--virtual-time-budget=9000"))
    assert console == ""
    assert document.count('<p class="note unable">This browser lacks WebGL 2') == 1
    assert "data-shown" not in document


def test_a_browser_too_old_for_the_viewer_offers_none(chromium: str, make_run: Make, tmp_path: Path) -> None:
    page = build_page(RunFolder.read(make_run(num_seeds=1))).replace(
        "<body>", "<body><script>delete window.DecompressionStream</script>"
    )
    document, _ = look(chromium, tmp_path, page)
    assert document.count('class="open" hidden') == 6
    assert document.count('<p class="note unable">') == 6


def test_a_viewer_that_fails_says_so_in_the_page(chromium: str, make_run: Make, tmp_path: Path) -> None:
    page = re.sub(r'(class="volume-image">)[^<]*', r"\1AAAA", build_page(RunFolder.read(make_run(num_seeds=1))))
    document, _ = look(chromium, tmp_path, click(page), DRAWING)
    assert document.count('<p class="note unable">') == 1
    assert "data-shown" not in document
