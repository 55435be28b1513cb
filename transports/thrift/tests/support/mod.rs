//! A host to be tried.
#![allow(dead_code)] // Each test uses its own part.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use portolan_thrift::{HostOptions, ThriftHost};
use registry_api::ServiceName;
use registry_api::call::{Call, CallError, Handler, Reply};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

/// `echo` with an empty struct, framed.
pub(crate) const QUESTION: [u8; 21] =
    [0, 0, 0, 17, 0x80, 1, 0, 1, 0, 0, 0, 4, b'e', b'c', b'h', b'o', 0, 0, 0, 7, 0];

#[derive(Debug)]
struct Echo;

#[async_trait]
impl Handler for Echo {
    async fn handle(&self, call: Call) -> Result<Reply, CallError> {
        Ok(Reply::new(call.payload))
    }
}

/// Serves an echo on a free port, with little patience for who is stuck.
pub(crate) async fn echo_host() -> ThriftHost {
    let (idle, stuck) = (Duration::from_secs(60), Duration::from_secs(2));
    echo_with(HostOptions::default().with_patience(idle, stuck)).await
}

pub(crate) async fn echo_with(options: HostOptions) -> ThriftHost {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let service = ServiceName::parse("Echo").unwrap();
    ThriftHost::serve(service, any, Arc::new(Echo), options).await.unwrap()
}

/// An honest peer gets its answer.
pub(crate) async fn caller_is_served(at: SocketAddr) {
    let mut stream = TcpStream::connect(at).await.unwrap();
    stream.write_all(&QUESTION).await.unwrap();
    let mut answer = [0; 21];
    timeout(PATIENCE, stream.read_exact(&mut answer)).await.expect("in time").unwrap();
    assert_eq!(answer[..8], [0, 0, 0, 17, 0x80, 1, 0, 2]);
}
