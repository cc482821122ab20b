"""What limits a verdict: facts from its numbers, and one sentence for each."""

from typing import Any

from selfmae.results.limitations import concerns, find_limitations, sentence, told, worth_sentences

PAIR = {"a": "scratch", "b": "mae", "verdict": "cannot tell", "difference": 0.01, "ci95": [-0.01, 0.03], "num_seeds": 3}
INITS = ("scratch", "mae")


def find(pair: dict[str, Any] | None = None, inits: tuple[str, ...] = INITS, **facts: Any) -> dict[str, dict[str, Any]]:
    """Return the limitations of a verdict by their code."""
    verdict = {"inits": dict.fromkeys(inits), "pairs": [pair] if pair else [], **facts}
    return {fact["code"]: fact for fact in find_limitations(verdict)}


def say(code: str, *args: Any, **facts: Any) -> str:
    return sentence(code, find(*args, **facts)[code])


def test_what_it_would_take_to_tell_is_said_in_seeds_and_patients() -> None:
    def advice(seeds: int | None, patients: int | None, num_seeds: int = 3, **facts: Any) -> str:
        needed = {"seeds": seeds, "patients": patients}
        return say("low_power", PAIR | {"num_seeds": num_seeds, "to_tell": needed}, **facts)

    both = "If the difference stays as it is, about 3 more seeds or 25 more test patients would be enough to tell."
    assert advice(3, 25) == both
    assert advice(1, None).endswith("about 1 more seed would be enough to tell.")
    assert advice(None, 1234).endswith("about 1,300 more test patients would be enough to tell.")
    assert "neither more seeds alone nor more test patients alone would be enough" in advice(None, None)
    assert advice(None, 8, 1, scored=["mae"]).endswith(
        "tell; how much training variance adds cannot be known from one seed."
    )


def test_a_clear_verdict_of_several_seeds_and_equal_compute_has_no_limitation() -> None:
    assert find(PAIR | {"verdict": "helps", "ci95": [0.01, 0.03], "to_tell": None}, (*INITS, "scratch+")) == {}


def test_an_open_verdict_is_no_evidence_of_no_effect_and_of_two_seeds_asks_for_a_third() -> None:
    assert list(find(PAIR)) == ["open_interval"]
    assert "any true difference from \N{MINUS SIGN}0.01 to +0.03 is compatible" in say("open_interval", PAIR)
    assert say("two_seeds", PAIR | {"num_seeds": 2}).endswith("so the interval is very wide: add a third.")


def test_few_patients_may_not_show_rare_failures_where_there_is_no_difference() -> None:
    same = PAIR | {"verdict": "no difference", "ci95": [-0.002, 0.003]}
    assert say("few_patients", same | {"effective_n": 10}) == (
        "No difference holds for what the 10 test patients show: a failure that only one of the two models has, in up "
        "to 26 % of patients, may not have been among them."
    )
    assert "few_patients" not in find(same | {"effective_n": 29})
    assert "few_patients" in find(same | {"effective_n": 28})
    assert "few_patients" not in find(PAIR | {"effective_n": 10})


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
    alone = PAIR | {"num_seeds": 1, "verdict": "no verdict"}
    assert list(find(alone)) == list(find(alone | {"verdict": "helps", "ci95": [0.01, 0.03]})) == ["one_seed"]
    assert say("one_seed", alone).endswith("(use 3 or more for a verdict: --seeds 3).")
    found = find(PAIR | {"num_seeds": 1}, scored=["mae"])
    assert "one_seed" not in found
    assert sentence("scored_masks", found["scored_masks"]).startswith("Scored masks stand for one training run, so the")


def test_a_gain_that_may_be_one_of_compute_alone_says_so() -> None:
    helped = PAIR | {"verdict": "helps", "ci95": [0.01, 0.03]}
    assert say("unequal_compute", helped).endswith("training from scratch does as well (add scratch+ to --init).")
    turned = helped | {"a": "mae", "b": "scratch", "verdict": "hurts", "ci95": [-0.03, -0.01]}
    assert list(find(turned)) == list(find(helped)) == ["unequal_compute"]
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


def test_no_difference_is_an_answer_and_has_no_limitation() -> None:
    assert find(PAIR | {"verdict": "no difference", "ci95": [-0.003, 0.005], "to_tell": None}) == {}


def test_the_interval_of_a_pair_is_that_of_self_pretraining_over_the_other() -> None:
    turned = PAIR | {"a": "mae", "b": "scratch", "ci95": [-0.03, 0.01], "difference": -0.01}
    assert find(turned)["open_interval"] == find(PAIR)["open_interval"]


def ended(rise: float | None, pretext: float | None = None, trivial: float | None = None) -> dict[str, Any]:
    return {"rise": rise, "best_is_last": 1.0, "pretext_loss": pretext, "trivial_loss": trivial}


