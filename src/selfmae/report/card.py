"""The model card (Mitchell et al. 2019): what the models are for, what they saw, how good they are, and limits."""

from collections.abc import Sequence

from selfmae.report.methods import kind_of
from selfmae.report.results import Results, label_names, mean_of
from selfmae.report.sentences import capital, main_pair
from selfmae.report.words import interval, listed, number, origin, plural, spoken

TASKS = {
    "mask": "outlines {names} in images",
    "regions": "outlines the overlapping regions {names} in images",
    "findings": "gives a probability for each of {names}",
    "classes": "gives a probability for each of the exclusive classes {names}",
}


def model_card(results: Results, leakage: Sequence[str] = ()) -> list[tuple[str, list[str]]]:
    """Return titles with their sentences; empty before any evaluation. `leakage` limits what the scores say."""
    if not results.headline or not results.trained:
        return []
    return [
        ("Intended use", _use(results)),
        ("Training data", _data(results)),
        ("Metrics", _metrics(results)),
        ("Limits", [*leakage, *_limits(results)]),
    ]


def _use(results: Results) -> list[str]:
    names, channels = label_names(results), results.settings.get("data.channels", [])
    task = TASKS.get(kind_of(results), "predicts {names}").format(names=listed(names))
    like = f" with the channels {listed(channels)}" if channels else ""
    return [
        f"The model {task}{like}, acquired and prepared like those of {results.source}.",
        "It is meant for research: to compare ways of training, and as a first draft that a person checks. "
        "It is not a medical device and was not tested for any decision about a patient.",
    ]


def _data(results: Results) -> list[str]:
    counts = results.run.get("counts", {})
    trained = [
        f"{plural(counts[part]['cases'], f'{word} case')} of {plural(counts[part]['patients'], 'patient')}"
        for part, word in (("labelled", "labelled"), ("train", "labelled"), ("unlabelled", "unlabelled"))
        if part in counts
    ]
    found = [str(item["code"]) for item in results.run.get("findings", [])]
    return [
        *(
            [f"{capital(listed(trained))} of {results.source}; the weight files list the hash of every image."]
            if trained
            else []
        ),
        f"The data check found: {listed(found)}." if found else "The data check found nothing to remark.",
    ]


def _metrics(results: Results) -> list[str]:
    starts = results.verdict.get("starts", {})
    sentences = []
    for start in (name for name in results.starts if name not in results.scored):
        mean, ci95 = (starts.get(start, {}).get(key) for key in ("mean", "ci95"))
        if mean is None:
            mean = mean_of([cell.metrics.get(results.headline) for cell in results.cells_of(start)])
        bounds = f" (95 % interval {interval(ci95)})" if ci95 else ""
        sentences.append(f"{capital(origin(start))}: {spoken(results.headline)} {number(mean)}{bounds} on test cases.")
    return sentences


def _undefined(results: Results) -> list[str]:
    """Return the labels of which no test case tells anything, in any fold or over all folds."""
    found = [cell.summary.get("undefined", []) for cell in results.trained if cell.summary]
    known = {row["label"] for row in results.verdict.get("labels", []) if row.get("mean_a") is not None}
    return [name for name in (found[0] if found else []) if name not in known and all(name in item for item in found)]


def _limits(results: Results) -> list[str]:
    pair = main_pair(results)
    cases, patients = (
        {row[key] for cell in results.trained for row in cell.rows if key in row} for key in ("id", "patient")
    )
    undefined = _undefined(results)
    sentences = [
        "All test cases come from the same source as the training cases: other scanners, hospitals or populations may "
        "give other results.",
        f"The models were tested on {plural(len(cases), 'case')} of {plural(len(patients), 'patient')}.",
    ]
    if undefined:
        sentences.append(f"Nothing can be said about {listed(undefined)}: the test cases do not show both outcomes.")
    if pair and pair["num_seeds"] == 1:
        sentences.append("Each start was trained with one seed, so the intervals do not cover training noise.")
    if kind_of(results) in ("findings", "classes"):
        sentences.append("Probabilities are calibrated only as far as the calibration curves show.")
    groups = {
        str(row["subgroup"]).partition(":")[0] for row in results.verdict.get("subgroups", []) if not row.get("label")
    }
    compared = f"were compared by {listed(sorted(groups))} only" if groups else "(sex, age, scanner) were not compared"
    return [*sentences, f"Groups of patients {compared}."]
