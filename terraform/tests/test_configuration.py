"""What Terraform evaluates the configuration to, held against the programs' sources and the manifests.

Run by terraform/test.sh, which gives the folder for what is kept in $SCHEMA_CACHE.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
sys.path.insert(0, str(REPOSITORY / "scripts"))

import sources  # noqa: E402

ACCOUNT = "111122223333"
BUCKET = "arn:aws:s3:::criptos-data"


def terraform(folder, *arguments):
    command = [sys.executable, HERE / "with_schemas.py", os.environ["SCHEMA_CACHE"], folder, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def copy(folder):
    """A copy to work in: Terraform leaves files behind."""
    ignored = shutil.ignore_patterns(".terraform*", "*.tfstate*", "*.tfvars", "__pycache__")
    shutil.copytree(HERE.parent, folder / "terraform", ignore=ignored)
    shutil.copytree(REPOSITORY / "glue", folder / "glue")
    return folder / "terraform"


def setUpModule():
    global work, resources, outputs, everything
    temporary = tempfile.TemporaryDirectory()
    unittest.addModuleCleanup(temporary.cleanup)
    work = copy(Path(temporary.name))
    initialised = terraform(work, "init", "-backend=false", "-input=false")
    assert initialised.returncode == 0, initialised.stdout + initialised.stderr
    tested = terraform(work, "test", "-json", "-verbose")
    events = [json.loads(line) for line in tested.stdout.splitlines()]
    told = "\n".join(json.dumps(event["diagnostic"], indent=1) for event in events if "diagnostic" in event)
    assert tested.returncode == 0, told or tested.stderr
    states = {event["@testrun"]: event["test_state"] for event in events if event["type"] == "test_state"}
    resources, everything = collect(states["defaults"]), collect(states["everything"])
    outputs = {name: output["value"] for name, output in states["defaults"]["outputs"].items()}


def collect(state):
    found, waiting = {}, [state["root_module"]]
    while waiting:
        module = waiting.pop()
        found |= {resource["address"]: resource["values"] for resource in module.get("resources", [])}
        waiting += module.get("child_modules", [])
    return found


def statements(policy):
    return json.loads(policy)["Statement"]


def allowed(of, role):
    """The actions of a program's role, each with its resources."""
    found = {}
    for statement in statements(of[f'module.program_role["{role}"].aws_iam_role_policy.this']["policy"]):
        assert statement["Effect"] == "Allow" and set(statement) == {"Effect", "Action", "Resource"}, statement
        for action in statement["Action"]:
            found.setdefault(action, set()).update(statement["Resource"])
    return found


class Policies(unittest.TestCase):
    def test_each_program_may_make_the_calls_that_its_sources_make_and_no_other(self):
        self.assertEqual(set(allowed(resources, "api")), sources.aws_actions("api"))
        # The worker and the backfill are one program with two roles.
        both = set(allowed(resources, "scorer")) | set(allowed(resources, "backfill"))
        self.assertEqual(both, sources.aws_actions("scorer"))

    def test_no_role_of_a_program_reaches_beyond_the_bucket_and_the_queue(self):
        queue = {resources["aws_sqs_queue.events"]["arn"]}
        inputs = {f"{BUCKET}/{path}" for path in ("models/*", "features/*", "data/*", "raw.csv")}
        handled = ("ReceiveMessage", "DeleteMessage", "ChangeMessageVisibility", "GetQueueAttributes")
        self.assertEqual(allowed(resources, "api"), {"sqs:SendMessage": queue})
        self.assertEqual(
            allowed(resources, "scorer"),
            {"s3:ListBucket": {BUCKET}, "s3:GetObject": inputs} | {f"sqs:{call}": queue for call in handled},
        )
        predictions = {f"{BUCKET}/predictions/*"}
        self.assertEqual(
            allowed(resources, "backfill"),
            {"s3:ListBucket": {BUCKET}, "s3:GetObject": inputs | predictions, "s3:PutObject": predictions, "s3:DeleteObject": predictions},
        )

    def test_the_scorer_may_write_models_only_where_retraining_is_on(self):
        self.assertNotIn("s3:PutObject", allowed(resources, "scorer"))
        self.assertEqual(allowed(everything, "scorer")["s3:PutObject"], {f"{BUCKET}/features/*", f"{BUCKET}/models/*"})

    def test_a_role_is_for_one_service_account_of_the_manifests(self):
        manifests = (REPOSITORY / "k8s/base/service-accounts.yaml").read_text()
        for account in re.findall(r"^  name: (\S+)$", manifests, re.MULTILINE):
            with self.subTest(account=account):
                (trust,) = statements(resources[f'module.program_role["{account}"].aws_iam_role.this']["assume_role_policy"])
                self.assertEqual(trust["Action"], "sts:AssumeRoleWithWebIdentity")
                self.assertEqual(
                    trust["Condition"]["StringEquals"],
                    {
                        "oidc.eks.us-east-1.amazonaws.com/id/EXAMPLE:aud": "sts.amazonaws.com",
                        "oidc.eks.us-east-1.amazonaws.com/id/EXAMPLE:sub": f"system:serviceaccount:cripto-prediction:{account}",
                    },
                )

    def test_only_the_bucket_may_send_to_the_queue(self):
        queue = resources["aws_sqs_queue.events"]["arn"]
        allow, deny = statements(resources["aws_sqs_queue_policy.events"]["policy"])
        self.assertEqual(allow["Principal"], {"Service": "s3.amazonaws.com"})
        self.assertEqual((allow["Action"], allow["Resource"]), ("sqs:SendMessage", queue))
        self.assertEqual(
            allow["Condition"],
            {"ArnEquals": {"aws:SourceArn": BUCKET}, "StringEquals": {"aws:SourceAccount": ACCOUNT}},
        )
        self.assertEqual((deny["Effect"], deny["Condition"]), ("Deny", {"Bool": {"aws:SecureTransport": "false"}}))


