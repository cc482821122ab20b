import json
import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from selfmae.errors import UserError
from selfmae.report.page import build_page
from selfmae.results.run_folder import RunFolder

Make = Callable[..., Path]
VOID = {"meta", "img", "input", "br", "path", "use", "rect", "link"}


class Elements(HTMLParser):
    """Collects the tags of a page and checks that each is closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.open: list[str] = []
        self.sources: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.sources += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


@pytest.mark.parametrize("kind", ["mask", "multilabel"])
def test_a_page_is_well_formed_and_every_id_is_unique(make_run: Make, kind: str) -> None:
    elements = Elements(build_page(RunFolder.read(make_run(kind))))
    assert not elements.open
    assert len(set(elements.ids)) == len(elements.ids)


@pytest.mark.parametrize("kind", ["mask", "multilabel"])
def test_a_page_asks_for_nothing_outside_itself(make_run: Make, kind: str) -> None:
    page = build_page(RunFolder.read(make_run(kind)))
    assert all(source.startswith(("data:", "#")) for source in Elements(page).sources)
    assert "://" not in re.sub(r'xmlns(:\w+)?="[^"]+"', "", page)
    assert "@import" not in page
    assert "default-src 'none'" in page


@pytest.mark.parametrize("kind", ["mask", "multilabel"])
def test_every_reference_inside_the_plots_has_its_target(make_run: Make, kind: str) -> None:
    page = build_page(RunFolder.read(make_run(kind)))
    targets = re.findall(r'(?:url\(|href=")#([^)"]+)', page)
    assert targets
    assert set(targets) <= set(Elements(page).ids)


@pytest.mark.parametrize("kind", ["mask", "multilabel"])
def test_the_same_folder_gives_the_same_bytes(make_run: Make, kind: str) -> None:
    folder = make_run(kind)
    assert build_page(RunFolder.read(folder)) == build_page(RunFolder.read(folder))


def test_another_process_and_another_style_give_the_same_bytes(make_run: Make, tmp_path: Path) -> None:
    folder = make_run()
    (tmp_path / "matplotlibrc").write_text("font.size: 22\naxes.facecolor: red\nsvg.hashsalt: other\n")
    program = (
        "import pathlib, sys; from selfmae.report.page import build_page; "
        "from selfmae.results.run_folder import RunFolder; print(build_page(RunFolder.read(pathlib.Path(sys.argv[1]))))"
    )
    command = [sys.executable, "-c", program, str(folder)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.rstrip("\n") == build_page(RunFolder.read(folder)).rstrip("\n")


def test_names_are_shown_as_text_and_never_as_markup(make_run: Make) -> None:
    page = build_page(RunFolder.read(make_run()))
    assert "&lt;b&gt;liver&lt;/b&gt;" in page
    assert "<b>" not in page
    assert "abdomen &lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script>alert" not in page
    assert "a CPU affords &lt;small&gt; models" in page


def test_names_of_initializations_are_escaped_inside_plots(make_run: Make) -> None:
    folder = make_run("multilabel")
    (folder / "mae").rename(folder / "<i>$a$")
    content = json.loads((folder / "verdict.json").read_text())
    content["pairs"][0]["b"] = "<i>$a$"
    (folder / "verdict.json").write_text(json.dumps(content))
    page = build_page(RunFolder.read(folder))
    assert "<i>" not in page
    plot = page[page.index("<svg") : page.index("</svg>")]
    assert ">&lt;i&gt;$a$</text>" in plot


def test_plots_hold_no_date_and_take_the_colour_of_the_page(make_run: Make) -> None:
    page = build_page(RunFolder.read(make_run()))
    assert "currentColor" in page
    assert "#0a0b0c" not in page
    assert not re.search(r"<metadata|<dc:date|20\d\d-\d\d-\d\d", page)


def test_a_mask_page_shows_every_section(make_run: Make) -> None:
    page = build_page(RunFolder.read(make_run()))
    titles = re.findall(r"<h2>(.*?)</h2>", page)
    assert titles == [
        "Initializations",
        "Labels",
        "Learning curves",
        "Reconstructions",
        "Worst, median and best case",
        "Cases",
        "What was run",
        "Methods paragraph",
        "Model card",
        "Where the numbers are from",
    ]


def test_a_classification_page_shows_roc_curves_in_place_of_masks(make_run: Make) -> None:
    page = build_page(RunFolder.read(make_run("multilabel", num_seeds=1)))
    assert "<h2>ROC and calibration curves</h2>" in page
    assert "White dashed: truth" not in page


def test_a_page_of_a_run_is_small(make_run: Make) -> None:
    assert len(build_page(RunFolder.read(make_run()))) < 5_000_000


def test_the_captions_say_how_hidden_patches_are_shown(make_run: Make) -> None:
    page = build_page(RunFolder.read(make_run()))
    assert "trained with 75 % of the patches hidden" in page
    assert "taken from the visible patches nearby, never from the hidden ones" in page


@pytest.mark.parametrize(
    "gone",
    [
        "run.json",
        "verdict.json",
        "recipe.yaml",
        "*/fold0/seed0/environment.json",
        "*/fold0/seed*/summary-test.json",
        "*/fold0/seed*/rows-test.csv",
        "*/fold0/seed*/steps.jsonl",
        "*/fold0/seed*/figures/*.npz",
    ],
)
@pytest.mark.parametrize("kind", ["mask", "multilabel"])
def test_a_missing_file_takes_only_its_own_part_away(make_run: Make, kind: str, gone: str) -> None:
    folder = make_run(kind, num_seeds=2)
    for path in folder.glob(gone):
        path.unlink()
    page = build_page(RunFolder.read(folder))
    assert not Elements(page).open
    assert "<h2>What was run</h2>" in page


def test_a_run_cut_short_after_pretraining_has_no_verdict(make_cell: Make) -> None:
    page = " ".join(build_page(RunFolder.read(make_cell("pretrain"))).split())
    assert "Self pre-training reached step 400; no model has been evaluated" in page
    assert "<h2>Reconstructions</h2>" in page
    assert "<h2>Initializations</h2>" not in page


def test_a_single_finetuning_reports_its_score_and_no_comparison(make_cell: Make) -> None:
    page = " ".join(build_page(RunFolder.read(make_cell("mae"))).split())
    assert "The model fine-tuned with self pre-training reaches mean Dice 0.8" in page
    assert "cannot say whether self pre-training helps" in page


def test_leakage_is_shown_at_the_top(make_run: Make) -> None:
    folder = make_run()
    content = json.loads((folder / "verdict.json").read_text())
    (folder / "verdict.json").write_text(json.dumps(content | {"leakage": ["patient3 stands in train and test"]}))
    page = build_page(RunFolder.read(folder))
    assert "Leakage: patient3 stands in train and test" in page[: page.index("<h2>")]


@pytest.mark.parametrize("exists", [True, False])
def test_a_folder_without_results_says_what_to_run(tmp_path: Path, exists: bool) -> None:
    folder = tmp_path / "empty"
    if exists:
        folder.mkdir()
    with pytest.raises(
        UserError, match=r"empty holds no results of SelfMAE: run `selfmae run SOURCE --out .*` to its end first"
    ):
        build_page(RunFolder.read(folder))


def test_a_damaged_json_file_is_named(make_run: Make) -> None:
    folder = make_run()
    (folder / "verdict.json").write_text('{"metric": ')
    with pytest.raises(UserError, match=r"verdict\.json could not be read .* or delete it and give the command"):
        build_page(RunFolder.read(folder))


def test_a_damaged_file_of_pictures_is_named(make_run: Make) -> None:
    folder = make_run()
    path = folder / "pretrain-mae" / "fold0" / "seed0" / "figures" / "reconstructions.npz"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(
        UserError, match=r"reconstructions\.npz must hold arrays \(NPZ\) as this version writes them, but could not"
    ):
        build_page(RunFolder.read(folder))


def test_a_report_does_not_import_torch() -> None:
    program = "import sys; import selfmae.report.page; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
