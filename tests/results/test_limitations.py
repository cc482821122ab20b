"""What limits a verdict: facts from its numbers, and one sentence for each."""

from typing import Any

from selfmae.results.limitations import concerns, find_limitations, sentence

PAIR = {"a": "scratch", "b": "mae", "verdict": "cannot tell", "difference": 0.01, "ci95": [-0.01, 0.03], "num_seeds": 3}
INITS = ("scratch", "mae")


def find(pair: dict[str, Any] | None = None, inits: tuple[str, ...] = INITS, **facts: Any) -> dict[str, dict[str, Any]]:
    """Return the limitations of a verdict by their code."""
    verdict = {"inits": dict.fromkeys(inits), "pairs": [pair] if pair else [], **facts}
    return {fact["code"]: fact for fact in find_limitations(verdict)}


def say(code: str, *args: Any, **facts: Any) -> str:
    return sentence(code, find(*args, **facts)[code])


def test_what_it_would_take_to_tell_is_said_in_seeds_and_patients() -> None:
    def advice(seeds: int | None, patients: int | None, num_seeds: int = 3) -> str:
        return say("low_power", PAIR | {"num_seeds": num_seeds, "to_tell": {"seeds": seeds, "patients": patients}})

    both = "If the difference stays as it is, about 3 more seeds or 25 more test patients would be enough to tell."
    assert advice(3, 25) == both
    assert advice(1, None).endswith("about 1 more seed would be enough to tell.")
    assert advice(None, 1234).endswith("about 1,300 more test patients would be enough to tell.")
    assert "neither more seeds alone nor more test patients alone would be enough" in advice(None, None)
    assert advice(None, 8, 1).endswith("tell; how much training variance adds cannot be known from one seed.")


def test_a_clear_verdict_of_several_seeds_and_equal_compute_has_no_limitation() -> None:
    assert find(PAIR | {"verdict": "helps", "ci95": [0.01, 0.03], "to_tell": None}, (*INITS, "scratch+")) == {}


def test_an_open_verdict_is_no_evidence_of_no_effect_and_of_two_seeds_asks_for_a_third() -> None:
    assert list(find(PAIR)) == ["open_interval"]
    assert "any true difference from \N{MINUS SIGN}0.01 to +0.03 is compatible" in say("open_interval", PAIR)
    assert say("two_seeds", PAIR | {"num_seeds": 2}).endswith("so the interval is very wide: add a third.")


def test_an_interval_that_excludes_0_but_does_not_stand_the_correction_is_explained() -> None:
    text = say("many_pairs", PAIR | {"ci95": [0.001, 0.05], "p_holm": 0.09})
    assert text.endswith("corrected for their number (Holm), p is 0.090, not below 0.05.")
    assert "many_pairs" not in find(PAIR | {"p_holm": 0.09})


def test_an_interval_that_is_not_there_is_explained() -> None:
    found = find(PAIR | {"ci95": None, "effective_n": 1})
    assert list(found) == ["no_interval"]
    assert sentence("no_interval", found["no_interval"]).startswith("The score is decided by 1 test patient (with")


def test_the_variance_of_training_is_left_open_by_one_seed_and_by_scored_masks() -> None:
    assert "one_seed" not in find(PAIR)
    text = say("one_seed", PAIR | {"num_seeds": 1})
    assert text.endswith("(use 3 or more to estimate training variance: --seeds 3).")
    found = find(PAIR | {"num_seeds": 1}, scored=["mae"])
    assert "one_seed" not in found
    assert sentence("scored_masks", found["scored_masks"]).startswith("Scored masks stand for one training run, so the")


def test_a_gain_that_may_be_one_of_compute_alone_says_so() -> None:
    helped = PAIR | {"verdict": "helps", "ci95": [0.01, 0.03]}
    assert say("unequal_compute", helped).endswith("training from scratch does as well (add --equal-compute).")
    assert find(helped, (*INITS, "scratch+")) == {}
    assert find(helped | {"b": "imagenet"}) == {}
    assert "unequal_compute" not in find(PAIR)


def test_files_that_do_not_list_what_they_have_seen_are_named() -> None:
    one = say("unlisted_exposure", unlisted={"vit": ["vit.pth"]})
    assert one == (
        "vit.pth does not list the images seen in training: if a test patient is among them, the score of vit is too "
        "good."
    )
    assert say("unlisted_exposure", unlisted={"mae": ["a.pth", "b.pth"]}).startswith("a.pth and b.pth do not list")


def test_scored_masks_without_a_model_of_ours_count_each_case_as_a_patient() -> None:
    assert list(find(scored=["one"])) == ["unknown_exposure"]
    assert say("unknown_patients", inits=("one", "two"), scored=["one", "two"]).endswith("a patient of its own.")


def test_missing_training_runs_are_named() -> None:
    missing = [{"init": "mae", "fold": 0, "seed": seed} for seed in range(5)]
    assert say("missing_runs", missing=missing) == (
        "5 training runs did not finish (mae, fold 0, seed 0; mae, fold 0, seed 1; mae, fold 0, seed 2; ...): the "
        "verdict rests on the folds and seeds that did. The same command trains what is missing."
    )


def test_a_limitation_names_its_pair() -> None:
    fact = find(PAIR)["open_interval"]
    assert concerns(fact, PAIR)
    assert not concerns(fact, PAIR | {"b": "moco"})
