//! Peers that do not mean well: answered or closed, nothing lost, others served.
#![allow(missing_docs, clippy::unwrap_used)]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use portolan_http::{HostOptions, HttpCaller, HttpHost};
use registry_api::call::{Call, CallError, CallErrorKind, Caller, Handler, Host, Peer, Reply};
use registry_api::{Address, AddressPolicy, ErrorKind, ServiceName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

#[derive(Debug, Default)]
struct Echo(AtomicUsize);

#[async_trait]
impl Handler for Echo {
    async fn handle(&self, call: Call) -> Result<Reply, CallError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(Reply::new(call.payload))
    }
}

fn name() -> ServiceName {
    ServiceName::parse("Echo").unwrap()
}

async fn host(options: HostOptions) -> (HttpHost, Arc<Echo>) {
    let echo = Arc::new(Echo::default());
    let handler: Arc<Echo> = Arc::clone(&echo);
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    (HttpHost::serve(name(), any, handler, options).await.unwrap(), echo)
}

async fn raw(host: &HttpHost, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(host.local_addr()).await.unwrap();
    let _ = stream.write_all(bytes).await; // It may be refused before it is whole.
    let mut answer = Vec::new();
    let read = timeout(Duration::from_secs(5), stream.read_to_end(&mut answer));
    let _ = read.await.expect("answered or closed in time");
    String::from_utf8_lossy(&answer).into_owned()
}

async fn is_served(host: &HttpHost) {
    let caller = HttpCaller::new(AddressPolicy::new().allow_loopback(true));
    let address = host.offers()[0].addresses[0].clone();
    let call = Call::new(name(), "echo", Bytes::from_static(b"hi"));
    assert_eq!(&caller.call(Peer::at(&address), call).await.unwrap().payload[..], b"hi");
}

#[tokio::test]
async fn junk_is_answered_or_closed_and_reaches_no_handler() {
    let (host, echo) = host(HostOptions::default()).await;
    let post = "POST /Echo/echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
    let long = format!("{post}X-Long: {}\r\n\r\n", "x".repeat(1 << 20));
    for (junk, expected) in [
        (format!("{post}Content-Length: 99999999999\r\n\r\n"), "400"),
        (format!("{post}Content-Length: +2\r\n\r\nhi"), "400"),
        (format!("{post}Content-Length: 2\r\nContent-Length: 3\r\n\r\nhi"), "400"),
        (format!("{post}Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n"), "400"),
        (long, "431"),
        ("\x16\x03\x01\x02\x00\x01\x00".to_owned(), ""),
        ("GET /Echo/echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_owned(), "404"),
        ("POST /Other/echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_owned(), "421"),
        ("POST /Echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_owned(), "404"),
    ] {
        let answer = raw(&host, junk.as_bytes()).await;
        let shown = &junk[..junk.len().min(120)];
        let status = answer.get(9..12).unwrap_or_default();
        assert!(status == expected || expected.is_empty(), "{shown}: {answer}");
    }
    assert_eq!(echo.0.load(Ordering::SeqCst), 0, "nothing of it was a call");
    is_served(&host).await;
}

#[tokio::test]
async fn a_body_is_bounded_whatever_it_says_of_itself() {
    let options = HostOptions::default().with_max_message(1024);
    let (host, echo) = host(options).await;
    let head = "POST /Echo/echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
    let chunk = format!("400\r\n{}\r\n", "x".repeat(1024));
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n{}", chunk.repeat(64));
    let answer = raw(&host, chunked.as_bytes()).await;
    assert!(answer.contains("more than 1024 bytes") || answer.is_empty(), "{answer}");
    assert_eq!(echo.0.load(Ordering::SeqCst), 0);
    is_served(&host).await;
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let mut options = HostOptions::default();
    (options.stuck, options.idle) = (Duration::from_millis(300), Duration::from_millis(500));
    let (host, echo) = host(options).await;
    let post = b"POST /Echo/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhi";
    let answer = raw(&host, post).await;
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("does not arrive"), "{answer}");
    // Nor is a head that drips.
    assert_eq!(raw(&host, b"POST /Echo/echo HTTP/1.1\r\nHo").await, "");
    assert_eq!(echo.0.load(Ordering::SeqCst), 0);
    is_served(&host).await;
}

#[tokio::test]
async fn what_may_not_be_dialled_is_not() {
    let caller = HttpCaller::new(AddressPolicy::new());
    for (address, kind) in [
        ("http://169.254.169.254:80", ErrorKind::PermissionDenied),
        ("http://127.0.0.1:9", ErrorKind::PermissionDenied),
        ("http://[::1]:9", ErrorKind::PermissionDenied),
        ("http://nobody.invalid:9", ErrorKind::Unavailable),
    ] {
        let address = Address::parse(address).unwrap();
        let call = Call::new(name(), "echo", Bytes::new());
        let error = caller.call(Peer::at(&address), call).await.unwrap_err();
        assert_eq!(error.kind(), CallErrorKind::Registry(kind), "{address}: {error}");
        assert!(!error.may_have_run(), "{address}");
    }
    let https = Address::parse("https://host:443").unwrap();
    assert!(!caller.speaks(&https), "TLS is not spoken");
}

#[tokio::test]
async fn nobody_waits_for_a_one_way_call() {
    let (host, echo) = host(HostOptions::default()).await;
    let caller = HttpCaller::new(AddressPolicy::new().allow_loopback(true));
    let address = host.offers()[0].addresses[0].clone();
    let call = Call::new(name(), "echo", Bytes::new()).with_oneway(true);
    assert!(caller.call(Peer::at(&address), call).await.unwrap().payload.is_empty());
    for _ in 0..100 {
        if echo.0.load(Ordering::SeqCst) == 1 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never runs");
}
