"""What the programs' sources say about the world they run in: the environment variables that they read and the calls to
AWS that they make. The tests of k8s/ and terraform/ hold the manifests and the policies against it.

A program's sources are those of its crate and of the crates of this workspace that it depends on, without their tests.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent

# The program's name, and the folder of its crate.
PROGRAMS = {"scorer": "scorer", "api": "api"}

VARIABLE = re.compile(
    r"""(?:\bvariable(?:::<[^>]*>)?\(\s*|\benv\s*=\s*|\benv::var(?:_os)?\(\s*)"([A-Z][A-Z0-9_]*)\""""
)
# `#[arg(env)]` without a name: clap reads the variable of the field's name.
FLAG = re.compile(r"#\[arg\((?=[^\]]*\benv\b(?!\s*=))[^\]]*\)\]\s*(?:#\[[^\]]*\]\s*)*(?:pub(?:\(\w+\))?\s+)?(\w+)\s*:")
# What a command is told by flags: its own, and those of the structures that it flattens.
FLAGS = re.compile(r"^#\[derive\([^)]*\bArgs\b[^)]*\)\]\s*(?:pub(?:\(\w+\))?\s+)?struct (\w+) \{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
FLATTENED = re.compile(r"#\[command\(flatten\)\]\s*(?:pub(?:\(\w+\))?\s+)?\w+\s*:\s*(\w+)")
# The filter of log lines reads its own.
LOG_FILTER = re.compile(r"\bEnvFilter::(?:builder|try_from_default_env|from_default_env)\(")
# The SDK reads these itself: where the environment says which region, which account and as whom.
READ_BY_THE_SDK = {"AWS_DEFAULT_REGION", "AWS_REGION", "AWS_ENDPOINT_URL", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE"}

# The SDK's methods, and the action that a policy must allow for each. A `.get_object()` without arguments is the SDK's
# builder; methods of our own take some.
ACTIONS = {
    "list_objects_v2": "s3:ListBucket",
    "list_objects": "s3:ListBucket",
    "head_bucket": "s3:ListBucket",
    "get_object": "s3:GetObject",
    "head_object": "s3:GetObject",
    "get_object_attributes": "s3:GetObject",
    "put_object": "s3:PutObject",
    "copy_object": "s3:PutObject",
    "create_multipart_upload": "s3:PutObject",
    "upload_part": "s3:PutObject",
    "complete_multipart_upload": "s3:PutObject",
    "abort_multipart_upload": "s3:AbortMultipartUpload",
    "delete_object": "s3:DeleteObject",
    "delete_objects": "s3:DeleteObject",
    "receive_message": "sqs:ReceiveMessage",
    "delete_message": "sqs:DeleteMessage",
    "delete_message_batch": "sqs:DeleteMessage",
    "change_message_visibility": "sqs:ChangeMessageVisibility",
    "change_message_visibility_batch": "sqs:ChangeMessageVisibility",
    "get_queue_attributes": "sqs:GetQueueAttributes",
    "get_queue_url": "sqs:GetQueueUrl",
    "send_message": "sqs:SendMessage",
    "send_message_batch": "sqs:SendMessage",
    "purge_queue": "sqs:PurgeQueue",
}
CALL = re.compile(r"\.\s*(" + "|".join(sorted(ACTIONS, key=len, reverse=True)) + r")\(\s*\)")
PUBLIC_TYPE = re.compile(r"^pub (?:struct|enum) (\w+)", re.MULTILINE)
IMPLEMENTATION = re.compile(r"^impl\b[^{;]*?(\w+)(?:<[^{>]*>)?\s*(?:where[^{]*)?\{", re.MULTILINE)


class NothingFound(AssertionError):
    """The sources list nothing: they were not found, or say it in a way that this does not know."""


def crates(folder: str, repository: Path = REPOSITORY) -> list[Path]:
    """The crate in the folder, and those of the workspace that it depends on."""
    workspace = tomllib.loads((repository / "Cargo.toml").read_text())["workspace"]["dependencies"]
    found, waiting = [], [folder]
    while waiting:
        crate = repository / waiting.pop()
        if crate in found:
            continue
        found.append(crate)
        for name, dependency in tomllib.loads((crate / "Cargo.toml").read_text()).get("dependencies", {}).items():
            shared = dependency if isinstance(dependency, dict) and "path" in dependency else workspace.get(name)
            if isinstance(shared, dict) and "path" in shared:
                path = (crate if shared is dependency else repository) / shared["path"]
                waiting.append(str(path.resolve().relative_to(repository.resolve())))
    return found


def code(crate: Path) -> list[str]:
    """The crate's source files without comments and without what is only for tests."""
    texts = []
    for path in sorted((crate / "src").rglob("*.rs")):
        if path.stem == "testing":
            continue
        text = re.sub(r"^\s*//.*$", "", path.read_text(), flags=re.MULTILINE)
        texts.append(re.split(r"^\s*#\[cfg\(test\)\]\s*\n\s*mod\s+\w+\s*\{", text, maxsplit=1, flags=re.MULTILINE)[0])
    if not texts:
        raise NothingFound(f"{crate}/src has no Rust sources")
    return texts


def environment(program: str, repository: Path = REPOSITORY) -> set[str]:
    """The environment variables that a program reads."""
    found = set()
    for crate in crates(PROGRAMS[program], repository):
        for text in code(crate):
            found |= {field.upper() for field in FLAG.findall(text)}
            found |= set(VARIABLE.findall(text)) | ({"RUST_LOG"} if LOG_FILTER.search(text) else set())
    if not found:
        raise NothingFound(f"the sources of {program} read no environment variable: say how in {__file__}")
    return found | READ_BY_THE_SDK


def environment_of_command(program: str, command: str, repository: Path = REPOSITORY) -> set[str]:
    """The environment variables that one of a program's commands reads: the program's, without the flags of the others."""
    folder = repository / PROGRAMS[program] / "src/bin" / program
    structures = {path.stem: dict(FLAGS.findall(path.read_text())) for path in folder.glob("*.rs")}
    shared = {name: body for of in structures.values() for name, body in of.items()}
    if not structures.get(command):
        raise NothingFound(f"{folder}/{command}.rs has no flags")

    def variables(body: str) -> set[str]:
        return {field.upper() for field in FLAG.findall(body)} | set(VARIABLE.findall(body))

    waiting, read = list(structures[command].values()), set()
    while waiting:
        body = waiting.pop()
        read |= variables(body)
        waiting += [shared[name] for name in FLATTENED.findall(body)]
    flags = {variable for of in structures.values() for body in of.values() for variable in variables(body)}
    return environment(program, repository) - flags | read


def aws_actions(program: str, repository: Path = REPOSITORY) -> set[str]:
    """The actions that a policy must allow for the calls that a program makes.

    Calls in the program's own crate count. Of the crates that it depends on, the calls in the implementation of a
    type count if the program names the type, which has to be public, itself or through other types that it names.
    """
    own, *others = crates(PROGRAMS[program], repository)
    calls: dict[str, set[str]] = {}
    mentions: dict[str, set[str]] = {}
    public: set[str] = set()
    for crate in others:
        for text in code(crate):
            public |= set(PUBLIC_TYPE.findall(text))
            starts = list(IMPLEMENTATION.finditer(text))
            for start, following in zip(starts, [*starts[1:], None]):
                body = text[start.start() : following.start() if following else len(text)]
                calls.setdefault(start[1], set()).update(CALL.findall(body))
                mentions.setdefault(start[1], set()).update(re.findall(r"\b[A-Z]\w+", body))
            # What stands before the first implementation belongs to no type.
            free = text[: starts[0].start()] if starts else text
            calls.setdefault("", set()).update(CALL.findall(free))
    program_code = "\n".join(code(own))
    found = set(CALL.findall(program_code)) | calls.get("", set())
    waiting, seen = [name for name in calls if name in public and re.search(rf"\b{name}\b", program_code)], set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        found |= calls[name]
        waiting += [other for other in mentions[name] if other in calls]
    if not found:
        raise NothingFound(f"the sources of {program} make no call to AWS that is known: see ACTIONS in {__file__}")
    return {ACTIONS[call] for call in found}
