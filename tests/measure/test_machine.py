"""What a machine is called, and when it counts as busy."""

from convslim.measure.machine import Identity, busy_note, cpu_name, load


def test_the_identity_of_this_machine() -> None:
    here = Identity.here(threads=3)
    assert here == Identity.here(threads=3) != Identity.here()
    assert here.cpu == cpu_name() != ""
    assert here.runtime.startswith("onnxruntime ")
    assert here.cores >= 1


def test_measuring_itself_does_not_make_a_machine_busy() -> None:
    assert busy_note(1.0, 1) is None
    assert busy_note(1.0, 8) is None
    assert busy_note(5.9, 8) is None
    assert busy_note(None, 2) is None
    assert "load 6.5 on 8 cores" in str(busy_note(6.5, 8))


def test_load_is_a_number_or_not_known() -> None:
    average = load()
    assert average is None or average >= 0
