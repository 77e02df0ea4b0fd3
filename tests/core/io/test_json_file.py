"""JSON of others is read as JSON is defined, or refused by a sentence."""

import pytest

from aam_core.errors import InputError
from aam_core.io.json_file import DEEPEST, read_json


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"{} {}", "Extra data"),
        (b'{"a": NaN}', "it holds NaN, which is no number of JSON"),
        (b"[-Infinity]", "it holds -Infinity"),
        (b'{"kind": 1, "a": {"b": 1, "b": 2}}', "an object names 'b' more than once"),
        (b'\xef\xbb\xbf{"a": 1}', "is not JSON"),
        ('{"a": 1}'.encode("utf-16"), "is not JSON: 'utf-8' codec"),
        (b'{"k\xe9nd": 1}', "is not JSON: 'utf-8' codec"),
        (b'["\\ud800"]', "surrogates not allowed"),
        (b'{"\\ud800": 1}', "surrogates not allowed"),
        (b"9" * 100_000, "Exceeds the limit"),
        (b"[" * 100_000 + b"]" * 100_000, "nested too deep"),
        (b"[" * 100 + b"]" * 100, f"more than {DEEPEST} levels"),
    ],
    ids=lambda value: repr(value)[:30].replace("\\", ""),
)
def test_what_is_no_json_is_named(tmp_path, content, message):
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        read_json(path)
    assert message in str(error.value)
    assert "config.json" in str(error.value)


def test_what_cannot_be_read_is_named(tmp_path):
    for path in (tmp_path, tmp_path / "none.json"):
        with pytest.raises(InputError, match="cannot be read: "):
            read_json(path)


def test_json_is_read(tmp_path):
    path = tmp_path / "x.json"
    path.write_text('{"a": [1, 2.5, null, true, "é"]}', encoding="utf-8")
    assert read_json(path) == {"a": [1, 2.5, None, True, "é"]}
