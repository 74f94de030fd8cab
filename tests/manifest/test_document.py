import pytest

from lanewise.errors import ManifestError
from lanewise.manifest import yaml_text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1.0e-3", 1e-3),
        (".5", 0.5),
        ("-2", -2),
        ("0777", 777),
        ("1:30", "1:30"),
        ("yes", "yes"),
        ("true", True),
        ("null", None),
        ("'1'", "1"),
        ("2026-01-01", "2026-01-01"),
    ],
)
def test_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    read = yaml_text.parse(f"a: {text}", "t").value["a"]
    assert read == value
    assert type(read) is type(value)


def test_lines_of_nested_keys_and_list_elements() -> None:
    doc = yaml_text.parse("a:\n  b: [1,\n      2]\nc: 3\n", "t")
    assert [doc.origin(p)[1] for p in [("a",), ("a", "b"), ("a", "b", 1), ("c",), ("a", "absent"), ("absent",)]] == [
        1,
        2,
        3,
        4,
        1,
        1,
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: 2\na: 3\n", "t:3: a: the key occurs a second time (first in line 1); keep one of them"),
        ("a:\n\tb: 1\n", "t:2: expected spaces, got a tab"),
        ("", "t:1: expected a mapping of keys, got an empty file"),
        ("a: [1, 2\nb: 3", "t:2: cannot be read as YAML"),
        ("a: 1\n---\nb: 2\n", "t:2: cannot be read as YAML"),
        ("a: !!python/object:os.system x", "t:1: cannot be read as YAML"),
        ("a: \x00", "t: cannot be read as YAML: unacceptable character"),
    ],
)
def test_what_cannot_be_read_says_where_and_what_to_do(text: str, expected: str) -> None:
    with pytest.raises(ManifestError) as caught:
        yaml_text.parse(text, "t")
    assert str(caught.value).startswith(expected)


@pytest.mark.parametrize(
    "name", ["1e3", "yes", "0777", "1:30", "null", "2026-01-01", "a: b", "two\nlines\n", "", " x "]
)
def test_what_is_dumped_reads_back(name: str) -> None:
    value: dict[str, object] = {"name": name, "list": [1e-3, 1, -0.5, True, None, name], "again": [{}, []]}
    assert yaml_text.parse(yaml_text.dump(value), "t").value == value
