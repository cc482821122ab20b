from selfmae.report.sentences import (
    compute_sentences,
    noise_sentences,
    power_sentences,
    unknown_sentences,
    unlisted_sentences,
)

PAIR = {"a": "scratch", "b": "mae", "verdict": "cannot tell", "ci95": [-0.01, 0.03], "num_seeds": 3}


def test_what_it_would_take_to_tell_is_said_in_seeds_and_patients() -> None:
    def advice(seeds: int | None, patients: int | None, num_seeds: int = 3) -> str:
        pair = {"verdict": "cannot tell", "ci95": [-0.01, 0.03], "num_seeds": num_seeds}
        return power_sentences(pair | {"to_tell": {"seeds": seeds, "patients": patients}})[-1]

    both = "If the difference stays as it is, about 3 more seeds or 25 more test patients would be enough to tell."
    assert advice(3, 25) == both
    assert advice(1, None).endswith("about 1 more seed would be enough to tell.")
    assert advice(None, 1234).endswith("about 1,300 more test patients would be enough to tell.")
    assert "neither more seeds alone nor more test patients alone would be enough" in advice(None, None)
    assert advice(None, 8, 1).endswith("tell; how much the noise of training adds is not known from one seed.")


def test_a_verdict_that_is_clear_needs_no_advice() -> None:
    assert power_sentences({"verdict": "helps", "ci95": [0.01, 0.03], "to_tell": None, "num_seeds": 3}) == []


def test_an_open_verdict_of_two_seeds_asks_for_a_third() -> None:
    assert power_sentences(PAIR) == []
    assert power_sentences(PAIR | {"num_seeds": 2})[0].endswith("so the interval is very wide: add a third.")


def test_the_noise_of_training_is_left_open_by_one_seed_and_by_scored_masks() -> None:
    assert noise_sentences(PAIR, ()) == []
    assert noise_sentences(PAIR | {"num_seeds": 1}, ())[0].endswith("(use --seeds 3 or more).")
    assert noise_sentences(PAIR, ["mae"])[0].startswith("Scored masks stand for one training, so the interval does")


def test_a_gain_that_may_be_one_of_compute_alone_says_so() -> None:
    helped = PAIR | {"verdict": "helps", "ci95": [0.01, 0.03]}
    assert compute_sentences(helped, ["scratch", "mae"])[0].endswith("is not known (add --equal-compute).")
    assert compute_sentences(helped, ["scratch", "mae", "scratch+"]) == []
    assert compute_sentences(helped | {"b": "imagenet"}, ["scratch", "imagenet"]) == []
    assert compute_sentences(PAIR, ["scratch", "mae"]) == []


def test_files_that_do_not_list_what_they_have_seen_are_named() -> None:
    assert unlisted_sentences({}) == []
    one, two = unlisted_sentences({"unlisted": {"vit": ["vit.pth"], "mae": ["a.pth", "b.pth"]}})
    assert one == (
        "vit.pth does not list the images seen in training: if a test patient is among them, the score of vit is too "
        "good."
    )
    assert two.startswith("a.pth and b.pth do not list")


def test_scored_masks_without_a_model_of_ours_count_each_case_as_a_patient() -> None:
    assert unknown_sentences([], alone=True) == []
    assert len(unknown_sentences(["one"], alone=False)) == 1
    assert unknown_sentences(["one", "two"], alone=True)[0].endswith("each case counts as a patient of its own.")