def test_scores_that_still_rise_are_said_with_their_rise() -> None:
    facts = {
        "convergence": {"scratch": ended(0.002), "mae": ended(0.021)},
        "converged": {"scratch": True, "mae": False},
    }
    assert say("still_rising", **facts) == (
        "The validation score of mae still rises by 0.02 a quarter of the training: train longer, for example with "
        "twice the --budget."
    )
    facts |= {"converged": {"scratch": False, "mae": False}}
    assert "scores of scratch and mae still rise by 0.002 and 0.02 a quarter" in say("still_rising", **facts)


def test_too_few_validations_to_know_are_said() -> None:
    facts = {"convergence": {"scratch": ended(0.002), "mae": ended(None)}, "converged": {"scratch": True, "mae": False}}
    assert list(find(**facts)) == ["unknown_convergence"]
    assert say("unknown_convergence", **facts).startswith("Whether longer training would improve mae is not known: the")


def test_a_pretext_task_that_was_hardly_learned_is_said() -> None:
    facts = {"convergence": {"mae": ended(0.0, 0.98, 1.0)}, "converged": {"mae": True}}
    assert say("pretext_unmoved", **facts) == (
        "The pre-training of mae hardly learned its pretext task (loss 0.98, a trivial guess has 1.00): pre-train "
        "longer before you judge it."
    )
    for loss, trivial in ((0.94, 1.0), (0.98, None), (None, 1.0)):
        assert find(convergence={"mae": ended(0.0, loss, trivial)}, converged={"mae": True}) == {}


def test_the_reader_learns_first_whether_training_was_long_enough_then_what_to_take_then_what_is_open() -> None:
    verdict = {
        **{"inits": dict.fromkeys(INITS), "pairs": [PAIR], "margin": 0.01},
        **{"convergence": {"mae": ended(0.02)}, "converged": {"mae": False}},
        "recommended": {"network": "dynunet", "init": "scratch"},
    }
    rising, advice, open_interval = told(verdict, PAIR)
    assert rising.startswith("The validation score of mae still rises")
    assert advice == (
        "Recommended: dynunet from scratch, the simplest whose validation score lies within 0.01 of the best."
    )
    assert open_interval.startswith("This is not evidence of no effect")
    recommended = sentence("recommended", verdict | {"recommended": {"network": "unetr", "init": "mae"}})
    assert recommended.startswith("Recommended: unetr with self pre-training (mae), the simplest")


def test_repeated_intervals_of_a_sequential_run_are_explained() -> None:
    assert "look" not in sentence("intervals", {})
    assert "this is look 2 of at most 5: the intervals of the differences are repeated" in sentence(
        "intervals", {"looks": [2, 5]}
    )


def worth(own: float | None = 0.8, **changes: Any) -> str:
    row = {"network": "dynunet", "init": "mae", "labels": 5, "equals": 9.2, "ci95": [6.1, 13.9]} | changes
    points = [("mae", 5, own), ("scratch", 5, 0.6), ("scratch", 40, 0.7), ("scratch", 10, None)]
    curve = [{"network": "dynunet", "init": init, "labels": labels, "mean": mean} for init, labels, mean in points]
    (text,) = worth_sentences({"metric": "dice_per_case", "labels": {"curve": curve, "worth": [row]}})
    return text


def test_what_pretraining_is_worth_is_said_in_labels() -> None:
    assert worth() == "With 5 labelled patients, mae does as well as scratch with 9 (6 to 14)."
    assert worth(ci95=[6.1, None]).endswith("scratch with 9 (at least 6).")
    assert worth(ci95=[None, 14]).endswith("scratch with 9 (at most 14).")
    assert worth(ci95=None).endswith("as well as scratch with 9.")
    assert worth(equals=None, ci95=[40, None]) == (
        "With 5 labelled patients, mae does better than scratch with 40, the most (at least 40)."
    )
    assert worth(0.5, equals=None, ci95=[None, 5]).endswith("does worse than scratch with 5, the fewest (at most 5).")
    assert worth(None, equals=None, ci95=None).endswith("mae cannot be compared with scratch.")


def test_the_headroom_of_labels_is_said() -> None:
    verdict = {"metric": "dice_per_case", "headroom": {"mean": 0.015, "ci95": [0.005, 0.025], "from": 20, "to": 40}}
    assert worth_sentences(verdict) == [
        "Doubling the labels from 20 to 40 patients brings +0.015 of mean Dice (0.005 to 0.025); pre-training is "
        "unlikely to bring more."
    ]
    (other,) = worth_sentences(verdict | {"headroom": verdict["headroom"] | {"to": 50}})  # type: ignore[operator]
    assert other.startswith("Going from 20 to 50 labelled patients brings +0.015")


def test_rows_of_labels_in_an_older_verdict_are_no_curve() -> None:
    assert worth_sentences({"metric": "dice_per_case", "labels": [{"label": "liver"}]}) == []
