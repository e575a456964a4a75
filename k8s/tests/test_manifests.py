"""What `kubectl kustomize` renders, held against the schemas, against itself and against the programs' sources.

Run by k8s/test.sh, which says where kubectl and the schemas' npm packages are: $KUBECTL and $SCHEMAS.
"""

import ipaddress
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import unittest
from decimal import Decimal
from pathlib import Path

import kubernetes_validate
import yaml

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
sys.path.insert(0, str(REPOSITORY / "scripts"))

import sources  # noqa: E402

NEWEST = sorted(kubernetes_validate.utils.all_versions(), key=lambda version: [int(part) for part in version.split(".")])
# Of each minor version the newest.
VERSIONS = list({version.rsplit(".", 1)[0]: version for version in NEWEST}.values())[-3:]
CUSTOM = {
    "keda.sh/v1alpha1": "@kubernetes-models/keda/keda.sh/v1alpha1",
    "monitoring.coreos.com/v1": "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1",
}
WORKLOADS = {
    "Deployment": lambda spec: spec["template"],
    "Job": lambda spec: spec["template"],
    "CronJob": lambda spec: spec["jobTemplate"]["spec"]["template"],
}
# Installations that no overlay is, so that every component is rendered.
EXTRA = {"monitored": ["service-monitor"], "without-keda": ["cpu-scaling"], "retraining": ["retraining"]}


def setUpModule():
    global rendered, commands
    folder = tempfile.TemporaryDirectory()
    unittest.addModuleCleanup(folder.cleanup)
    commands = Path(folder.name)
    k8s = commands / "k8s"
    shutil.copytree(HERE.parent, k8s, ignore=shutil.ignore_patterns("tests", "secrets.env"))
    settings = k8s / "overlays/prod/settings"
    shutil.copy(settings / "secrets.env.example", settings / "secrets.env")
    for name, components in EXTRA.items():
        (k8s / name).mkdir()
        (k8s / name / "kustomization.yaml").write_text(
            yaml.safe_dump({
                "apiVersion": "kustomize.config.k8s.io/v1beta1",
                "kind": "Kustomization",
                "namespace": "cripto-prediction",
                "resources": ["../base"],
                "components": ["../overlays/prod/settings", *(f"../components/{one}" for one in components)],
                "images": [{"name": "cripto-prediction", "newTag": "test"}],
                "patches": label_for_the_stack() if name == "monitored" else [],
            })
        )
    rendered = {}
    for name in ("overlays/dev", "overlays/prod", "history", *EXTRA):
        output = subprocess.run([os.environ["KUBECTL"], "kustomize", k8s / name], capture_output=True, text=True, check=False)
        assert output.returncode == 0, f"{name}: {output.stderr}"
        assert not output.stderr, f"{name}: {output.stderr}"
        rendered[name] = list(yaml.safe_load_all(output.stdout))


def label_for_the_stack():
    """The patch that the documentation has for kube-prometheus-stack."""
    page = (REPOSITORY / "docs/deploy.md").read_text()
    return yaml.safe_load(re.search(r"^(    - target: \{kind: ServiceMonitor\}\n(?:     .*\n)+)", page, re.MULTILINE)[1])


def label(resource):
    return f"{resource['kind']}/{resource['metadata']['name']}"


def of_kind(resources, *kinds):
    return [resource for resource in resources if resource["kind"] in kinds]


def named(resources, kind, name):
    found = [resource for resource in of_kind(resources, kind) if resource["metadata"]["name"] == name]
    return found[0] if found else None


def workloads(resources):
    for resource in resources:
        if resource["kind"] in WORKLOADS:
            yield resource, WORKLOADS[resource["kind"]](resource["spec"])


def ports(template):
    return {port["name"]: port["containerPort"] for container in template["spec"]["containers"] for port in container.get("ports", [])}


def matches(selector, labels):
    """A label selector as Kubernetes applies it."""
    wanted = selector.get("matchLabels", {}).items() <= labels.items()
    for expression in selector.get("matchExpressions", []):
        assert expression["operator"] == "In", expression
        wanted = wanted and labels.get(expression["key"]) in expression["values"]
    return wanted


