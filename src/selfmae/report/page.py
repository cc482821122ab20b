"""The page: everything a run folder says, as one HTML file that needs no network."""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from selfmae.report.context import page_facts
from selfmae.results.formatting import FILTERS
from selfmae.results.run_folder import RunFolder


def build_page(run: RunFolder, leakage: Sequence[str] = ()) -> str:
    """Return the report of a run folder as HTML; equal files give equal bytes.

    With `leakage`, sentences on models that know their test cases, every table and figure is stamped.
    """
    leakage = [*leakage] or [str(item) for item in run.verdict.get("leakage", [])]
    page = render("page.html", page_facts(run, leakage))
    return stamp(page) if leakage else page


def render(template: str, facts: dict[str, Any]) -> str:
    """Return a template of the report filled with facts; texts are escaped."""
    return _environment().get_template(template).render(facts)


def stamp(page: str) -> str:
    """Return the page with the word TRANSDUCTIVE on the verdict, every table and every figure."""
    page = page.replace('<div class="verdict">', '<div class="verdict"><p class="alarm">TRANSDUCTIVE</p>')
    page = re.sub(r"<table[^>]*>", r'\g<0><caption class="alarm">TRANSDUCTIVE</caption>', page)
    return re.sub(r"<figure[^>]*>", r'\g<0><p class="alarm">TRANSDUCTIVE</p>', page)


@lru_cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("selfmae.report"),
        extensions=["jinja2.ext.do"],
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= FILTERS
    return environment
