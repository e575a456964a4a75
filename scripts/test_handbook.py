"""Holds the documentation against the sources: what an operator can meet is explained, and what is explained exists. And
tests of how that is read from the sources, on small ones.
"""

import re
import tempfile
import unittest
from pathlib import Path

import handbook
from sources import NothingFound

DOCS = handbook.REPOSITORY / "docs"


class Operations(unittest.TestCase):
    def setUp(self):
        self.page = (DOCS / "operations.md").read_text()

    def assert_explained(self, chapter, names):
        explained = handbook.explained(self.page, chapter)
        self.assertEqual(sorted(names - explained), [], f"not in docs/operations.md, {chapter}")
        self.assertEqual(sorted(explained - names), [], f"explained, and not in the sources: {chapter}")

    def test_every_metric_is_explained(self):
        self.assert_explained("Metrics", handbook.metrics())

    def test_every_log_line_at_info_or_above_is_explained_under_its_level(self):
        lines = handbook.log_lines()
        self.assert_explained("Log lines", set(lines))
        sections = re.split(r"^### (\w+)$", self.page, flags=re.MULTILINE)
        sections = dict(zip(sections[1::2], sections[2::2]))
        for section, level in [("Errors", "error"), ("Warnings", "warn"), ("Information", "info")]:
            named = re.findall(r"`([^`]+)`", "\n".join(re.findall(r"^\| (`.+?`) \|", sections[section], re.MULTILINE)))
            for message in named:
                with self.subTest(message):
                    self.assertIn(level, lines[message])

    def test_every_alarm_is_explained(self):
        self.assert_explained("Alarms", handbook.alarms())

    def test_dead_letters_have_been_received_as_often_as_the_queue_allows(self):
        terraform = handbook.REPOSITORY / "terraform"
        limit = re.search(r"\bmaxReceiveCount\s*=\s*(\d+)", (terraform / "storage.tf").read_text())[1]
        for path, said in [
            (DOCS / "operations.md", r"^\| `dead-letters` \|.*? received (\w+) times"),
            (DOCS / "deploy.md", r"^### Dead letters\n\n.*? received (\w+) times"),
            (terraform / "alarms.tf", r"could not be handled (\w+) times"),
        ]:
            with self.subTest(path.name):
                self.assertEqual(re.findall(said, path.read_text(), re.MULTILINE), [limit])

    def test_queries_name_metrics_that_exist(self):
        self.assertLessEqual(set(re.findall(r"\bcripto_[a-z0-9_]+", self.page)), handbook.metrics())


class Pages(unittest.TestCase):
    def test_links_lead_somewhere(self):
        for page in [*handbook.REPOSITORY.glob("*.md"), *DOCS.glob("*.md"), handbook.REPOSITORY / "bench/README.md"]:
            text = page.read_text()
            for target in re.findall(r"\]\(([^)\s]+)\)|(?:src|srcset)=\"([^\"]+)\"", text):
                target = "".join(target)
                if re.match(r"[a-z]+:", target):
                    continue
                with self.subTest(page=page.name, target=target):
                    path, _, anchor = target.partition("#")
                    file = (page.parent / path) if path else page
                    self.assertTrue(file.exists())
                    if anchor:
                        self.assertIn(anchor, handbook.anchors(file.read_text()))

    def test_the_readme_in_portuguese_keeps_step_with_the_one_in_english(self):
        english, portuguese = (handbook.outline((handbook.REPOSITORY / name).read_text()) for name in ["README.md", "README.pt-BR.md"])
        self.assertEqual(portuguese.headings, english.headings, "levels of the headings")
        self.assertEqual(portuguese.code, english.code, "code blocks, without their comments")
        self.assertEqual(portuguese.rows, english.rows, "rows of the tables")
        self.assertEqual(portuguese.figures, english.figures, "figures in the tables")
        self.assertEqual(portuguese.links, english.links, "links")


