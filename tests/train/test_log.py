from pathlib import Path

from selfmae.files import read_log
from selfmae.train.loop import StepLog


def test_cut_drops_later_lines_and_half_lines_and_keeps_the_rest_as_it_was(tmp_path: Path) -> None:
    log = StepLog(tmp_path / "steps.jsonl", every=2)
    for step in (2, 4, 6):
        log.write({"step": step, "loss": 1 / 3, "lr": 1e-5})
    before = log.path.read_text().splitlines(keepends=True)
    log.path.write_text("".join(before) + '{"step": 8, "lo')
    log.cut(4)
    assert log.path.read_text() == "".join(before[:2])


def test_lines_at_the_step_of_the_checkpoint_stay(tmp_path: Path) -> None:
    log = StepLog(tmp_path / "steps.jsonl", every=1)
    log.write({"step": 3, "loss": 1.0, "lr": 0.1})
    log.write({"step": 3, "score": None})
    log.cut(3)
    assert read_log(log.path) == [{"step": 3, "loss": 1.0, "lr": 0.1}, {"step": 3, "score": None}]


def test_no_file_has_no_lines(tmp_path: Path) -> None:
    assert read_log(tmp_path / "steps.jsonl") == []


def test_every_second_step_is_due() -> None:
    assert [step for step in range(1, 7) if StepLog(Path("x"), every=2).is_due(step)] == [2, 4, 6]
