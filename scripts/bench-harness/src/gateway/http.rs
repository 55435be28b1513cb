//! HTTP/1.1 by hand: the load must not be what is measured.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::{Buf, Bytes, BytesMut};
use futures_util::future::BoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::calls::{Calling, Make};

struct Connection {
    stream: TcpStream,
    input: BytesMut,
    output: Vec<u8>,
}

impl Connection {
    async fn open(at: SocketAddr) -> Self {
        let stream = TcpStream::connect(at).await.expect("it connects");
        stream.set_nodelay(true).expect("a socket");
        Self { stream, input: BytesMut::new(), output: Vec::new() }
    }

    async fn post(&mut self, path: &str, body: &[u8]) -> Bytes {
        self.output.clear();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        self.output.extend(head.as_bytes());
        self.output.extend(body);
        self.stream.write_all(&self.output).await.expect("it is written");
        loop {
            if let Some(body) = self.answer() {
                return body;
            }
            self.input.reserve(32 * 1024);
            let read = self.stream.read_buf(&mut self.input).await.expect("it is read");
            assert!(read > 0, "the connection was closed");
        }
    }

    fn answer(&mut self) -> Option<Bytes> {
        let end = self.input.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
        let head = std::str::from_utf8(&self.input[..end]).expect("a head");
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.trim().parse::<usize>().ok())?
        });
        let length = length.expect("a length");
        if self.input.len() < end + length {
            return None;
        }
        self.input.advance(end);
        Some(self.input.split_to(length).freeze())
    }
}

/// One request of a setup.
pub async fn post(at: SocketAddr, path: &str, body: &serde_json::Value) -> serde_json::Value {
    let answer = Connection::open(at).await.post(path, body.to_string().as_bytes()).await;
    serde_json::from_slice(&answer).expect("JSON")
}

struct Kept(Option<Connection>, Arc<Mutex<Vec<Connection>>>);

impl Calling for Kept {
    fn call<'a>(&'a mut self, payload: &'a Bytes) -> BoxFuture<'a, usize> {
        Box::pin(async move {
            self.0.as_mut().expect("there until dropped").post("/Echo/echo", payload).await.len()
        })
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.1.lock().expect("whole").extend(self.0.take());
    }
}

/// Keep-alive connections, one for each loop.
pub fn calling(at: SocketAddr) -> Make {
    let idle: Arc<Mutex<Vec<Connection>>> = Arc::default();
    Box::new(move || {
        let idle = Arc::clone(&idle);
        Box::pin(async move {
            let kept = idle.lock().expect("whole").pop();
            let connection = match kept {
                Some(connection) => connection,
                None => Connection::open(at).await,
            };
            Box::new(Kept(Some(connection), idle)) as Box<dyn Calling>
        })
    })
}
