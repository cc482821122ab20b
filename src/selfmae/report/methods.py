"""A methods paragraph for a paper, made only of facts in the run folder."""

from collections.abc import Sequence
from typing import Any

from selfmae import plugins
from selfmae.methods import EQUAL
from selfmae.report.sentences import main_pair
from selfmae.results.formatting import difference_digits, interval, listed, metric_title, number, origin, plural, span
from selfmae.results.run_folder import RunFolder
from selfmae.results.training_run import TrainingRun

PARTS = {"labelled": "labelled", "train": "training", "val": "validation", "test": "test", "unlabelled": "unlabelled"}
INTENSITIES = {
    "zscore": "normalised to zero mean and unit variance",
    "zscore_nonzero": "normalised to zero mean and unit variance over nonzero voxels",
    "percentile": "scaled to 0..1 between low and high percentiles",
    "window": "clipped to a fixed window and scaled to 0..1",
    "range": "scaled to 0..1 between lowest and highest value",
}
MODELS = {
    "mask": "a UNETR decoder was added and trained with Dice and cross-entropy loss",
    "regions": "a UNETR decoder was added and trained with Dice loss on overlapping regions",
    "multilabel": "a linear layer was added and trained with binary cross-entropy, since findings may occur together",
    "multiclass": "a linear layer was added and trained with cross-entropy over exclusive classes",
}


def methods_paragraph(results: RunFolder, leakage: Sequence[str] = ()) -> str:
    """Return the paragraph; what the folder does not tell is left out, how models know their test cases is not."""
    parts = [_software, _data, _preparation, _model, _pretraining, _finetuning, _prediction, _scored, _statistics]
    known = [f"The results are transductive. {' '.join(leakage)}"] if leakage else []
    return " ".join([text for part in parts if (text := part(results))] + known)


def kind_of(results: RunFolder) -> str:
    """Return mask, regions, findings or classes, "" where neither run nor recipe says it."""
    kind = str(results.facts.get("kind") or results.settings.get("target.kind", ""))
    regions = results.facts.get("regions") or any(key.startswith("target.regions.") for key in results.settings)
    return "regions" if kind == "mask" and regions else kind


def baseline_of(results: RunFolder) -> str:
    """Return the network that stands in the place of the Vision Transformer and where it is from, "" if none does."""
    name = str(results.settings.get("model.network") or "")
    library = plugins.load("networks", name).LIBRARY if name in plugins.names("networks") else ""
    if library == "timm" and len(results.settings.get("data.crop", ())) == 3:
        library = "MONAI"
    return f"{name} of {library}" if library else ""


def sizes(values: Sequence[Any]) -> str:
    """Return "96 × 96 × 64"."""
    return " \u00d7 ".join(f"{value:g}" for value in values)


def _software(results: RunFolder) -> str:
    cell = next(iter((*results.trained, *results.pretrainings)), None)
    if cell is None:
        return ""
    versions = cell.environment.get("versions", {})
    known = [f"{name} {versions[name]}" for name in ("selfmae", "torch", "timm", "monai") if name in versions]
    device = (
        f" on {cell.environment['device']} in {cell.environment.get('precision', 'an unknown precision')}"
        if "device" in cell.environment
        else ""
    )
    return f"Models were trained with {listed(known)}{device}." if known else ""


def _data(results: RunFolder) -> str:
    counts = results.facts.get("counts", {})
    parts = [
        f"{plural(counts[split]['cases'], f'{word} case')} of {plural(counts[split]['patients'], 'patient')}"
        for split, word in PARTS.items()
        if counts.get(split, {}).get("cases")
    ]
    if not parts:
        return ""
    crossed = _folds(results.facts.get("num_folds", 1), results.facts.get("num_repeats", 1))
    return f"The data set {results.source} gave {listed(parts)}{crossed}; no patient stands in two parts of a split."


def _folds(num_folds: int, num_repeats: int) -> str:
    if num_folds == 1:
        return ""
    repeated = f", repeated {num_repeats} times" if num_repeats > 1 else ""
    return f", with {num_folds}-fold patient-wise cross-validation{repeated}"


def _preparation(results: RunFolder) -> str:
    settings = results.settings
    steps = []
    if settings.get("data.spacing_mm"):
        steps.append(f"resampled to {sizes(settings['data.spacing_mm'])} mm")
    if settings.get("data.size"):
        steps.append(f"resized to {sizes(settings['data.size'])} pixels")
    if settings.get("data.intensity") in INTENSITIES:
        window = settings.get("data.window") if settings["data.intensity"] == "window" else None
        bounds = f" ({number(window[0], 0)} to {number(window[1], 0)})" if window else ""
        steps.append(INTENSITIES[settings["data.intensity"]] + bounds)
    crop = settings.get("data.crop")
    shown = f"; one sample shows {sizes(crop)} {'pixels' if len(crop) == 2 else 'voxels'}" if crop else ""
    return f"Images were {listed(steps)}{shown}." if steps else ""


def _model(results: RunFolder) -> str:
    settings = results.settings
    if baseline := baseline_of(results):
        return f"The network is {baseline}."
    keys = ("model.patch", "model.width", "model.depth", "model.heads")
    if not all(settings.get(key) for key in keys):
        return ""
    patch, width, depth, heads = (settings[key] for key in keys)
    shape = f"patches of {sizes(patch)}, width {width}, {depth} blocks, {heads} heads"
    return f"The encoder is a vision transformer ({shape})."


