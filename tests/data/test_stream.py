import threading
import time

import pytest
import torch

from selfmae.data.case import Case
from selfmae.data.stream import AHEAD, collate, draw_at, stream

CASES = [Case(f"c{number}", f"p{number}", (), None, "train") for number in range(7)]


def number_sample(number: int) -> dict[str, torch.Tensor]:
    return {"number": torch.tensor(number)}


def stream_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "selfmae-batches"]


def test_every_epoch_shows_every_case_once_in_another_order() -> None:
    epochs = [[draw_at(CASES, 0, 7 * epoch + place).case.id for place in range(7)] for epoch in range(5)]
    assert all(sorted(epoch) == [case.id for case in CASES] for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 5


def test_several_crops_of_a_case_come_in_succession_each_another() -> None:
    draws = [draw_at(CASES, 3, place, crops_per_case=4) for place in range(4 * 7 * 2)]
    shown = [draw.case for draw in draws]
    assert shown[::4] == [draw_at(CASES, 3, place).case for place in range(7 * 2)]
    assert all(shown[place] == shown[place - place % 4] for place in range(len(shown)))
    assert len({draw.seed for draw in draws}) == len(draws)


def test_a_draw_is_a_pure_function_of_seed_and_place() -> None:
    forwards = [draw_at(CASES, 4, place) for place in range(40)]
    backwards = [draw_at(CASES, 4, place) for place in reversed(range(40))]
    assert forwards == backwards[::-1]
    assert len({draw.seed for draw in forwards}) == 40
    assert [draw.case for draw in forwards] != [draw_at(CASES, 5, place).case for place in range(40)]


def test_collate_stacks_every_value() -> None:
    batch = collate([{"image": torch.full((1, 2), float(place)), "place": torch.tensor(place)} for place in range(3)])
    assert batch["image"].shape == (3, 1, 2)
    assert batch["place"].tolist() == [0, 1, 2]


def test_batches_come_in_order_from_start_to_stop() -> None:
    assert [int(batch["number"]) for batch in stream(number_sample, 3, 40)] == list(range(3, 40))
    assert list(stream(number_sample, 5, 5)) == []
    assert not stream_threads()


@pytest.mark.parametrize("error", [ValueError("broken file"), KeyboardInterrupt()])
def test_an_error_in_the_thread_is_raised_after_the_batches_before_it(error: BaseException) -> None:
    def make(number: int) -> dict[str, torch.Tensor]:
        if number == 2:
            raise error
        return number_sample(number)

    seen: list[int] = []
    with pytest.raises(type(error)) as caught:
        seen.extend(int(batch["number"]) for batch in stream(make, 0, 9))
    assert caught.value is error
    assert seen == [0, 1]
    assert not stream_threads()


def test_closing_early_leaves_no_thread_even_if_it_waits_with_a_full_queue() -> None:
    batches = stream(number_sample, 0, 10**6)
    next(batches)
    time.sleep(0.05)
    assert len(stream_threads()) == 1
    batches.close()
    assert not stream_threads()


def test_no_more_batches_are_made_ahead_than_the_queue_holds() -> None:
    made: list[int] = []

    def make(number: int) -> dict[str, torch.Tensor]:
        made.append(number)
        return number_sample(number)

    batches = stream(make, 0, 1000)
    for taken in range(1, 6):
        next(batches)
        time.sleep(0.05)
        assert len(made) <= taken + AHEAD + 1  # one more is in the thread's hand
    assert len(made) > 5
    batches.close()
