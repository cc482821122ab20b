"""What a running command says, and where to."""

import pytest

from selfmae.display import Display, _clock


def test_sentences_go_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    Display().say("[red]hello[/red]")
    assert tuple(capsys.readouterr()) == ("", "[red]hello[/red]\n")


def test_what_was_asked_for_goes_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    Display(stdout=True).say("hello")
    assert tuple(capsys.readouterr()) == ("hello\n", "")


def test_a_quiet_display_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    display = Display(quiet=True)
    display.say("hello")
    with display.stage("work", 1) as stage:
        stage.update(1)
    assert tuple(capsys.readouterr()) == ("", "")


def test_a_table_shows_every_value_as_written(capsys: pytest.CaptureFixture[str]) -> None:
    Display(stdout=True).table(("key", "value"), [("data.crop", "[16, 16]"), ("x", "[bold]")])
    out = capsys.readouterr().out
    assert "[16, 16]" in out
    assert "[bold]" in out


def test_a_table_without_rows_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    Display(stdout=True).table(("key", "value"), [])
    assert capsys.readouterr().out == ""


def test_a_stage_ends_with_a_line_that_has_the_loss(capsys: pytest.CaptureFixture[str]) -> None:
    with Display().stage("training [x]", 3) as stage:
        for step in range(1, 4):
            stage.update(step, 0.5)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("training [x]: 3/3  loss 0.5000")


def test_time_left_is_that_of_the_steps_done_here(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 10.0, 10.0, 12.0, 12.0, 12.0, 12.0])
    monkeypatch.setattr("selfmae.display.time.monotonic", lambda: next(clock))
    said: list[str] = []
    with Display().stage("work", 100) as stage:
        monkeypatch.setattr(stage.console, "print", lambda text, **_: said.append(text))
        stage.update(90)
        stage.printed = -100.0
        stage.update(94)
    assert said == ["work: 94/100  2.0/s  0:03 left"]


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0:00"), (59.6, "1:00"), (125, "2:05"), (3661, "1:01:01")])
def test_seconds_are_written_as_a_clock_does(seconds: float, text: str) -> None:
    assert _clock(seconds) == text


def test_words_in_colons_or_brackets_are_shown_as_typed(capsys: pytest.CaptureFixture[str]) -> None:
    Display().say("a:smile:[bold]b.nii.gz")
    Display().table(("file :cat:",), [("[red]c :dog:",)])
    printed = "".join(capsys.readouterr())
    assert all(word in printed for word in ("a:smile:[bold]b.nii.gz", "file :cat:", "[red]c :dog:"))
