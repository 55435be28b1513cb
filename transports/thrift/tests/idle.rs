//! Peers that announce much and send little: alone in its process, for memory is
//! counted by the process.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::time::Duration;

use support::{caller_is_served, echo_host};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Bytes of memory that the process has asked for, touched or not.
fn asked_for() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmData:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[tokio::test]
async fn sizes_that_lie_cost_nothing_and_the_next_one_is_served() {
    let host = echo_host().await;
    let at = host.local_addr().unwrap();
    caller_is_served(at).await;
    let before = asked_for();
    let mut open = Vec::new();
    for _ in 0..1000 {
        // The largest frame that is allowed.
        let mut stream = TcpStream::connect(at).await.unwrap();
        stream.write_all(&[0, 0x10, 0, 0, 0x80, 1]).await.unwrap();
        open.push(stream);
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let each = asked_for().saturating_sub(before) / 1000;
    assert!(each <= 64 * 1024, "{each} bytes for a peer that has sent six");
    timeout(Duration::from_secs(1), caller_is_served(at)).await.expect("at once");
    drop(open);
}
