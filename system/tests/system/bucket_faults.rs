//! A bucket and a queue that answer with faults: what is told of them, and what goes on all the same.

use aws::testing::Ministack;

use crate::{
    process::{Process, wait_until},
    proxy::{Proxy, answer},
    system::{System, address},
};

/// A proxy in front of S3 and SQS.
fn aws_proxy() -> Proxy {
    Proxy::to(address(Ministack::shared().endpoint().as_str()))
}

/// A worker behind the proxy, with other values of some variables.
fn worker_behind(proxy: &Proxy, system: &System, others: &[(&'static str, String)]) -> Process {
    let mut variables = vec![("AWS_ENDPOINT_URL", format!("http://{}", proxy.address))];
    variables.extend_from_slice(others);
    system.worker_with(&variables)
}

/// Whether a line of the log has this message and this text in one of its fields.
fn logged(worker: &Process, message: &str, text: &str) -> bool {
    worker.lines().iter().any(|line| line["message"] == message && line.to_string().contains(text))
}

#[test]
fn a_bucket_in_another_region_is_told_with_its_region_and_the_setting() {
    let system = System::sample();
    let proxy = aws_proxy();
    proxy.arm(
        "prefix=models",
        answer("301 Moved Permanently", "PermanentRedirect", "x-amz-bucket-region: eu-west-1\r\n"),
    );
    let worker = worker_behind(&proxy, &system, &[]);
    let failed = "reload failed; what is served stays";
    wait_until("its region", || logged(&worker, failed, "set AWS_REGION=eu-west-1"));
}
