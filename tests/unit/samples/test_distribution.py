from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from luthier.errors import SampleError
from luthier.samples.catalogue import Distribution
from luthier.samples.distribution import downloads, fetch_distribution
from luthier.samples.pip_settings import PipSettings

Use = Callable[[PipSettings], None]


@pytest.fixture
def served(index: Any, pin: Distribution, tiny_wheel: bytes, use_settings: Use) -> Any:
    """The index with the tiny wheel on it, in use."""
    index.files[pin.filename] = tiny_wheel
    use_settings(PipSettings(indexes=(f"{index.url}/simple",), retries=2))
    return index


@pytest.mark.parametrize("json_pages", [True, False])
def test_fetches_from_an_index_of_either_kind(
    served: Any, pin: Distribution, tiny_wheel: bytes, json_pages: bool
) -> None:
    served.json_pages = json_pages
    seen: list[tuple[int, int]] = []
    fetched = fetch_distribution(pin, progress=lambda done, total: seen.append((done, total)))
    assert fetched.ours
    assert fetched.path.read_bytes() == tiny_wheel
    assert seen[-1] == (pin.size, pin.size)
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert served.requests[0][0] == "/simple/tiny-pkg/"  # the normalised name (PEP 503)
    assert not list(downloads().rglob("*.part"))


def test_a_fetched_file_is_not_fetched_again(served: Any, pin: Distribution) -> None:
    fetch_distribution(pin)
    again = fetch_distribution(pin)
    assert again.ours
    assert len(served.file_requests()) == 1


def test_a_source_distribution_is_fetched_without_running_it(
    index: Any, use_settings: Use, make_pin: Any, make_tar: Any, tmp_path: Path
) -> None:
    trace = tmp_path / "was-run"
    data = make_tar({"tiny_pkg-1.0/setup.py": f"open({str(trace)!r}, 'w')".encode(), "tiny_pkg-1.0/PKG-INFO": b""})
    pin = make_pin(data, "tiny_pkg-1.0.tar.gz")
    index.files[pin.filename] = data
    use_settings(PipSettings(indexes=(f"{index.url}/simple",)))
    assert fetch_distribution(pin).path.read_bytes() == data
    assert not trace.exists()


def test_an_interrupted_transfer_is_continued_within_a_call(served: Any, pin: Distribution, tiny_wheel: bytes) -> None:
    served.cut_after = [1000, 500]
    assert fetch_distribution(pin).path.read_bytes() == tiny_wheel
    ranges = [headers.get("Range") for headers in served.file_requests()]
    assert ranges == [None, "bytes=1000-", "bytes=1500-"]


def test_an_interrupted_transfer_is_continued_by_a_later_call(
    served: Any, pin: Distribution, tiny_wheel: bytes
) -> None:
    served.cut_after = [700, 0, 0]
    with pytest.raises(SampleError, match="broke off after 700 of"):
        fetch_distribution(pin)
    (part,) = downloads().rglob("*.part")
    assert part.read_bytes() == tiny_wheel[:700]
    assert fetch_distribution(pin).path.read_bytes() == tiny_wheel
    assert served.file_requests()[-1]["Range"] == "bytes=700-"


def test_a_server_without_ranges_starts_over(served: Any, pin: Distribution, tiny_wheel: bytes) -> None:
    served.ranges = False
    served.cut_after = [1000]
    assert fetch_distribution(pin).path.read_bytes() == tiny_wheel
    assert len(served.file_requests()) == 2


def test_a_damaged_partial_file_is_dropped(served: Any, pin: Distribution, tiny_wheel: bytes) -> None:
    folder = downloads() / "fetched"
    folder.mkdir(parents=True)
    (folder / f"{pin.filename}.part").write_bytes(b"x" * 300)
    assert fetch_distribution(pin).path.read_bytes() == tiny_wheel
    assert [headers.get("Range") for headers in served.file_requests()] == ["bytes=300-", None]


@pytest.mark.parametrize("excess", [0, 10])
def test_a_full_or_overlong_partial_file(served: Any, pin: Distribution, tiny_wheel: bytes, excess: int) -> None:
    folder = downloads() / "fetched"
    folder.mkdir(parents=True)
    (folder / f"{pin.filename}.part").write_bytes(tiny_wheel + b"x" * excess)
    assert fetch_distribution(pin).path.read_bytes() == tiny_wheel
    assert len(served.file_requests()) == (1 if excess else 0)


def test_a_passing_failure_is_retried_and_a_final_one_is_not(served: Any, pin: Distribution) -> None:
    served.statuses = [503, 429]
    fetch_distribution(pin)
    assert len(served.file_requests()) == 3


