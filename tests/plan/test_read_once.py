"""A plan reads what a LoRA file says of itself once."""

from pairedit.lora import file
from pairedit.plan.roles import inspect_role


def test_the_header_of_a_lora_is_read_once(lora, flux, monkeypatch):
    read, seen = file.read_header, []
    monkeypatch.setattr(file, "read_header", lambda path: seen.append(path) or read(path))

    class Model:
        name, names = "flux-mini", flux.names

        @staticmethod
        def width():
            return 32

    notes = []
    assert inspect_role(lora.path, flux.names, notes, model=Model)["base_model"] == "tiny"
    assert seen == [lora.path]
    assert notes == [f"{lora.path} was trained on tiny, but model=flux-mini is chosen"]
