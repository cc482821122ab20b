"""The step log: one JSON line for the mean loss of a few steps, one for each look at the validation part."""

import json
from pathlib import Path
from typing import Any


class StepLog:
    """Lines {"step", "loss", "lr"} and {"step", "score"}; a run that continues drops those after its checkpoint."""

    def __init__(self, path: Path, every: int) -> None:
        self.path = path
        self.every = every

    def is_due(self, step: int) -> bool:
        """Return whether the losses up to this step are to be written."""
        return step % self.every == 0

    def write(self, line: dict[str, Any]) -> None:
        """Append one line."""
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def cut(self, step: int) -> None:
        """Drop the lines after `step`, and a line that a crash left unfinished."""
        kept = [json.dumps(line) + "\n" for line in read_log(self.path) if line["step"] <= step]
        part = self.path.with_name(f"{self.path.name}.part")
        part.write_text("".join(kept))
        part.replace(self.path)


def read_log(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a step log, without an unfinished last one; [] if there is no file."""
    lines = []
    for text in path.read_text().splitlines() if path.exists() else []:
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            break
    return lines
