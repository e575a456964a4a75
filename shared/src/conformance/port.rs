use std::{
    net::{Ipv4Addr, TcpListener},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

/// Systems give outgoing connections ports beyond these.
const PORTS: std::ops::Range<u32> = 10_000..32_000;

/// How many ports a process has for itself. Processes that start one after the other have different ones.
const PER_PROCESS: u32 = 16;

/// Gives a port of 127.0.0.1 for a server that a test starts.
///
/// Nothing listens on it. A port that the system chooses may be given to another process before the server has bound it.
/// So each process counts through ports of its own, and no port comes twice.
///
/// # Panics
/// No port is free.
#[must_use]
pub fn free_port() -> u16 {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let first = process::id().wrapping_mul(PER_PROCESS);
    let candidates = (0..PORTS.len()).map(|_| {
        let place = first.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed));
        PORTS.start + place % (PORTS.end - PORTS.start)
    });
    let mut ports = candidates.filter_map(|port| u16::try_from(port).ok());
    ports.find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok()).expect("a port is free")
}
