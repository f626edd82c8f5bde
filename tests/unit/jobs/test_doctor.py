import pytest

from jobs import doctor


def test_every_check_is_made_and_says_what_it_found(tmp_path: object) -> None:
    checks = doctor.examine(str(tmp_path))
    names = [check.name for check in checks]
    assert {"python", "cores", "memory", "disk", "torch", "ray", "gpu", "s3fs"} <= set(names)
    assert all(check.found for check in checks)
    assert len(doctor.lines(checks)) == len(checks)


def test_a_missing_package_is_a_problem_with_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "installed_versions", lambda packages=(): {"torch": "9.9.9+cpu"})
    monkeypatch.setattr(doctor, "pins", lambda: {"torch": "2.13.0", "ray": "2.60.0"})
    found = {check.name: check for check in doctor._versions()}
    assert found["ray"].level == "problem"
    assert "pip install ray==2.60.0" in found["ray"].advice
    assert found["torch"].level == "note"
    assert "2.13.0" in found["torch"].advice


def test_a_build_tag_does_not_count_as_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "installed_versions", lambda packages=(): {"torch": "2.13.0+cpu"})
    monkeypatch.setattr(doctor, "pins", lambda: {"torch": "2.13.0"})
    assert next(check for check in doctor._versions() if check.name == "torch").level == "ok"


def test_pins_are_read_from_the_project() -> None:
    pins = doctor.pins()
    assert pins["torch"].count(".") == 2
    assert "ray" in pins


def test_problems_make_the_json_not_ok() -> None:
    good, bad = doctor.Check("a", "note", "x"), doctor.Check("b", "problem", "y")
    assert doctor.to_json([good])["ok"] is True
    assert doctor.to_json([good, bad])["ok"] is False
