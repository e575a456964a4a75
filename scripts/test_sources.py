"""Tests of what is read from the sources, on a small workspace of the same shape."""

import tempfile
import unittest
from pathlib import Path

import sources

FILES = {
    "Cargo.toml": '[workspace.dependencies]\nshared = { path = "shared" }\naws = { path = "aws" }\nserde = "1"\n',
    "shared/Cargo.toml": '[package]\nname = "shared"\n',
    "shared/src/testing.rs": 'env::var_os("EMULATOR")',
    "shared/src/lib.rs": 'let format = variable("LOG_FORMAT")?;\n',
    "aws/Cargo.toml": "[dependencies]\nshared.workspace = true\n",
    "aws/src/queue.rs": """
        // self.client.purge_queue() is only spoken of.
pub struct Queue;
impl<'a> Queue {
    async fn next(&self) { self.client.receive_message().send().await; self.client
        .change_message_visibility()
        .send().await }
}
""",
    "aws/src/ask.rs": "pub struct Requests;\nimpl Asking for Requests {\n fn ask(&self) { self.client.send_message().send() } }\n",
    "aws/src/bucket.rs": """
pub struct Bucket;
impl ObjectStore for Bucket { fn get(&self) { self.client.get_object().send(); self.client.list_objects_v2() } }
#[cfg(test)]
mod tests { fn clean() { client.delete_object().send(); } }
""",
    # Another crate has something else of the same name.
    "aws/src/poll.rs": "struct Poll;\nimpl Poll { fn all(&self) { self.client.purge_queue() } }\n",
    "scorer/Cargo.toml": '[dependencies]\naws.workspace = true\nserde = "1"\n',
    "scorer/src/main.rs": """
#[arg(long, env = "QUEUE_URL")]
queue: Url,
/// Of the same name.
#[arg(long, env, default_value = "60")]
#[arg(hide = true)]
pub(crate) visibility_timeout: Seconds,
#[arg(long)]
shards: u32,
let port = variable::<u16>("METRICS_PORT")?;
let bucket = aws::Bucket::open(); let queue = aws::Queue::open();
#[cfg(test)]
mod tests { fn t() { env::var_os("ONLY_IN_TESTS"); } }
""",
    "api/Cargo.toml": "[dependencies]\naws = { workspace = true }\nshared.workspace = true\n",
    "api/src/main.rs": '#[arg(env = "PORT")]\nlet requests = aws::Requests::open();\nmap.get_object(key); Poll::Ready(());\n',
}


class Workspace(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)
        for name, text in FILES.items():
            self.write(name, text)

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def test_a_programs_variables_are_those_of_its_crates_without_tests(self):
        sdk = sources.READ_BY_THE_SDK
        self.assertEqual(sources.environment("scorer", self.root) - sdk, {"QUEUE_URL", "VISIBILITY_TIMEOUT", "METRICS_PORT", "LOG_FORMAT"})
        self.assertEqual(sources.environment("api", self.root) - sdk, {"PORT", "LOG_FORMAT"})

    def test_a_commands_variables_are_the_programs_without_the_flags_of_its_other_commands(self):
        self.write("scorer/src/bin/scorer/shared.rs", "#[derive(Args)]\nstruct Shared {\n    #[arg(env)]\n    region: String,\n}\n")
        for command in ("one", "other"):
            self.write(
                f"scorer/src/bin/scorer/{command}.rs",
                "#[derive(Args)]\npub(crate) struct Arguments {\n    #[command(flatten)]\n    pub(crate) shared: Shared,\n"
                f"    #[arg(env)]\n    only_{command}: u32,\n}}\n",
            )
        everywhere = {"QUEUE_URL", "VISIBILITY_TIMEOUT", "METRICS_PORT", "LOG_FORMAT"} | sources.READ_BY_THE_SDK
        self.assertEqual(sources.environment("scorer", self.root) - everywhere, {"REGION", "ONLY_ONE", "ONLY_OTHER"})
        self.assertEqual(sources.environment_of_command("scorer", "one", self.root) - everywhere, {"REGION", "ONLY_ONE"})
        with self.assertRaises(sources.NothingFound):
            sources.environment_of_command("scorer", "another", self.root)

    def test_a_programs_calls_are_those_of_the_types_that_it_names(self):
        self.assertEqual(
            sources.aws_actions("scorer", self.root),
            {"sqs:ReceiveMessage", "sqs:ChangeMessageVisibility", "s3:GetObject", "s3:ListBucket"},
        )
        self.assertEqual(sources.aws_actions("api", self.root), {"sqs:SendMessage"})

    def test_sources_that_list_nothing_are_an_error(self):
        for name in FILES:
            if name.endswith(".rs"):
                self.write(name, "fn main() {}\n")
        for read in (sources.environment, sources.aws_actions):
            for program in sources.PROGRAMS:
                with self.subTest(read=read.__name__, program=program), self.assertRaisesRegex(sources.NothingFound, program):
                    read(program, self.root)

    def test_a_crate_without_sources_is_an_error(self):
        (self.root / "api/src/main.rs").unlink()
        with self.assertRaisesRegex(sources.NothingFound, "api/src"):
            sources.environment("api", self.root)


if __name__ == "__main__":
    unittest.main()
