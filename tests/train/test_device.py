import pytest
import torch

from selfmae.errors import UserError
from selfmae.models.vit import make_blocks
from selfmae.options import DeviceOptions
from selfmae.train import device


def test_what_is_asked_for_is_not_changed() -> None:
    options = DeviceOptions(accelerator="cpu", precision="fp16")
    assert (device.resolve_accelerator(options), device.resolve_precision(options)) == ("cpu", "fp16")


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_auto_takes_the_fastest_there_is(monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, expected: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert device.resolve_accelerator(DeviceOptions()) == expected


@pytest.mark.parametrize(("native", "expected"), [(True, "bf16"), (False, "fp32")])
def test_a_cpu_computes_in_bf16_only_if_it_can(monkeypatch: pytest.MonkeyPatch, native: bool, expected: str) -> None:
    monkeypatch.setattr(device, "cpu_has_bf16", lambda: native)
    assert device.resolve_precision(DeviceOptions(accelerator="cpu")) == expected


@pytest.mark.parametrize(("native", "expected"), [(True, "bf16"), (False, "fp16")])
def test_a_gpu_without_bf16_computes_in_fp16(monkeypatch: pytest.MonkeyPatch, native: bool, expected: str) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native)
    assert device.resolve_precision(DeviceOptions(accelerator="cuda")) == expected


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_fabric_computes_in_the_format_asked_for(precision: str, dtype: torch.dtype) -> None:
    fabric = device.make_fabric(DeviceOptions(accelerator="cpu", precision=precision))  # type: ignore[arg-type]
    with fabric.autocast():
        assert torch.nn.functional.linear(torch.ones(2, 2), torch.ones(2, 2)).dtype == dtype


def test_fabric_says_nothing_between_our_lines(caplog: pytest.LogCaptureFixture) -> None:
    device.make_fabric(DeviceOptions(accelerator="cpu", precision="bf16"))
    assert not caplog.records


def test_a_device_that_is_not_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(
        UserError, match=r"accelerator cuda with device\.devices 2 .* this machine has 1 of them: lower"
    ):
        device.make_fabric(DeviceOptions(accelerator="cuda", devices=2))


def test_a_trained_model_takes_one_device_of_its_kind_or_the_best_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    trained = DeviceOptions(accelerator="cuda", devices=4, shard=True, precision="fp16")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert device.device_here(trained) == DeviceOptions(accelerator="cuda", precision="fp16")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert device.device_here(trained) == DeviceOptions()


def test_sharing_out_in_the_fp16_of_an_older_gpu_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "resolve_precision", lambda options: "fp16")
    with pytest.raises(UserError, match=r"^device\.shard was asked for in fp16, but takes fp32 or bf16 only: set"):
        device.make_fabric(DeviceOptions(accelerator="cpu", devices=2, shard=True))


@pytest.mark.parametrize(("precision", "fused"), [("bf16", False), ("fp32", True)])
def test_fused_attention_is_switched_off_for_bf16_on_a_cpu(precision: str, fused: bool) -> None:
    blocks = make_blocks(8, 1, 1)
    blocks[0].attn.fused_attn = True
    device.tune_attention(blocks, DeviceOptions(accelerator="cpu", precision=precision))  # type: ignore[arg-type]
    assert blocks[0].attn.fused_attn is fused


def test_devices_wait_hours_for_the_one_that_looks_at_the_validation_part() -> None:
    fabric = device.make_fabric(DeviceOptions(accelerator="cpu", devices=2, precision="fp32"))
    assert fabric.strategy._timeout.total_seconds() >= 12 * 3600  # type: ignore[attr-defined]