class Deployment(unittest.TestCase):
    def setUp(self):
        self.page = (DOCS / "deploy.md").read_text()
        self.variables = (handbook.REPOSITORY / "terraform/variables.tf").read_text()

    def test_what_terraform_is_told_is_in_a_file_so_that_every_apply_is_told_it(self):
        (told,) = re.findall(r"terraform\.tfvars <<END\n(.*?)^ *END$", self.page, re.MULTILINE | re.DOTALL)
        told = set(re.findall(r"^ *(\w+) +=", told, re.MULTILINE))
        declared = re.findall(r'^variable "(\w+)" \{\n(.*?)^\}', self.variables, re.MULTILINE | re.DOTALL)
        required = {name for name, body in declared if not re.search(r"^  default\s*=", body, re.MULTILINE)}
        self.assertLessEqual(required | {"load_balancer_controller_policy"}, told)
        self.assertLessEqual(told, {name for name, _ in declared})
        for name in ["README.md", "README.pt-BR.md", "docs/deploy.md"]:
            self.assertNotRegex((handbook.REPOSITORY / name).read_text(), r"terraform .*\s-var\b", name)

    def test_the_roles_of_the_environment_for_development_are_for_its_overlays_namespace(self):
        (environment, namespace) = re.search(r'^    environment = "(\w+)"\n    namespace   = "([\w-]+)"$', self.page, re.MULTILINE).groups()
        overlay = (handbook.REPOSITORY / f"k8s/overlays/{environment}/kustomization.yaml").read_text()
        self.assertIn(f"\nnamespace: {namespace}\n", overlay)
        self.assertIn(f"/cripto-prediction/{environment}\n", overlay)

    def test_the_controllers_chart_is_of_its_policys_release_and_charts_have_the_same_version_everywhere(self):
        (policy,) = re.findall(r"aws-load-balancer-controller/v2\.([\d.]+)/docs/install/iam_policy\.json", self.page)
        pinned = {
            name: re.findall(r"helm upgrade --install (\S+) .*?--version ([\d.]+)", (handbook.REPOSITORY / name).read_text(), re.DOTALL)
            for name in ["README.md", "README.pt-BR.md", "docs/deploy.md"]
        }
        # Charts of version 1 install the release of version 2 with the same numbers.
        keda = dict(pinned["docs/deploy.md"])["keda"]
        for name, charts in pinned.items():
            with self.subTest(name):
                self.assertEqual(charts, [("aws-load-balancer-controller", f"1.{policy}"), ("keda", keda)])

    def test_kubectl_is_at_most_one_minor_version_off_the_clusters(self):
        cluster = re.search(r'"kubernetes_version" \{[^}]*\n  default\s*= "1\.(\d+)"', self.variables)[1]
        (said,) = re.findall(r"`kubectl` 1\.(\d+) to 1\.(\d+) .*?\bcluster's, which is 1\.(\d+) unless", self.page, re.DOTALL)
        self.assertEqual([int(minor) for minor in said], [int(cluster) - 1, int(cluster) + 1, int(cluster)])


class Sources(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)
        for crate in handbook.CRATES:
            self.write(f"{crate}/src/lib.rs", "fn nothing() {}\n")

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def test_names_are_found_however_they_are_written(self):
        self.write(
            "api/src/events.rs",
            """
// tracing::info!("only spoken of")
static A: X = counter("cripto_a_total", "Of a.");
fn emit() {
    tracing::info!(path, of = f("cripto", (1)), "it (a) said \\"b\\"");
    tracing::debug!("not for operators");
    match known { true => tracing::warn!(
            error = self.error,
            "written over lines"
        ), false => tracing::error!("written over lines") }
}
#[cfg(test)]
mod tests { fn t() { tracing::error!("in a test") } }
""",
        )
        self.write("terraform/alarms.tf", 'resource "x" "y" {\n  alarm_name = "${local.name}-too-late"\n}\n')
        self.write("k8s/rules/rules.yaml", "    - alert: TooOld\n      expr: cripto_a_total > 1\n")
        self.assertEqual(handbook.metrics(self.root), {"cripto_a_total"})
        self.assertEqual(
            handbook.log_lines(self.root), {'it (a) said \\"b\\"': {"info"}, "written over lines": {"warn", "error"}}
        )
        self.assertEqual(handbook.alarms(self.root), {"too-late", "TooOld"})

    def test_sources_that_tell_nothing_are_an_error(self):
        for read in (handbook.metrics, handbook.log_lines, handbook.alarms):
            with self.subTest(read.__name__), self.assertRaises(NothingFound):
                read(self.root)


if __name__ == "__main__":
    unittest.main()
