//! The bare socket: framed strict Thrift by hand, nothing checked, no errors.
//!
//! The body is one opaque struct, as our caller and host see it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::future::BoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};

use super::{Calling, Make};

const HEAD: usize = 16;

fn encode(out: &mut BytesMut, kind: u8, sequence: u32, body: &[u8]) {
    out.reserve(4 + HEAD + body.len());
    out.put_u32((HEAD + body.len()) as u32);
    out.put_u32(0x8001_0000 | u32::from(kind));
    out.put_u32(4);
    out.put_slice(b"echo");
    out.put_u32(sequence);
    out.put_slice(body);
}

/// The next frame without its length: sequence id and body.
fn next(input: &mut BytesMut) -> Option<(u32, Bytes)> {
    let length = u32::from_be_bytes(*input.first_chunk()?) as usize;
    if input.len() < 4 + length {
        return None;
    }
    let mut frame = input.split_to(4 + length).freeze();
    frame.advance(4 + 12);
    let sequence = frame.get_u32();
    Some((sequence, frame))
}

/// An echo. With `tasks`, every call has a task of its own and the writer yields
/// once before it writes what has gathered.
pub async fn serve(tasks: bool) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("it binds");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).expect("a socket");
            match tasks {
                true => drop(tokio::spawn(echo_with_tasks(stream))),
                false => drop(tokio::spawn(echo(stream))),
            }
        }
    });
    address
}

async fn echo(mut stream: TcpStream) {
    let (mut input, mut output) = (BytesMut::new(), BytesMut::new());
    loop {
        while let Some((sequence, body)) = next(&mut input) {
            encode(&mut output, 2, sequence, &body);
        }
        if !output.is_empty() {
            if stream.write_all(&output).await.is_err() {
                return;
            }
            output.clear();
        }
        input.reserve(32 * 1024);
        if stream.read_buf(&mut input).await.unwrap_or(0) == 0 {
            return;
        }
    }
}

async fn echo_with_tasks(stream: TcpStream) {
    let (mut reader, mut writer) = stream.into_split();
    let (answers, mut answered) = mpsc::unbounded_channel::<(u32, Bytes)>();
    tokio::spawn(async move {
        let (mut batch, mut output) = (Vec::new(), BytesMut::new());
        while answered.recv_many(&mut batch, 128).await > 0 {
            tokio::task::yield_now().await;
            while let Ok(more) = answered.try_recv() {
                batch.push(more);
            }
            for (sequence, body) in batch.drain(..) {
                encode(&mut output, 2, sequence, &body);
            }
            if writer.write_all(&output).await.is_err() {
                return;
            }
            output.clear();
        }
    });
    let mut input = BytesMut::new();
    loop {
        while let Some((sequence, body)) = next(&mut input) {
            let answers = answers.clone();
            tokio::spawn(async move { answers.send((sequence, body)) });
        }
        input.reserve(32 * 1024);
        if reader.read_buf(&mut input).await.unwrap_or(0) == 0 {
            return;
        }
    }
}

struct PingPong(TcpStream, BytesMut, BytesMut, u32);

impl Calling for PingPong {
    fn call<'a>(&'a mut self, payload: &'a Bytes) -> BoxFuture<'a, usize> {
        Box::pin(async move {
            let Self(stream, input, output, sequence) = self;
            *sequence += 1;
            output.clear();
            encode(output, 1, *sequence, payload);
            stream.write_all(output).await.expect("it is written");
            loop {
                if let Some((answered, body)) = next(input) {
                    assert_eq!(answered, *sequence);
                    return body.len();
                }
                input.reserve(32 * 1024);
                assert!(stream.read_buf(input).await.expect("it is read") > 0);
            }
        })
    }
}

/// A connection for each loop. They are kept, as a pool keeps its own.
pub fn pooled(at: SocketAddr) -> Make {
    let idle: Arc<Mutex<Vec<PingPong>>> = Arc::default();
    Box::new(move || {
        let idle = Arc::clone(&idle);
        Box::pin(async move {
            let kept = idle.lock().expect("whole").pop();
            let connection = match kept {
                Some(connection) => connection,
                None => {
                    let stream = TcpStream::connect(at).await.expect("it connects");
                    stream.set_nodelay(true).expect("a socket");
                    PingPong(stream, BytesMut::new(), BytesMut::new(), 0)
                }
            };
            Box::new(Kept(Some(connection), idle)) as Box<dyn Calling>
        })
    })
}

struct Kept(Option<PingPong>, Arc<Mutex<Vec<PingPong>>>);

impl Calling for Kept {
    fn call<'a>(&'a mut self, payload: &'a Bytes) -> BoxFuture<'a, usize> {
        self.0.as_mut().expect("there until dropped").call(payload)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.1.lock().expect("whole").extend(self.0.take());
    }
}

type Asked = (Bytes, oneshot::Sender<Bytes>);

#[derive(Clone)]
struct Mux(mpsc::UnboundedSender<Asked>);

impl Calling for Mux {
    fn call<'a>(&'a mut self, payload: &'a Bytes) -> BoxFuture<'a, usize> {
        Box::pin(async move {
            let (sender, answer) = oneshot::channel();
            self.0.send((payload.clone(), sender)).expect("the link is open");
            let answer = tokio::time::timeout(Duration::from_secs(10), answer).await;
            answer.expect("in time").expect("an answer").len()
        })
    }
}

/// One connection for all loops, a deadline for each call.
pub fn multiplexed(clients: &Runtime, at: SocketAddr) -> Make {
    let mux = clients.block_on(connect(at));
    Box::new(move || {
        let mux = mux.clone();
        Box::pin(async move { Box::new(mux) as Box<dyn Calling> })
    })
}

async fn connect(at: SocketAddr) -> Mux {
    let stream = TcpStream::connect(at).await.expect("it connects");
    stream.set_nodelay(true).expect("a socket");
    let (mut reader, mut writer) = stream.into_split();
    let (sender, mut asked) = mpsc::unbounded_channel::<Asked>();
    let waiting: Arc<Mutex<HashMap<u32, oneshot::Sender<Bytes>>>> = Arc::default();
    let answered = Arc::clone(&waiting);
    tokio::spawn(async move {
        let (mut batch, mut output, mut sequence) = (Vec::new(), BytesMut::new(), 0);
        while asked.recv_many(&mut batch, 128).await > 0 {
            tokio::task::yield_now().await;
            while let Ok(more) = asked.try_recv() {
                batch.push(more);
            }
            {
                let mut waiting = waiting.lock().expect("whole");
                for (body, sender) in batch.drain(..) {
                    sequence += 1;
                    encode(&mut output, 1, sequence, &body);
                    waiting.insert(sequence, sender);
                }
            }
            writer.write_all(&output).await.expect("it is written");
            output.clear();
        }
    });
    tokio::spawn(async move {
        let mut input = BytesMut::new();
        loop {
            while let Some((sequence, body)) = next(&mut input) {
                if let Some(sender) = answered.lock().expect("whole").remove(&sequence) {
                    let _ = sender.send(body);
                }
            }
            input.reserve(32 * 1024);
            if reader.read_buf(&mut input).await.unwrap_or(0) == 0 {
                return;
            }
        }
    });
    Mux(sender)
}