def quantity(text):
    """A resource quantity as a number."""
    number, suffix = re.fullmatch(r"([0-9.]+)(m|k|Ki|M|Mi|G|Gi)?", str(text)).groups()
    factors = {None: 1, "m": Decimal("0.001"), "k": 10**3, "M": 10**6, "G": 10**9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
    return Decimal(number) * factors[suffix]


class EachInstallation(unittest.TestCase):
    """Every test looks at every installation."""

    def each(self, *kinds):
        for name, resources in rendered.items():
            for resource in of_kind(resources, *kinds) if kinds else resources:
                yield f"{name}: {label(resource)}", resources, resource

    def each_container(self, ours_only=False):
        for where, resources, resource in self.each(*WORKLOADS):
            template = WORKLOADS[resource["kind"]](resource["spec"])
            for container in template["spec"]["containers"]:
                if not ours_only or "cripto-prediction" in container["image"]:
                    yield where, resources, template, container


class Schemas(EachInstallation):
    def test_everything_is_valid_in_the_three_newest_versions_of_kubernetes(self):
        self.assertEqual(len(VERSIONS), 3)
        for version in VERSIONS:
            for where, _, resource in self.each():
                with self.subTest(where):
                    if resource["apiVersion"] not in CUSTOM:
                        kubernetes_validate.validate(resource, version, strict=True)

    def check_custom(self, resources):
        """TypeScript finds what is unknown or of another type, the schema what a value may not be."""
        with tempfile.TemporaryDirectory(dir=os.environ["SCHEMAS"]) as folder:
            lines, checks = [], []
            for index, resource in enumerate(resources):
                module, kind = CUSTOM[resource["apiVersion"]], resource["kind"]
                lines.append(f'import {{ I{kind} as I{index} }} from "{module}/{kind}";')
                lines.append(f"export const one{index}: I{index} = {json.dumps(resource)};")
                checks.append(f'import {{ {kind} as K{index} }} from "{module}/{kind}";')
                checks.append(f"new K{index}({json.dumps(resource)}).validate();")
            (Path(folder) / "check.ts").write_text("\n".join(lines))
            (Path(folder) / "check.mjs").write_text("\n".join(checks))
            options = ["--noEmit", "--strict", "--skipLibCheck", "--module", "nodenext", "--target", "es2022"]
            node = Path(os.environ["SCHEMAS"]) / "bin/node"
            for command in ([node, "../node_modules/typescript/bin/tsc", *options, "check.ts"], [node, "check.mjs"]):
                checked = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
                if checked.returncode != 0:
                    return checked.stdout + checked.stderr
        return None

    def test_custom_resources_are_valid(self):
        found = [one for resources in rendered.values() for one in resources if one["apiVersion"] in CUSTOM]
        self.assertEqual({one["kind"] for one in found}, {"ScaledObject", "TriggerAuthentication", "ServiceMonitor"})
        self.assertIsNone(self.check_custom(found))

    def test_what_a_custom_resource_does_not_have_is_found(self):
        (scaled,) = of_kind(rendered["overlays/prod"], "ScaledObject")
        mistakes = [
            ({"minReplicas": 1}, "'\"minReplicas\"' does not exist"),
            ({"maxReplicaCount": "4"}, "'string' is not assignable to type 'number'"),
            ({"triggers": [{"type": "aws-sqs-queue"}]}, "'\"metadata\"' is missing"),
        ]
        for wrong, told in mistakes:
            with self.subTest(told):
                self.assertIn(told, self.check_custom([{**scaled, "spec": {**scaled["spec"], **wrong}}]))


class References(EachInstallation):
    def test_selectors_find_their_pods(self):
        for where, resources, resource in self.each("Service", "Deployment", "PodDisruptionBudget", "NetworkPolicy"):
            with self.subTest(where):
                spec = resource["spec"]
                selector = spec["podSelector"] if resource["kind"] == "NetworkPolicy" else spec["selector"]
                if resource["kind"] == "Service":
                    selector = {"matchLabels": selector}
                found = [label(one) for one, template in workloads(resources) if matches(selector, template["metadata"]["labels"])]
                if resource["kind"] == "NetworkPolicy":
                    self.assertTrue(found)
                else:
                    self.assertEqual(len(found), 1, found)
                if resource["kind"] == "Deployment":
                    self.assertEqual(found, [label(resource)])

    def test_service_ports_are_container_ports(self):
        for where, resources, service in self.each("Service"):
            with self.subTest(where):
                (template,) = [one for _, one in workloads(resources) if matches({"matchLabels": service["spec"]["selector"]}, one["metadata"]["labels"])]
                for port in service["spec"]["ports"]:
                    self.assertIn(port["targetPort"], ports(template))

    def test_probes_and_policies_name_container_ports(self):
        for where, _, template, container in self.each_container():
            with self.subTest(where):
                for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                    for how in ("httpGet", "tcpSocket"):
                        if how in container.get(probe, {}):
                            self.assertIn(container[probe][how]["port"], ports(template))
                paths = {
                    probe: container[probe]["httpGet"]["path"]
                    for probe in ("startupProbe", "readinessProbe", "livenessProbe")
                    if "httpGet" in container.get(probe, {})
                }
                wanted = {"startupProbe": "/health/live", "readinessProbe": "/health", "livenessProbe": "/health/live"}
                self.assertIn(paths, ({}, wanted), "only readiness may depend on other services")
        for where, resources, policy in self.each("NetworkPolicy"):
            with self.subTest(where):
                for rule in policy["spec"].get("ingress", []):
                    for port in rule["ports"]:
                        for _, template in workloads(resources):
                            if matches(policy["spec"]["podSelector"], template["metadata"]["labels"]):
                                self.assertIn(port["port"], ports(template).values())

    def test_backends_of_the_ingress_are_services(self):
        for where, resources, ingress in self.each("Ingress"):
            with self.subTest(where):
                for rule in ingress["spec"]["rules"]:
                    for path in rule["http"]["paths"]:
                        backend = path["backend"]["service"]
                        if backend["port"]["name"] == "use-annotation":
                            action = ingress["metadata"]["annotations"][f"alb.ingress.kubernetes.io/actions.{backend['name']}"]
                            answer = json.loads(action)["fixedResponseConfig"]
                            json.loads(answer["messageBody"])
                            continue
                        service = named(resources, "Service", backend["name"])
                        self.assertIn(backend["port"]["name"], [port["name"] for port in service["spec"]["ports"]])

    def test_monitors_find_their_services(self):
        for where, resources, monitor in self.each("ServiceMonitor"):
            with self.subTest(where):
                found = [one for one in of_kind(resources, "Service") if matches(monitor["spec"]["selector"], one["metadata"]["labels"])]
                self.assertEqual([one["metadata"]["name"] for one in found], [monitor["metadata"]["name"]])
                self.assertEqual(monitor["metadata"]["labels"], {"release": "kube-prometheus-stack"})
                for endpoint in monitor["spec"]["endpoints"]:
                    self.assertIn(endpoint["port"], [port["name"] for port in found[0]["spec"]["ports"]])

    def test_config_maps_secrets_and_service_accounts_exist(self):
        for where, resources, template, container in self.each_container():
            with self.subTest(where):
                account = template["spec"].get("serviceAccountName")
                self.assertTrue(account is None or named(resources, "ServiceAccount", account))
                for variable in container.get("env", []):
                    for how, kind in {"configMapKeyRef": "ConfigMap", "secretKeyRef": "Secret"}.items():
                        if reference := variable.get("valueFrom", {}).get(how):
                            of = named(resources, kind, reference["name"])
                            self.assertIsNotNone(of, reference)
                            if not reference.get("optional"):
                                self.assertIn(reference["key"], of["data"])

    def test_every_service_account_has_its_role(self):
        for name in ("overlays/dev", "overlays/prod"):
            settings = of_kind(rendered[name], "ConfigMap")[0]["data"]
            for account in of_kind(rendered[name], "ServiceAccount"):
                role = settings[account["metadata"]["name"].upper() + "_ROLE"]
                self.assertEqual(account["metadata"]["annotations"], {"eks.amazonaws.com/role-arn": role})

    def test_autoscalers_have_a_target_that_nothing_else_scales(self):
        for name, resources in rendered.items():
            scalers = of_kind(resources, "HorizontalPodAutoscaler", "ScaledObject")
            targets = [scaler["spec"]["scaleTargetRef"]["name"] for scaler in scalers]
            with self.subTest(name):
                self.assertEqual(len(targets), len(set(targets)))
                for scaler, target in zip(scalers, targets):
                    deployment = named(resources, "Deployment", target)
                    # A number of replicas would set the autoscaler's back with every apply.
                    self.assertNotIn("replicas", deployment["spec"])
                    container = deployment["spec"]["template"]["spec"]["containers"][0]
                    for metric in scaler["spec"].get("metrics", []):
                        self.assertIn(metric["resource"]["name"], container["resources"]["requests"])
                    for trigger in scaler["spec"].get("triggers", []):
                        self.assertIn(trigger["metadata"]["queueURLFromEnv"], [one["name"] for one in container["env"]])
                        self.assertEqual(trigger["metadata"]["awsRegion"], of_kind(resources, "ConfigMap")[0]["data"]["AWS_DEFAULT_REGION"])
                        self.assertIsNotNone(named(resources, "TriggerAuthentication", trigger["authenticationRef"]["name"]))

    def test_every_deployment_of_production_is_scaled(self):
        scaled = {one["spec"]["scaleTargetRef"]["name"] for one in of_kind(rendered["overlays/prod"], "HorizontalPodAutoscaler", "ScaledObject")}
        self.assertEqual(scaled, {one["metadata"]["name"] for one in of_kind(rendered["overlays/prod"], "Deployment")})
        (api,) = of_kind(rendered["overlays/prod"], "HorizontalPodAutoscaler")
        self.assertEqual(api["spec"]["minReplicas"], 2)
        self.assertEqual({metric["resource"]["name"] for metric in api["spec"]["metrics"]}, {"cpu", "memory"})


class Programs(EachInstallation):
    def program(self, container):
        path = Path(container["command"][0])
        self.assertEqual(path.parent, Path("/usr/local/bin"))
        return path.name

    def read(self, container):
        """The variables that the container's command reads."""
        program, command = self.program(container), container["command"][1:2]
        return sources.environment_of_command(program, *command) if command else sources.environment(program)

    def test_every_variable_is_read_by_the_program(self):
        for where, _, _, container in self.each_container(ours_only=True):
            with self.subTest(where):
                unread = {variable["name"] for variable in container["env"]} - self.read(container)
                self.assertFalse(unread, f"the sources of {container['command'][:2]} do not read {unread}")

    def test_every_variable_that_is_read_is_set_or_needs_no_setting(self):
        needless = {
            "METRICS_HOST": "all addresses, as the default is",
            "REDIS_CA_FILE": "ElastiCache's certificates are of an authority that the image trusts",
            "REDIS_POLL_MILLISECONDS": "nothing about it depends on the installation",
            "JOB_COMPLETION_INDEX": "set by Kubernetes",
            "BUCKET_DIR": "a folder",
            "NO_COLOR": "a terminal",
        } | dict.fromkeys(sources.READ_BY_THE_SDK, "set by EKS")
        retraining = {"RETRAIN_CONFIG", "WRITE_FEATURES"}
        for where, _, _, container in self.each_container(ours_only=True):
            with self.subTest(where):
                carried = {variable["name"] for variable in container["env"]}
                unset = self.read(container) - carried - set(needless)
                self.assertLessEqual(unset, set() if where.startswith("retraining: ") else retraining)

    def test_what_several_commands_of_a_program_read_they_are_told_alike(self):
        for name, resources in rendered.items():
            told = {}
            for _, template in workloads(resources):
                for container in template["spec"]["containers"]:
                    for variable in container["env"] if "cripto-prediction" in container["image"] else []:
                        told.setdefault((self.program(container), variable["name"]), []).append(variable)
            for of, ways in told.items():
                with self.subTest(name, of=of):
                    self.assertTrue(all(way == ways[0] for way in ways), ways)

    def test_files_that_a_variable_names_are_mounted(self):
        found = 0
        for where, resources, template, container in self.each_container(ours_only=True):
            with self.subTest(where):
                for variable in container["env"]:
                    if not str(variable.get("value")).startswith("/"):
                        continue
                    found += 1
                    path = Path(variable["value"])
                    (mount,) = [one for one in container["volumeMounts"] if one["mountPath"] == str(path.parent)]
                    (volume,) = [one for one in template["spec"]["volumes"] if one["name"] == mount["name"]]
                    self.assertIn(path.name, named(resources, "ConfigMap", volume["configMap"]["name"])["data"])
        self.assertGreater(found, 0)

    def test_every_variable_that_is_read_is_documented(self):
        documented = set(re.findall(r"^\| `([A-Z_]+)`", (REPOSITORY / "docs/deploy.md").read_text(), re.MULTILINE))
        # Of `scorer score` on a folder, and of terminals.
        elsewhere = {"BUCKET_DIR", "NO_COLOR"} | (sources.READ_BY_THE_SDK - {"AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL"})
        for program in sources.PROGRAMS:
            with self.subTest(program):
                self.assertFalse(sources.environment(program) - documented - elsewhere)

    def test_ports_are_those_that_the_programs_are_told(self):
        told = {"api": ("PORT", "http"), "scorer": ("METRICS_PORT", "metrics")}
        for where, resources, deployment in self.each("Deployment"):
            with self.subTest(where):
                name = deployment["metadata"]["name"]
                if name in told:
                    variable, port = told[name]
                    (container,) = deployment["spec"]["template"]["spec"]["containers"]
                    values = {one["name"]: one.get("value") for one in container["env"]}
                    self.assertEqual(int(values[variable]), ports(deployment["spec"]["template"])[port])

    def test_there_is_time_to_end(self):
        for where, _, template, container in self.each_container(ours_only=True):
            with self.subTest(where):
                grace = template["spec"]["terminationGracePeriodSeconds"]
                if self.program(container) == "api":
                    # The requests in progress have 20 s.
                    self.assertGreater(grace, container["lifecycle"]["preStop"]["sleep"]["seconds"] + 20)
                else:
                    values = {one["name"]: one.get("value") for one in container["env"]}
                    self.assertGreater(grace, int(values.get("SHUTDOWN_GRACE", 25)))

    def test_a_rollout_takes_no_pod_away_before_another_serves(self):
        for where, _, deployment in self.each("Deployment"):
            with self.subTest(where):
                if deployment["metadata"]["name"] in ("api", "scorer"):
                    self.assertEqual(deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"], 0)

    def test_quantities_are_the_documented_ones_and_requests_fit_into_limits(self):
        for where, _, _, container in self.each_container():
            with self.subTest(where):
                resources = container["resources"]
                for name, request in resources["requests"].items():
                    self.assertLessEqual(quantity(request), quantity(resources["limits"][name]))
        (api,) = named(rendered["overlays/prod"], "Deployment", "api")["spec"]["template"]["spec"]["containers"]
        self.assertEqual(
            api["resources"], {"requests": {"cpu": "500m", "memory": "2Gi"}, "limits": {"cpu": "1000m", "memory": "4Gi"}}
        )
        values = {one["name"]: one.get("value") for one in api["env"]}
        self.assertLess(int(values["MEMORY_BUDGET_MB"]) * 2**20, quantity(api["resources"]["limits"]["memory"]))

    def test_the_shards_of_the_history_are_the_jobs_pods(self):
        spec = named(rendered["history"], "Job", "history")["spec"]
        command = spec["template"]["spec"]["containers"][0]["command"]
        self.assertEqual((spec["completionMode"], int(command[command.index("--shards") + 1])), ("Indexed", spec["completions"]))
        self.assertEqual(
            spec["template"]["spec"]["containers"][0]["image"],
            named(rendered["overlays/prod"], "Deployment", "scorer")["spec"]["template"]["spec"]["containers"][0]["image"],
        )


class Security(EachInstallation):
    def test_pods_are_what_the_restricted_standard_allows(self):
        for where, _, template, container in self.each_container():
            with self.subTest(where):
                pod, own = template["spec"]["securityContext"], container["securityContext"]
                self.assertTrue(pod["runAsNonRoot"])
                self.assertGreater(pod["runAsUser"], 0)
                self.assertEqual(pod["seccompProfile"], {"type": "RuntimeDefault"})
                self.assertEqual(own, {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}})
                self.assertFalse(template["spec"]["automountServiceAccountToken"])
                self.assertFalse({"hostNetwork", "hostPID", "hostIPC"} & set(template["spec"]))
                for volume in template["spec"].get("volumes", []):
                    self.assertEqual(set(volume), {"name", "configMap"})
                self.assertTrue(all(mount["readOnly"] for mount in container.get("volumeMounts", [])))
        for where, _, namespace in self.each("Namespace"):
            with self.subTest(where):
                self.assertEqual(namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "restricted")

    def test_the_user_is_the_images(self):
        image = re.search(r"^USER (\d+):(\d+)$", (REPOSITORY / "Dockerfile").read_text(), re.MULTILINE)
        for where, _, template, _ in self.each_container(ours_only=True):
            with self.subTest(where):
                security = template["spec"]["securityContext"]
                self.assertEqual((security["runAsUser"], security["runAsGroup"]), (int(image[1]), int(image[2])))

    def test_images_have_a_version(self):
        for where, _, _, container in self.each_container():
            with self.subTest(where):
                self.assertRegex(container["image"], r":[\w.-]+$")
                self.assertNotRegex(container["image"], r":latest$")

    def test_passwords_are_in_secrets_only(self):
        for where, _, _, container in self.each_container(ours_only=True):
            with self.subTest(where):
                for variable in container["env"]:
                    if variable["name"] in ("REDIS_URL", "RELOAD_TOKEN"):
                        self.assertEqual(list(variable["valueFrom"]), ["secretKeyRef"])

    def test_everything_is_denied_that_no_policy_allows(self):
        for name, resources in rendered.items():
            with self.subTest(name):
                deny = named(resources, "NetworkPolicy", "default-deny")["spec"]
                self.assertEqual(deny, {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]})
        metadata_service = ipaddress.ip_address("169.254.169.254")
        for where, _, policy in self.each("NetworkPolicy"):
            with self.subTest(where):
                for rule in policy["spec"].get("egress", []):
                    for to in rule["to"]:
                        if block := to.get("ipBlock"):
                            inside = metadata_service in ipaddress.ip_network(block["cidr"])
                            self.assertFalse(inside and not any(metadata_service in ipaddress.ip_network(one) for one in block.get("except", [])))