def test_a_passing_failure_of_the_page_is_retried_once(served: Any, pin: Distribution, tiny_wheel: bytes) -> None:
    served.page_statuses = [503]
    assert fetch_distribution(pin).path.read_bytes() == tiny_wheel


def test_a_final_failure_is_not_retried(served: Any, pin: Distribution) -> None:
    served.statuses = [410, 410]
    with pytest.raises(SampleError, match="answered 410"):
        fetch_distribution(pin)
    assert len(served.file_requests()) == 1


def test_another_file_of_the_same_size_is_set_aside(served: Any, pin: Distribution, tiny_wheel: bytes) -> None:
    other = tiny_wheel[:-1] + b"?"
    served.files[pin.filename] = other
    served.hashes[pin.filename] = pin.sha256  # the index lies, as a tampering proxy would
    with pytest.raises(SampleError) as raised:
        fetch_distribution(pin)
    got = hashlib.sha256(other).hexdigest()
    assert f"{pin.filename}: must have sha256 {pin.sha256}; got {got}." in str(raised.value)
    (aside,) = downloads().rglob("*.rejected-*")
    assert aside.read_bytes() == other
    assert str(aside) in str(raised.value)
    assert not list(downloads().rglob("*.whl"))
    served.files[pin.filename] = tiny_wheel
    assert fetch_distribution(pin).path.read_bytes() == tiny_wheel


def test_another_hash_on_the_page_is_not_even_fetched(served: Any, pin: Distribution) -> None:
    served.hashes[pin.filename] = "0" * 64
    with pytest.raises(SampleError, match="offers another file under that name"):
        fetch_distribution(pin)
    assert not served.file_requests()


@pytest.mark.parametrize("body", [b"<html>Please log in</html>", b"x" * 3_000_000])
def test_a_page_in_place_of_the_file_is_refused(served: Any, pin: Distribution, body: bytes) -> None:
    served.files[pin.filename] = body
    served.hashes[pin.filename] = pin.sha256
    with pytest.raises(SampleError, match=f"offers {len(body)} bytes under that name; expected {pin.size}"):
        fetch_distribution(pin)
    assert not list(downloads().rglob("*.part"))


def test_the_next_index_is_asked(
    start_index: Any, pin: Distribution, tiny_wheel: bytes, use_settings: Use, tmp_path: Path
) -> None:
    empty, full = start_index(), start_index()
    full.files[pin.filename] = tiny_wheel
    (tmp_path / "local-index").mkdir()
    local = (tmp_path / "local-index").as_uri()
    use_settings(PipSettings(indexes=(f"{empty.url}/simple", local, f"{full.url}/simple"), find_links=("/no/such",)))
    assert fetch_distribution(pin).path.read_bytes() == tiny_wheel
    assert empty.requests


@pytest.mark.parametrize("kind", ["find-links folder", "find-links uri", "local index", "local index page"])
def test_files_on_this_machine(
    pin: Distribution, tiny_wheel: bytes, use_settings: Use, tmp_path: Path, kind: str
) -> None:
    folder = tmp_path / "wheels"
    folder.mkdir()
    (folder / pin.filename).write_bytes(tiny_wheel)
    if kind == "find-links folder":
        use_settings(PipSettings(indexes=(), find_links=(str(folder),)))
    elif kind == "find-links uri":
        use_settings(PipSettings(indexes=(), find_links=(folder.as_uri(),)))
    else:
        project = tmp_path / "simple" / "tiny-pkg"
        project.mkdir(parents=True)
        if kind == "local index":
            (folder / pin.filename).rename(project / pin.filename)
        else:
            link = f'<a href="../../wheels/{pin.filename}#sha256={pin.sha256}">x</a>'
            (project / "index.html").write_text(link)
        use_settings(PipSettings(indexes=((tmp_path / "simple").as_uri(),)))
    assert fetch_distribution(pin).path.read_bytes() == tiny_wheel


def test_a_file_put_there_by_hand_is_used_and_kept(pin: Distribution, tiny_wheel: bytes, use_settings: Use) -> None:
    use_settings(PipSettings(indexes=()))
    downloads().mkdir(parents=True)
    (downloads() / pin.filename).write_bytes(tiny_wheel)
    fetched = fetch_distribution(pin)
    assert fetched.path == downloads() / pin.filename
    assert not fetched.ours