class Events(unittest.TestCase):
    def test_every_object_that_is_read_is_told_of_and_no_other(self):
        filters = [(one["filter_prefix"], one["filter_suffix"]) for one in resources["aws_s3_bucket_notification.main"]["queue"]]
        for key, told in {
            "models/regressor_rf_20250729-2130.joblib": True,
            "models/latest/regressor_rf.joblib": True,
            "models/regressor_rf_20250729-2130.safetensors": True,
            "models/regressor_rf_20250729-2130.comparison.json": False,
            "features/cripto_features_20250220.parquet": True,
            "features/latest.parquet": True,
            "data/BTC/BTC_2025-02-20.csv": True,
            "raw.csv": True,
            "predictions/regressor_rf/20250729-2130/dt=2025-02-20/part-00000-of-00001.parquet": False,
            "glue/train_models.py": False,
            "models/notes.txt": False,
        }.items():
            with self.subTest(key=key):
                # S3 refuses overlapping filters, so one at most.
                self.assertEqual([key.startswith(prefix) and key.endswith(suffix) for prefix, suffix in filters].count(True), int(told))

    def test_what_fails_ten_times_is_kept_as_a_dead_letter_for_longer_than_the_queue_keeps_it(self):
        queue, dead = resources["aws_sqs_queue.events"], resources["aws_sqs_queue.dead_letters"]
        self.assertEqual(json.loads(queue["redrive_policy"]), {"deadLetterTargetArn": dead["arn"], "maxReceiveCount": 10})
        self.assertGreater(dead["message_retention_seconds"], queue["message_retention_seconds"])


class Alarms(unittest.TestCase):
    def test_they_watch_the_queues_that_are_made_here(self):
        watched = {
            "dead_letters": ("ApproximateNumberOfMessagesVisible", {"QueueName": "cripto-prediction-prod-dead-letters"}),
            "oldest_message": ("ApproximateAgeOfOldestMessage", {"QueueName": "cripto-prediction-prod-events"}),
            "freshness": ("NumberOfMessagesDeleted", {"QueueName": "cripto-prediction-prod-events"}),
        }
        for name, (metric, dimensions) in watched.items():
            with self.subTest(name):
                alarm = everything[f"aws_cloudwatch_metric_alarm.{name}"]
                self.assertEqual((alarm["metric_name"], set(alarm["dimensions"])), (metric, set(dimensions)))
                self.assertEqual(resources[f"aws_cloudwatch_metric_alarm.{name}"]["dimensions"], dimensions)
                self.assertEqual(alarm["alarm_actions"], [f"arn:aws:sns:us-east-1:{ACCOUNT}:alarms"])
        # CloudWatch looks back seven days at most.
        freshness = resources["aws_cloudwatch_metric_alarm.freshness"]
        self.assertLessEqual(freshness["period"] * freshness["evaluation_periods"], 7 * 24 * 3600)

    def test_the_stores_watches_every_node_of_it(self):
        alarm = everything["aws_cloudwatch_metric_alarm.store_memory"]
        self.assertEqual(alarm["alarm_actions"], [f"arn:aws:sns:us-east-1:{ACCOUNT}:alarms"])
        queries = {query["id"]: query for query in alarm["metric_query"]}
        self.assertEqual([name for name, query in queries.items() if query["return_data"]], ["fullest"])
        self.assertEqual(queries.pop("fullest")["expression"], "MAX(METRICS())")
        watched = [metric for query in queries.values() for metric in query["metric"]]
        self.assertEqual({metric["metric_name"] for metric in watched}, {"DatabaseMemoryUsagePercentage"})
        self.assertEqual(
            sorted(metric["dimensions"]["CacheClusterId"] for metric in watched),
            ["cripto-prediction-prod-001", "cripto-prediction-prod-002"],
        )

    def test_their_descriptions_name_chapters_that_exist(self):
        chapters = re.findall(r"^#+ (.+)$", (REPOSITORY / "docs/deploy.md").read_text(), re.MULTILINE)
        for address, alarm in resources.items():
            if address.startswith("aws_cloudwatch_metric_alarm."):
                self.assertIn(re.search(r"docs/deploy.md, '(.+)'", alarm["alarm_description"])[1], chapters)