def _pretraining(results: RunFolder) -> str:
    if not results.pretrainings:
        return ""
    cell, settings = results.pretrainings[0], results.settings
    counts = [found.environment["num_seen"] for found in results.pretrainings if "num_seen" in found.environment]
    seen = f" on {_spanned(counts, 'image')}" if counts else ""
    taken = [found.num_steps for found in results.pretrainings if found.num_steps]
    steps = f" for {_spanned(taken, 'step')}" if taken else ""
    method = str(cell.environment.get("method", "mae"))
    how = plugins.load("methods", method).describe(settings) if method in plugins.names("methods") else f"with {method}"
    begun = str(settings.get("init.pretrain") or "scratch")
    origins = "" if begun == "scratch" else f", continuing from {begun.replace(chr(92), '/').rpartition('/')[2]}"
    return (
        f"It was pre-trained {how}{seen}{steps}{origins}"
        f"{_optimiser(results, 'pretrain')}, and learned from no label and from no validation or test case."
        f"{_probe(cell)}"
    )


def _spanned(counts: Sequence[int], word: str) -> str:
    """Return "1 step" or "120 to 400 steps"."""
    return plural(counts[0], word) if len({*counts}) == 1 else f"{span(counts)} {word}s"


def _probe(cell: TrainingRun) -> str:
    """Return what chose the weights of a pre-training that was probed, as a sentence."""
    if not cell.validations:
        return ""
    read_out = any("probe" in look for look in cell.validations)
    how = (
        "a linear model read the labels of training patients best from its frozen features"
        if read_out
        else "it reconstructed the hidden patches of validation images best"
    )
    return f" Its weights of the step at which {how} were kept."


def _finetuning(results: RunFolder) -> str:
    if not results.trained:
        return ""
    steps, longest = (
        max((cell.num_steps or 0 for cell in results.trained if (cell.init == EQUAL) == longer), default=0)
        for longer in (False, True)
    )
    more = f"; up to {longest:,} {origin(EQUAL)}, counted in floating-point operations" if longest else ""
    kept = (
        "the weights with the best validation score"
        if any(cell.scores for cell in results.runs)
        else "the last weights"
    )
    seeds = len({cell.seed for cell in results.trained})
    names = [init for init in results.inits if init not in results.scored]
    inits = listed([origin(init) for init in names])
    equal = " on the same splits and seeds" if len(names) > 1 else ""
    kind, trained = kind_of(results), "trained" if baseline_of(results) else "fine-tuned"
    added = f"For the task, {MODELS[kind]}. " if kind in MODELS and trained == "fine-tuned" else ""
    share = float(results.settings.get("data.fraction", 1.0))
    added += f"Of the training patients {100 * share:g} % gave their labels. " if share < 1 else ""
    return (
        f"{added}The model was {trained} {inits}{equal} ({plural(seeds, 'seed')}, up to {steps:,} steps{more})"
        f"{_optimiser(results, 'fit')}, and {kept} were kept."
    )


def _optimiser(results: RunFolder, stage: str) -> str:
    lr, batch = (results.settings.get(f"{stage}.{key}") for key in ("lr", "batch"))
    name = "SGD" if results.settings.get(f"{stage}.optimizer") == "sgd" else "AdamW"
    return f" with {name} (learning rate {lr:g}, batch {batch})" if lr and batch else ""


def _prediction(results: RunFolder) -> str:
    overlap = results.settings.get("predict.overlap")
    if overlap is None or kind_of(results) not in ("mask", "regions") or not results.headline:
        return ""
    grid = "prepared grid" if results.settings.get("predict.grid") == "prepared" else "grid of the files"
    return f"Masks were predicted with a sliding window (overlap {100 * overlap:g} %) and scored on the {grid}."


def _scored(results: RunFolder) -> str:
    """Return that masks of other tools were scored as they are."""
    if not results.scored:
        return ""
    alike = ", as those of our models" if results.trained else ""
    return (
        f"The masks of {listed(results.scored)} were made by another tool and scored on the grid of the files{alike}."
    )


def _statistics(results: RunFolder) -> str:
    pair, metric = main_pair(results), results.headline
    if not metric:
        return ""
    convention = next((cell.summary["conventions"][metric] for cell in results.runs if _explains(cell, metric)), "")
    text = f"The metric on the test cases was {metric_title(metric)}" + (
        f" ({convention.rstrip('.')})." if convention else "."
    )
    if pair is None:
        return text
    seeds = (
        ", and cover the training seeds, widened to Student's t for few of either"
        if pair["num_seeds"] > 1
        else ", and hold for the one training seed used, widened to Student's t for few patients"
    )
    several = len(results.verdict.get("pairs", []))
    holm = f", after Holm's correction for {several} pairs p {_relation(pair.get('p_holm'))}" if several > 1 else ""
    digits = difference_digits(pair)
    return (
        f"{text} 95 % intervals are from a bootstrap over patients, paired between the initializations{seeds}. "
        f"The difference of {pair['b']} and {pair['a']} was {number(pair['difference'], digits, sign=True)} "
        f"(95 % interval {interval(pair.get('ci95'), digits)}, p {_relation(pair.get('p'))}{holm})."
    )


def _explains(cell: TrainingRun, metric: str) -> bool:
    return metric in cell.summary.get("conventions", {})


def _relation(p: float | None) -> str:
    if p is None:
        return "undefined"
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"