class Documentation(unittest.TestCase):
    def test_the_documented_commands_are_kubectls_and_name_what_there_is(self):
        """Each is run against a port where nothing listens, so that all that can fail is what is wrong with the command."""
        text = "\n".join((REPOSITORY / name).read_text() for name in ("README.md", "docs/deploy.md"))
        found = set(re.findall(r"(?:^    |[`(])(kubectl .*?)(?:  +#|\)\s|`|$)", text, re.MULTILINE))
        self.assertGreater(len(found), 10)
        nowhere = ["--server=http://127.0.0.1:1", "--request-timeout=1s"]
        running = {
            command: subprocess.Popen(
                [os.environ["KUBECTL"], *nowhere, *shlex.split(command)[1:]], cwd=commands, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
            for command in found
        }
        for command, process in running.items():
            told, _ = process.communicate(timeout=120)
            with self.subTest(command):
                self.assertIn("127.0.0.1:1", told)
                for folder in re.findall(r"--kustomize (\S+)", command):
                    self.assertIn(folder.removeprefix("k8s/"), rendered)
                for kind, name in re.findall(r"\b(deployment|cronjob|service|ingress|job)/(\w+)", command):
                    kind = {"cronjob": "CronJob"}.get(kind, kind.capitalize())
                    self.assertIsNotNone(named(rendered["overlays/prod"], kind, name))


if __name__ == "__main__":
    unittest.main()
