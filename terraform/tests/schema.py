"""What a provider's resources look like, from the bindings that npm's `@cdktf/provider-*` packages hold.

The bindings are generated from the provider's own schema. Each compiled module carries its TypeScript source, and there
every argument and attribute stands with its name, its type, and whether it is computed, optional or required:

    // role_arn - computed: false, optional: false, required: true
    private _roleArn?: string;
    public get roleArn() { return this.getStringAttribute('role_arn'); }

while `isBlock` and `type` (list, set, struct) tell how a nested block is written. What the bindings do not tell: which
attributes are sensitive, and how many blocks there may be beyond none, one or many.
"""

from __future__ import annotations

import base64
import json
import re
import tarfile
from dataclasses import dataclass, field

FIELD = re.compile(r"^  // (\w+) - computed: (true|false), optional: (true|false), required: (true|false)\n", re.MULTILINE)
CLASS = re.compile(r"^export (?:abstract )?class (\w+) extends [\w.]+ \{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
STRUCT = re.compile(r"^export function (\w+)ToHclTerraform\(.*?\n(.*?)^\}", re.MULTILINE | re.DOTALL)
ARGUMENT = re.compile(r'^ +(\w+): \{\n +value: .*\n +isBlock: (true|false),\n +type: "(\w+)",\n +storageClassType: "(\w+)",', re.MULTILINE)
NESTED = re.compile(r"new (\w+?)(List|Map|OutputReference)\(this, ")
GETTER = re.compile(r"(Fn\.tolist\()?this\.get(String|Number|Boolean)?(List|Map)?Attribute\(")
DECLARED = re.compile(r"private _\w+\??: (\w+)\[\]")
SCALARS = {"String": "string", "Number": "number", "Boolean": "bool", None: "string"}
STORED = {"string": "string", "number": "number", "boolean": "bool"}


@dataclass
class Field:
    name: str
    computed: bool
    optional: bool
    required: bool
    type: object = None
    nested: str | None = None
    wrapper: str | None = None
    is_block: bool = False
    written: str = ""


@dataclass
class Binding:
    """One module: the fields of every class in it, and the class that is the resource."""

    classes: dict[str, list[Field]] = field(default_factory=dict)
    main: str = ""

    def block(self, name: str, path: tuple[str, ...] = ()) -> dict:
        """A block as the plugin protocol's message has it."""
        attributes, blocks = [], []
        # Some blocks nest in themselves without end; nobody writes them deeper than this.
        fields = self.classes[name] if path.count(name) < 3 else []
        for item in fields:
            if item.nested and item.is_block:
                single = item.wrapper == "OutputReference"
                blocks.append({
                    "type_name": item.name,
                    "nesting": "SINGLE" if item.written == "struct" else "SET" if item.written == "set" else "LIST",
                    "min_items": int(item.required),
                    "max_items": int(single and item.written != "struct"),
                    "block": self.block(item.nested + "OutputReference", (*path, name)),
                })
            else:
                attributes.append({
                    "name": item.name,
                    "type": self.type(item, (*path, name)),
                    "required": item.required,
                    "optional": item.optional,
                    "computed": item.computed,
                })
        return {"attributes": attributes, "block_types": blocks}

    def type(self, item: Field, path: tuple[str, ...]) -> object:
        """A type as Terraform writes it in JSON."""
        if not item.nested:
            return item.type
        fields = self.classes[item.nested + "OutputReference"] if path.count(item.nested) < 3 else []
        of = ["object", {one.name: self.type(one, (*path, item.nested)) for one in fields}]
        if item.written == "struct":
            return of
        return ["map" if item.wrapper == "Map" else "set" if item.written == "set" else "list", of]


def read(source: str) -> Binding:
    """A module's TypeScript source."""
    binding = Binding()
    structs = {name[0].upper() + name[1:] + "OutputReference": body for name, body in STRUCT.findall(source)}
    for name, body in CLASS.findall(source):
        if "tfResourceType" in body:
            binding.main = name
        arguments = {match[0]: match[1:] for match in ARGUMENT.findall(structs.get(name, body))}
        marks = list(FIELD.finditer(body))
        fields = []
        for mark, following in zip(marks, [*marks[1:], None]):
            code = body[mark.end() : following.start() if following else len(body)]
            item = Field(mark[1], *(value == "true" for value in mark.groups()[1:]))
            is_block, item.written, _ = arguments.get(item.name, ("false", "", ""))
            item.is_block = is_block == "true"
            # The code of the last field runs on to the end of the class.
            code = code.split("  // ====")[0]
            if nested := NESTED.search(code):
                item.nested, item.wrapper = nested[1], nested[2]
            elif getter := GETTER.search(code):
                of_set, scalar, collection = getter.groups()
                item.type = SCALARS[scalar]
                if collection == "Map":
                    item.type = ["map", item.type]
                elif collection == "List":
                    item.type = ["set" if of_set or item.written == "set" else "list", item.type]
            elif item.is_block and (declared := DECLARED.search(code)):
                # A provider's own blocks: only their arguments are in the bindings.
                item.nested = declared[1]
                binding.classes[f"{item.nested}OutputReference"] = [
                    Field(argument, False, True, False, type=stored_type(*match))
                    for argument, *match in ARGUMENT.findall(structs[f"{item.nested}OutputReference"])
                ]
            else:
                item.type = stored_type(*arguments.get(item.name, ("false", "", "")))
            fields.append(item)
        binding.classes[name] = fields
    return binding


def stored_type(_is_block: str, written: str, stored: str) -> object:
    scalar = STORED.get(stored.removesuffix("List").removesuffix("Map"))
    if scalar is None:
        return "dynamic"
    return scalar if written == "simple" else [written, scalar]


class Package:
    """A package as npm packs it."""

    def __init__(self, archive: str) -> None:
        self.tar = tarfile.open(archive)
        # The archive is read from the beginning to the end once.
        self.members = {member.name: member for member in self.tar.getmembers()}

    def binding(self, folders: list[str]) -> Binding | None:
        for folder in folders:
            if member := self.members.get(f"package/lib/{folder}/index.js"):
                compiled = self.tar.extractfile(member).read().decode()
                source_map = compiled.rsplit("base64,", 1)[1]
                return read(json.loads(base64.b64decode(source_map))["sourcesContent"][0])
        return None

    def schemas(self, provider: str, resources: set[str], data_sources: set[str]) -> dict:
        """The schemas of a provider and of what is used of it; what it does not have is left out."""

        def one(folders: list[str]) -> dict | None:
            binding = self.binding(folders)
            return binding and {"block": binding.block(binding.main)}

        def folders(prefix: str, name: str) -> list[str]:
            folder = prefix + name.removeprefix(provider + "_").replace("_", "-")
            # A name that collides with another in the bindings has a letter at its end.
            return [folder, folder + "-a"]

        found = {
            "provider": one(["provider"]) or {"block": {}},
            "resource_schemas": {name: one(folders("", name)) for name in sorted(resources)},
            "data_source_schemas": {name: one(folders(f"data-{provider}-", name)) for name in sorted(data_sources)},
        }
        for kind in ("resource_schemas", "data_source_schemas"):
            found[kind] = {name: schema for name, schema in found[kind].items() if schema}
        return found
