"""The data doctor: what is wrong with a set of cases, how bad it is, and what mends it."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from selfmae.data.case import Cases
from selfmae.data.doctor.facts import Facts, Problem
from selfmae.data.doctor.findings import REMEDIES, Finding, join, make_finding
from selfmae.data.doctor.images import check_images
from selfmae.data.doctor.masks import check_masks
from selfmae.data.doctor.sets import check_copies, check_counts, check_ids
from selfmae.errors import UserError

__all__ = ["REMEDIES", "Finding", "examine", "raise_on_errors"]

SEVERITIES = ("error", "warning", "note")


def examine(cases: Cases, facts: Sequence[Facts], problems: Sequence[Problem]) -> list[Finding]:
    """Return all findings, errors first, notes last; problems of one code are one finding."""
    found = [
        *_group([*cases.problems, *problems]),
        *check_images(cases, facts),
        *check_masks(cases, facts),
        *check_copies(cases, facts),
        *check_ids(cases),
        *check_counts(cases),
    ]
    return sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))


def raise_on_errors(findings: Iterable[Finding]) -> None:
    """Raise one `UserError` with every error finding: cause and what mends it."""
    errors = [f"{finding.cause}: {finding.fix}" for finding in findings if finding.severity == "error"]
    if errors:
        raise UserError(f"The data cannot be used as it is: {'; '.join(errors)}.")


def _group(problems: Sequence[Problem]) -> list[Finding]:
    """Return one finding for each code and remedy: the first texts speak for the others, `cases` lists all."""
    groups: dict[tuple[str, str], list[Problem]] = defaultdict(list)
    for problem in problems:
        groups[problem.code, problem.fix].append(problem)
    return [
        make_finding(
            code,
            [item.case for item in group if item.case],
            join(list(dict.fromkeys(item.text for item in group))),
            fix,
        )
        for (code, fix), group in groups.items()
    ]
