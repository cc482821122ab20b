import threading
import time
from itertools import count

import pytest
import torch

from selfmae.data.case import Case
from selfmae.data.sampling import AHEAD, Draw, collate, draw_at, stream

CASES = [Case(f"c{number}", f"p{number}", (), None, "train") for number in range(7)]


def draws(sizes: list[int]) -> list[list[Draw]]:
    """Return batches of so many draws each, numbered throughout by their seeds."""
    numbers = count()
    return [[Draw(CASES[0], next(numbers)) for _ in range(size)] for size in sizes]


def sample(draw: Draw) -> dict[str, torch.Tensor]:
    return {"number": torch.tensor(draw.seed)}


def stream_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("selfmae-images")]


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


def test_batches_come_in_their_order_whatever_the_number_of_threads() -> None:
    def slow_at_first(draw: Draw) -> dict[str, torch.Tensor]:
        time.sleep(0.02 if draw.seed % 2 else 0.0)
        return sample(draw)

    expected = [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9], [10, 11]]
    for num_threads in (1, 4):
        batches = stream(slow_at_first, draws([2] * 6), num_threads)
        assert [batch["number"].tolist() for batch in batches] == expected
    assert list(stream(sample, [], 1)) == []
    assert not stream_threads()


def test_samples_of_one_batch_are_made_side_by_side() -> None:
    together = threading.Barrier(3, timeout=20)

    def make(draw: Draw) -> dict[str, torch.Tensor]:
        together.wait()
        return sample(draw)

    assert next(stream(make, draws([3]), 3))["number"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("num_threads", [1, 3])
@pytest.mark.parametrize("error", [ValueError("broken file"), KeyboardInterrupt()])
def test_an_error_in_a_thread_is_raised_after_the_batches_before_it(error: BaseException, num_threads: int) -> None:
    def make(draw: Draw) -> dict[str, torch.Tensor]:
        if draw.seed == 2:
            raise error
        return sample(draw)

    seen: list[int] = []
    with pytest.raises(type(error)) as caught:
        seen.extend(int(batch["number"]) for batch in stream(make, draws([1] * 9), num_threads))
    assert caught.value is error
    assert seen == [0, 1]
    assert not stream_threads()


def test_closing_early_leaves_no_thread_even_while_batches_wait() -> None:
    batches = stream(sample, draws([2] * 1000), 2)
    next(batches)
    assert len(stream_threads()) == 2
    batches.close()
    assert not stream_threads()


def test_no_more_batches_are_made_ahead_than_is_said() -> None:
    made: list[int] = []

    def make(draw: Draw) -> dict[str, torch.Tensor]:
        made.append(draw.seed)
        return sample(draw)

    batches = stream(make, draws([1] * 1000), 1)
    for taken in range(1, 6):
        next(batches)
        time.sleep(0.05)
        assert len(made) == taken + AHEAD
    batches.close()


def test_torch_has_its_threads_back_after_a_stream() -> None:
    before, inside = torch.get_num_threads(), []

    def make(draw: Draw) -> dict[str, torch.Tensor]:
        inside.append(torch.get_num_threads())
        return sample(draw)

    assert len(list(stream(make, draws([2] * 3), 2))) == 3
    assert set(inside) == {1}
    assert torch.get_num_threads() == before