def test_a_wrong_file_put_there_by_hand_is_set_aside(pin: Distribution, use_settings: Use) -> None:
    use_settings(PipSettings(indexes=()))
    downloads().mkdir(parents=True)
    (downloads() / pin.filename).write_bytes(b"something else")
    with pytest.raises(SampleError, match=f"must have sha256 {pin.sha256}"):
        fetch_distribution(pin)
    assert not (downloads() / pin.filename).exists()
    with pytest.raises(SampleError, match="could not be fetched"):
        fetch_distribution(pin)


def test_offline_says_what_was_tried_and_how_to_do_it_by_hand(
    start_index: Any, pin: Distribution, use_settings: Use
) -> None:
    use_settings(PipSettings(indexes=("http://user:secret@127.0.0.1:9/simple",)))
    with pytest.raises(SampleError) as raised:
        fetch_distribution(pin)
    text = str(raised.value)
    assert f"{pin.filename} (" in text
    assert "http://127.0.0.1:9/simple: Connection refused" in text
    assert f"{downloads() / pin.filename} (sha256 {pin.sha256})" in text
    assert "secret" not in text
    assert set(re.findall(r"https?://([^\s:/]+)", text)) == {"127.0.0.1"}  # no index is named that was not configured


def test_no_index_at_all_is_said(pin: Distribution, use_settings: Use) -> None:
    use_settings(PipSettings(indexes=()))
    with pytest.raises(SampleError, match="no-index"):
        fetch_distribution(pin)


def test_an_index_login_goes_to_the_index_and_nowhere_else(
    start_index: Any, pin: Distribution, tiny_wheel: bytes, use_settings: Use
) -> None:
    guarded, other = start_index(), start_index()
    guarded.login = "Basic " + base64.b64encode(b"me:p@ss").decode()
    guarded.files[pin.filename] = other.files[pin.filename] = tiny_wheel
    guarded.file_url = f"{other.url}/files/"
    use_settings(PipSettings(indexes=(guarded.url.replace("//", "//me:p%40ss@") + "/simple",)))
    assert fetch_distribution(pin).path.read_bytes() == tiny_wheel
    assert guarded.requests[0][1]["Authorization"] == guarded.login
    assert "Authorization" not in other.file_requests()[0]


def test_a_refusing_index_is_left_to_pip_for_wheels_only(
    served: Any, pin: Distribution, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[list[str]] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        calls.append(command)
        return subprocess.CompletedProcess(command, 1, "", "no")

    monkeypatch.setattr("luthier.samples.distribution.subprocess.run", run)
    served.login = "Basic unknown"
    with pytest.raises(SampleError, match="answered 401"):
        fetch_distribution(pin)
    (command,) = calls
    assert {"download", "--require-hashes", "--no-deps", "--only-binary=:all:"} <= set(command)
    sdist = Distribution("pypi", "tiny-pkg", "1.0", "tiny_pkg-1.0.tar.gz", pin.sha256, pin.size)
    with pytest.raises(SampleError, match="answered 401"):
        fetch_distribution(sdist)
    assert len(calls) == 1


def test_real_pip_fetches_a_wheel_when_it_is_left_to_it(
    pin: Distribution, make_zip: Any, make_pin: Any, use_settings: Use, tmp_path: Path, monkeypatch: Any
) -> None:
    wheel = make_zip(
        {
            "tiny_pkg-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: tiny-pkg\nVersion: 1.0\n",
            "tiny_pkg-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            "tiny_pkg-1.0.dist-info/RECORD": b"",
        }
    )
    pin = make_pin(wheel)
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / pin.filename).write_bytes(wheel)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "links"))
    use_settings(PipSettings(indexes=("https://127.0.0.1:9/simple",)))
    monkeypatch.setattr("luthier.samples.distribution._is_left_to_pip", lambda error: True)
    assert fetch_distribution(pin).path.read_bytes() == wheel


def test_two_processes_fetch_it_once(index: Any, pin: Distribution, tiny_wheel: bytes, monkeypatch: Any) -> None:
    index.files[pin.filename] = tiny_wheel
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", f"{index.url}/simple")
    monkeypatch.setenv("PIP_NO_INDEX", "0")
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name, raising=False)
    program = (
        "from luthier.samples.catalogue import Distribution\n"
        "from luthier.samples.distribution import fetch_distribution\n"
        f"print(fetch_distribution({pin!r}).path)"
    )
    running = [subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    paths = {process.communicate(timeout=60)[0].strip() for process in running}
    assert [process.returncode for process in running] == [0, 0, 0]
    assert len(paths) == 1
    assert Path(paths.pop()).read_bytes() == tiny_wheel
    assert len(index.file_requests()) == 1