class Handover(unittest.TestCase):
    def test_the_outputs_are_what_the_overlay_reads(self):
        overlay = REPOSITORY / "k8s/overlays/prod"
        for output, path in {"settings": "settings.env", "secrets": "secrets.env.example"}.items():
            with self.subTest(output):
                written = re.findall(r"^(\w+)=.+$", outputs[output], re.MULTILINE)
                self.assertEqual(written, re.findall(r"^(\w+)=", (overlay / "settings" / path).read_text(), re.MULTILINE))

    def test_the_outputs_that_the_documentation_reads_exist(self):
        read = re.findall(r"terraform output (?:-raw )?(\w+)", "".join((REPOSITORY / name).read_text() for name in ("README.md", "docs/deploy.md")))
        self.assertGreater(len(read), 10)
        declared = re.findall(r'^output "(\w+)"', (HERE.parent / "outputs.tf").read_text(), re.MULTILINE)
        self.assertLessEqual(set(read), set(declared))

    def test_the_store_is_reached_with_tls_and_a_password(self):
        store = resources["aws_elasticache_replication_group.store"]
        self.assertTrue(store["transit_encryption_enabled"] and store["at_rest_encryption_enabled"])
        url = f"rediss://:{store['auth_token']}@{store['primary_endpoint_address']}:6379"
        self.assertIn(f"REDIS_URL={url}\n", outputs["secrets"])


class Cluster(unittest.TestCase):
    def test_add_ons_take_over_what_a_new_cluster_comes_with(self):
        addons = [values for address, values in resources.items() if address.startswith("aws_eks_addon.")]
        self.assertLessEqual({"vpc-cni", "coredns", "kube-proxy"}, {addon["addon_name"] for addon in addons})
        for addon in addons:
            with self.subTest(addon["addon_name"]):
                self.assertEqual(addon["resolve_conflicts_on_create"], "OVERWRITE")

    def test_cluster_and_images_are_kept_from_removal_until_one_variable_says_otherwise(self):
        for of, kept in ((resources, True), (everything, False)):
            self.assertEqual(of["aws_eks_cluster.main"]["deletion_protection"], kept)
            self.assertEqual(of["aws_ecr_repository.main"]["force_delete"], not kept)


class Configuration(unittest.TestCase):
    def test_every_variable_is_used(self):
        for folder in (HERE.parent, HERE.parent / "modules/service_role"):
            text = "\n".join(path.read_text() for path in folder.glob("*.tf"))
            for name in re.findall(r'^variable "(\w+)"', text, re.MULTILINE):
                outside = re.sub(rf'^variable "{name}" \{{.*?^\}}', "", text, flags=re.MULTILINE | re.DOTALL)
                self.assertRegex(outside, rf"\bvar\.{name}\b", name)

    def test_terraform_finds_what_the_schema_does_not_allow(self):
        """The schemas are read from bindings: this shows that they are held against the configuration."""
        mistakes = {
            "an unknown argument": ("storage.tf", "sqs_managed_sse_enabled    =", "sqs_managed_see_enabled =", "Unsupported argument"),
            "an unknown nested argument": ("cluster.tf", "http_put_response_hop_limit", "http_put_hop_limit", "Unsupported argument"),
            "an unknown block": ("registry.tf", "image_scanning_configuration {", "image_scan_configuration {", "Unsupported block type"),
            "an argument that is missing": ("cache.tf", "  description                = ", "  #", "Missing required argument"),
            "a value of another type": ("registry.tf", "scan_on_push = true", "scan_on_push = []", "Incorrect attribute value type"),
            "an attribute that does not exist": ("outputs.tf", "aws_sqs_queue.events.url\n}", "aws_sqs_queue.events.uri\n}", "Unsupported attribute"),
            "a resource that does not exist": ("outputs.tf", "aws_ecr_repository.main.repository_url", "aws_ecr_repository.other.repository_url", "Reference to undeclared resource"),
        }
        for mistake, (name, before, after, expected) in mistakes.items():
            with self.subTest(mistake):
                path = work / name
                text = path.read_text()
                self.assertIn(before, text)
                try:
                    path.write_text(text.replace(before, after, 1))
                    validated = terraform(work, "validate", "-json")
                    told = [diagnostic["summary"] for diagnostic in json.loads(validated.stdout)["diagnostics"]]
                    self.assertIn(expected, told)
                finally:
                    path.write_text(text)

    def test_it_is_valid(self):
        validated = terraform(work, "validate", "-json")
        self.assertEqual(json.loads(validated.stdout)["diagnostics"], [])


if __name__ == "__main__":
    unittest.main()
