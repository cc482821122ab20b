"""Recipes as YAML: reading with all errors at once, `--set`, writing with reasons, comparing."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from selfmae import plugins
from selfmae.consistency import find_problems
from selfmae.errors import UserError, did_you_mean
from selfmae.options import Recipe

Content = dict[str, Any]
OLD_SECTIONS = {"start", "mask"}  # of recipes before methods had sections of their names


@lru_cache
def _adapter(kind: type) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


class _Loader(yaml.SafeLoader):
    """Plain values only, and no key twice: YAML would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return the mapping of a node."""
        keys = [str(key.value) for key, _ in node.value]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(problem=f"the key {twice!r} stands twice in one section")
        return super().construct_mapping(node, deep)


def read_content(path: Path, what: str = "recipe") -> Content:
    """Return the keys of a YAML file, not yet checked; raise `UserError` if it is no mapping."""
    try:
        content = yaml.load(path.read_text(), _Loader)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"The {what} {path} could not be read ({error}): give the path of a YAML file.") from error
    except yaml.YAMLError as error:
        raise UserError(
            f"The {what} {path} is not valid YAML ({' '.join(str(error).split())}): correct it there."
        ) from error
    if not isinstance(content, dict):
        raise UserError(
            f"The {what} {path} must hold keys and values, but holds {type(content).__name__}: write one 'key: value' "
            "a line."
        )
    return content


def named_recipes() -> dict[str, Path]:
    """Return the recipes that come with SelfMAE: name and file; btcv-paper.yaml is the mode "btcv:paper"."""
    files = sorted((Path(__file__).parent / "recipes").glob("*.yaml"))
    return {re.sub(r"-(?=(paper|released|fixed)$)", ":", path.stem): path for path in files}


def find_recipe(name: str) -> Path:
    """Return the file of a recipe given by path or by the name of one of SelfMAE's; "btcv" is "btcv:fixed"."""
    if Path(name).is_file():
        return Path(name)
    if Path(name).is_dir():
        raise UserError(
            f"The recipe {name!r} is a folder, but must be a file or a known name: `selfmae plan SOURCE --out "
            "recipe.yaml` writes one for a folder of images."
        )
    known = named_recipes()
    for spelt in (name, f"{name}:fixed"):
        if spelt in known:
            return known[spelt]
    short = [known_name.removesuffix(":fixed") for known_name in known]
    raise UserError(f"The recipe {name!r} is neither a file nor a known name.{did_you_mean(name, short)}")


def read_reasons(path: Path) -> dict[str, str]:
    """Return the comment behind each value of a YAML file, by dotted key; a value without one has none."""
    text = path.read_text()
    lines = text.splitlines()
    reasons: dict[str, str] = {}

    def walk(node: yaml.Node | None, prefix: str) -> None:
        for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
            walk(value, f"{prefix}{key.value}.")
            mark = value.end_mark
            rest = lines[mark.line][mark.column :].strip() if mark.line < len(lines) else ""
            if rest.startswith("#"):
                reasons[f"{prefix}{key.value}"] = rest.strip("# ")

    walk(yaml.compose(text, yaml.SafeLoader), "")
    return reasons


