"""Every message that a user can cause, listed in messages.txt and alike: what was wrong, what was given.

`python -m tests.test_messages` writes the list anew.
"""

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from serving.api.requests import InterpolateRequest, SampleRequest, TranslateRequest
from serving.validation import validation_message

ROOT = Path(__file__).parents[1]
LIST = Path(__file__).with_name("messages.txt")
FILES = [path for room in ("zoo", "training", "serving") for path in sorted((ROOT / room).rglob("*.py"))] + [
    ROOT / "ganzoo.py"
]


@functools.cache
def errors_of_users() -> set[str]:
    """The names of all error classes whose messages users read, and of functions that make such errors."""
    names = {"UserError", "APIError", "ConfigError", "Diverged", "Interrupted", "OSError"}
    trees = [ast.parse(path.read_text()) for path in FILES]
    classes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    while (
        new := {each.name for each in classes if names & {ast.unparse(base) for base in each.bases}} - names
    ):
        names |= new
    return names | {"_wrong", "too_large", "fail"}


def text_of(node: ast.expr) -> str | None:
    """A message as it stands in the code, with the fields of an f-string in braces."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr():
            return "".join(
                part.value if isinstance(part, ast.Constant) else f"{{{ast.unparse(part.value)}}}"
                for part in node.values
            )
    return None


def messages(path: Path) -> Iterator[str]:
    """The messages of a file's errors, in order; those of variables by their assignments."""
    tree = ast.parse(path.read_text())
    named = {
        target.id: text_of(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        if not speaks(call):
            continue
        texts = [named.get(each.id) if isinstance(each, ast.Name) else text_of(each) for each in call.args]
        yield from [text for text in texts if text is not None and " " in text][:1]


def speaks(call: ast.Call) -> bool:
    """Whether a call makes an error, logs one, or prints to standard error."""
    name = ast.unparse(call.func)
    to_stderr = any(ast.unparse(word.value) == "sys.stderr" for word in call.keywords)
    logs = name.startswith("logger.") and name != "logger.info"
    makes = name.rpartition(".")[2] in errors_of_users() | {"ValueError"}
    return makes or logs or (name == "print" and to_stderr)


@functools.cache
def collection() -> list[str]:
    found = [
        f"{path.relative_to(ROOT).as_posix()}: {' '.join(text.split())}"
        for path in FILES
        for text in messages(path)
    ]
    passed_on = re.compile(r": (warning|ganzoo): {[^{}]*}$")
    return [line for line in dict.fromkeys(found) if not passed_on.search(line)]


def test_the_list_is_whole():
    """A new message is read in the list, beside all others."""
    assert LIST.read_text().splitlines() == collection(), (
        "run python -m tests.test_messages and read the list"
    )
    assert len(collection()) > 180


STARTS = re.compile(r"[a-z{`'(]|CUDA|Content-|GANZOO_|JPEG|PSNR|--|X-")
SAYS_WHAT = re.compile(
    r"must|can't|could not|not |no |needs? |required?|unknown|damaged|got|limit|invalid|in use|error|stopped"
    r"|memory|differ|fail|without|saved|deprecated|hides|serving the|exceed|contains|holds|already|changed"
    r"|missing|same|diverged|nan|lost|again|times as fast"
)
RIDDLES = re.compile(
    r"\b(whoever|wherever|told|tells|comes of|came of|mistake|asked for|wants|such a|anew|beyond"
    r"|players?|judge|remedy|pictures?|please|sorry|oops|upon)\b"
)


@pytest.mark.parametrize("line", collection())
def test_a_message_has_the_form_of_all(line):
    text = line.partition(": ")[2]
    text = re.sub(r"{.*?}|%s", "{}", text)
    assert STARTS.match(text), "a message begins in lower case, or with a name"
    assert not text.endswith("."), "a message is a clause, and clauses are joined by semicolons"
    assert SAYS_WHAT.search(text) or text.startswith("{"), "a message says what is wrong"
    assert not RIDDLES.search(text)
    assert len(text) <= 260


@pytest.mark.parametrize(
    "text",
    ["Bad value.", "what comes of it is not finite", "the picture must be small", "something happened"],
)
def test_another_form_would_be_seen(text):
    """The control."""
    with pytest.raises(AssertionError):
        test_a_message_has_the_form_of_all(f"file: {text}")


@pytest.mark.parametrize(
    ("kind", "content", "said"),
    [
        (SampleRequest, {"n": 0}, "n must be at least 1; got 0"),
        (SampleRequest, {"n": "4"}, "n must be a valid integer; got '4'"),
        (SampleRequest, {"n": True}, "n must be a valid integer; got True"),
        (SampleRequest, {"seed": -1}, "seed must be at least 0; got -1"),
        (SampleRequest, {"seed": 2**53}, f"seed must be at most {2**53 - 1}; got {2**53}"),
        (SampleRequest, {"truncation": 0}, "truncation must be above 0; got 0"),
        (SampleRequest, {"label": []}, "label must be a valid integer or a valid string; got a list"),
        (SampleRequest, {"format": "gif"}, "got 'gif'"),
        (SampleRequest, {"colour": "red"}, "'colour' is not a known field"),
        (SampleRequest, {"latents": [[1.0, "x"]]}, "latents[0][1] must be a valid number; got 'x'"),
        (InterpolateRequest, {}, "seeds is required"),
        (InterpolateRequest, {"seeds": [1]}, "seeds must have at least 2 items; got 1"),
        (TranslateRequest, {"direction": "x" * 200}, "direction must have at most 100 characters; got"),
    ],
)
def test_pydantic_speaks_as_all_others_do(kind, content, said):
    with pytest.raises(ValidationError) as refused:
        kind.model_validate(content)
    message = validation_message(refused.value.errors(include_url=False, include_context=False))
    assert said in message
    assert len(message) < 300
    test_a_message_has_the_form_of_all(f"file: {message}")


def test_pydantic_on_what_is_no_json():
    for body, said in (
        (b"{", "the body must be valid JSON: "),
        (b"[]", "the body must be an object; got a list"),
    ):
        with pytest.raises(ValidationError) as refused:
            SampleRequest.model_validate_json(body)
        assert said in validation_message(refused.value.errors(include_url=False, include_context=False))


if __name__ == "__main__":
    LIST.write_text("\n".join(collection()) + "\n")