def overlay(below: Mapping[str, Any], above: Mapping[str, Any]) -> Content:
    """Return `below` with the values of `above`; mappings are joined, all else is replaced."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        joined = isinstance(old, Mapping) and isinstance(value, Mapping) and key != "regions"
        merged[key] = overlay(old, value) if joined else value  # type: ignore[arg-type]
    return merged


def parse_sets(settings: Iterable[str]) -> Content:
    """Return the keys of `--set a.b=value` settings; values are YAML."""
    content: Content = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key:
            raise UserError(f"--set {setting!r} must look like key=value, for example fit.steps=500.")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise UserError(f"--set {setting!r}: the value is not valid YAML; quote it.") from error
        for part in reversed(key.split(".")):
            value = {part: value}
        content = overlay(content, value)
    return content


def make_recipe(content: Mapping[str, Any], origin: str) -> Recipe:
    """Return the checked recipe; raise one `UserError` that lists every wrong key, named as typed in `origin`."""
    recipe = _build(content, origin)
    problems = list(find_problems(recipe))
    if problems:
        raise UserError(f"{origin}: {_joined(problems)}")
    return recipe


def _build(content: Mapping[str, Any], origin: str) -> Recipe:
    """Return a recipe whose keys and types are right; ranges and what must fit together are not checked."""
    if OLD_SECTIONS & content.keys():
        raise UserError(
            f"{origin} was written by an older version of SelfMAE, whose sections had other names "
            f"({', '.join(sorted(OLD_SECTIONS & content.keys()))}): make a new recipe with `selfmae plan`, and train "
            "into a new folder."
        )
    problems: list[str] = []
    # Methods have sections of their own names, so that one called "methods" is an unknown key.
    plain = {key: value for key, value in content.items() if key not in (*plugins.names("methods"), "methods")}
    given = {key: value for key, value in content.items() if key not in plain}
    methods = _plug_in("methods", given, "", problems)
    augment = {}
    for stage in ("pretrain", "fit"):
        section = plain.get(stage)
        if isinstance(section, Mapping):
            augment[stage] = _plug_in("augment", section.get("augment", {}), f"{stage}.augment.", problems)
            plain[stage] = {key: value for key, value in section.items() if key != "augment"}
    try:
        recipe: Recipe = _adapter(Recipe).validate_python(plain)
    except ValidationError as error:
        problems = [*(_sentence(item, _known_keys(item["loc"])) for item in error.errors()), *problems]
    if not problems and recipe.model.network not in ("", *plugins.names("networks")):
        hint = did_you_mean(recipe.model.network, plugins.names("networks"))
        problems = [f"key 'model.network' has the value {recipe.model.network!r}.{hint}".rstrip(".")]
    if problems:
        raise UserError(f"{origin}: {_joined(problems)}")
    stages = {stage: replace(getattr(recipe, stage), augment=found) for stage, found in augment.items()}
    return replace(recipe, methods=methods, **stages)


def _plug_in(folder: str, given: Any, prefix: str, problems: list[str]) -> dict[str, Any]:
    """Return the options of every file of a folder that has some, from a section for each; note what is wrong."""
    if not isinstance(given, Mapping):
        problems.append(f"key {prefix.rstrip('.')!r} has the value {given!r}: a section for each was expected")
        return {}
    modules = {name: module for name, module in plugins.load_all(folder).items() if hasattr(module, "Options")}
    for name in given.keys() - modules.keys():
        problems.append(f"unknown key {prefix + str(name)!r}.{did_you_mean(str(name), modules, prefix)}".rstrip("."))
    found = {}
    for name, module in modules.items():
        try:
            found[name] = _adapter(module.Options).validate_python(given.get(name, {}))
        except ValidationError as error:
            known = [item.name for item in fields(module.Options)]
            items = ({**item, "loc": (*f"{prefix}{name}".split("."), *item["loc"])} for item in error.errors())
            problems += [_sentence(item, known) for item in items]
    return found


def load_recipe(name: str, sets: Iterable[str] = ()) -> Recipe:
    """Return the recipe of a file with the settings (`--set`) over it."""
    return make_recipe(overlay(read_content(find_recipe(name)), parse_sets(sets)), name)


def check_partial(content: Mapping[str, Any], origin: str) -> Recipe:
    """Return a recipe in which only the keys of `content` mean something: wrong ones raise before a plan is made."""
    optim = {"steps": 1, "batch": 1, "lr": 1.0}
    blank = {
        "data": {"source": ""},
        "target": {"kind": "mask", "names": []},
        "model": {"patch": []},
        "pretrain": optim,
        "fit": optim,
    }
    return _build(overlay(blank, content), origin)


def _joined(problems: Sequence[str]) -> str:
    """Return all problems as one sentence; one that ends with a question has its end."""
    text = "; ".join(problems)
    return text if text.endswith("?") else f"{text}."


def _sentence(item: Mapping[str, Any], known: Sequence[str]) -> str:
    """Return what is wrong at one key, with the key as typed; `known` are the keys of its section."""
    parts = [str(part) for part in item["loc"]]
    key = ".".join(parts)
    if item["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        hint = did_you_mean(parts[-1], known, key[: -len(parts[-1])])
        return f"unknown key {key!r}.{hint}".rstrip(".")
    if item["type"] == "missing":
        return f"key {key!r} is missing"
    return f"key {key!r} has the value {item['input']!r}: {item['msg'][0].lower()}{item['msg'][1:]}"


def _known_keys(loc: Sequence[Any]) -> list[str]:
    """Return the keys of the section in which a key lies."""
    section: Any = Recipe
    for part in loc[:-1]:
        section = next((item.type for item in fields(section) if item.name == part), None)
        if not is_dataclass(section):
            return []
    names = [item.name for item in fields(section) if item.name != "methods"]
    return [*names, *plugins.names("methods")] if section is Recipe else names


def as_content(recipe: Recipe) -> Content:
    """Return the recipe as plain mappings and lists, ready for YAML and JSON; methods have sections of their names."""
    content: Content = {}
    for key, value in _plain(asdict(recipe)).items():
        content |= value if key == "methods" else {key: value}
    return content


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (tuple, list)) else value


def write_recipe(path: Path, recipe: Recipe, reasons: Mapping[str, str] | None = None) -> None:
    """Write every value as YAML, with the reason of a value ("model.patch": why) as a comment behind it."""
    lines: list[str] = []
    _write_section(as_content(recipe), "", reasons or {}, lines)
    part = path.with_name(f"{path.name}.part")
    part.write_text("\n".join(lines) + "\n")
    part.replace(path)


def _write_section(content: Content, prefix: str, reasons: Mapping[str, str], lines: list[str]) -> None:
    indent = "  " * prefix.count(".")
    for key, value in content.items():
        if isinstance(value, dict) and value:
            lines.append(f"{indent}{key}:")
            _write_section(value, f"{prefix}{key}.", reasons, lines)
            continue
        text = yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True).strip()
        reason = reasons.get(f"{prefix}{key}")
        comment = f"  # {' '.join(reason.split())}" if reason else ""
        lines.append(
            f"{indent}{yaml.safe_dump(key).split('...')[0].strip()}: {text.removesuffix('...').strip()}{comment}"
        )


def differences(ours: Recipe, theirs: Recipe) -> list[str]:
    """Return the keys in which two recipes differ, as "fit.steps (600, was 500)"."""
    new, old = flat(as_content(ours)), flat(as_content(theirs))
    return [
        f"{key} ({new.get(key)}, was {old.get(key)})" for key in sorted({*new, *old}) if new.get(key) != old.get(key)
    ]


def flat(content: Content, prefix: str = "") -> dict[str, Any]:
    """Return nested keys as "fit.steps" and their values."""
    flattened: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, dict):
            flattened |= flat(value, f"{prefix}{key}.")
        else:
            flattened[f"{prefix}{key}"] = value
    return flattened
