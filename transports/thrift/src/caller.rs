//! The calling side: one connection per call, framed.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use registry_api::call::{Call, CallError, CallErrorKind, Caller, Reply};
use registry_api::{Address, AddressPolicy, ErrorKind, Target, Transport};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use crate::wire::{Application, Framing, Message, MessageType, read_message, write_message};

/// Calls instances at `thrift://host:port`.
///
/// A call's payload is the encoded argument struct, a reply's the encoded
/// result struct; see [`json`](crate::json).
#[derive(Debug)]
pub struct ThriftCaller {
    policy: AddressPolicy,
    sequence: AtomicI32,
}

/// How long a connection may take to be made, within the call's own time.
const CONNECT: Duration = Duration::from_secs(2);

impl ThriftCaller {
    /// A caller that dials only what `policy` lets it.
    pub fn new(policy: AddressPolicy) -> Self {
        Self { policy, sequence: AtomicI32::new(1) }
    }

    async fn connect(&self, address: &Address) -> Result<TcpStream, CallError> {
        let (Transport::Thrift, Target::Host { host, port }) =
            (address.transport(), address.target())
        else {
            return Err(failed(ErrorKind::Unsupported, "the address is not a Thrift one"));
        };
        let resolved = lookup_host((host, port)).await;
        let resolved = resolved.map_err(|error| unreachable(&error))?;
        let mut refused = failed(ErrorKind::Unavailable, "the host name has no address");
        for ip in resolved {
            // Judged now, on what is dialled: a name may resolve to anything.
            match self.policy.check(ip) {
                Ok(()) => match dial(ip).await {
                    Ok(stream) => return Ok(stream),
                    Err(error) => refused = unreachable(&error),
                },
                Err(refusal) => {
                    let reason = format!("the instance's address {refusal}");
                    refused = failed(ErrorKind::PermissionDenied, reason);
                }
            }
        }
        Err(refused)
    }

    async fn exchange(&self, address: &Address, call: &Call) -> Result<Reply, CallError> {
        let mut stream = self.connect(address).await?;
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
        let question = Message {
            kind: if call.oneway { MessageType::Oneway } else { MessageType::Call },
            method: &call.method,
            sequence,
            body: &call.payload,
        };
        let sent = write_message(&mut stream, Framing::Framed, &question.write()).await;
        sent.map_err(|error| lost(&error))?;
        if call.oneway {
            return Ok(Reply::default());
        }
        let mut buffer = BytesMut::new();
        let answer = read_message(&mut stream, &mut buffer).await;
        let answer = answer.map_err(|error| lost(&error))?;
        let Some((_, answer)) = answer else {
            return Err(lost(&io::ErrorKind::UnexpectedEof.into()));
        };
        read_answer(&answer, &question)
    }
}

#[async_trait]
impl Caller for ThriftCaller {
    async fn call(&self, address: &Address, call: Call) -> Result<Reply, CallError> {
        match timeout(call.timeout, self.exchange(address, &call)).await {
            Ok(answer) => answer,
            Err(_) => Err(failed(ErrorKind::Timeout, "no answer before the deadline")),
        }
    }
}

async fn dial(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = timeout(CONNECT, TcpStream::connect(address)).await??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn read_answer(bytes: &[u8], question: &Message<'_>) -> Result<Reply, CallError> {
    let framework = |reason: String| CallError::new(CallErrorKind::Framework, reason);
    let answer = Message::parse(bytes).map_err(|error| framework(error.to_string()))?;
    if answer.sequence != question.sequence {
        return Err(framework("the answer belongs to another call".to_owned()));
    }
    match answer.kind {
        MessageType::Reply => Ok(Reply::new(Bytes::copy_from_slice(answer.body))),
        MessageType::Exception => {
            let exception = Application::parse(answer.body);
            let exception = exception.map_err(|error| framework(error.to_string()))?;
            let kind = match exception.code {
                Application::UNKNOWN_METHOD => CallErrorKind::UnknownMethod,
                _ => CallErrorKind::Framework,
            };
            Err(CallError::new(kind, exception.message))
        }
        MessageType::Call | MessageType::Oneway => {
            Err(framework("the answer is a question".to_owned()))
        }
    }
}

fn failed(kind: ErrorKind, reason: impl Into<String>) -> CallError {
    CallError::new(kind.into(), reason)
}

fn unreachable(error: &io::Error) -> CallError {
    failed(ErrorKind::Unavailable, format!("the instance cannot be reached: {error}"))
}

fn lost(error: &io::Error) -> CallError {
    let kind = match error.kind() {
        io::ErrorKind::InvalidData => CallErrorKind::Framework,
        _ => ErrorKind::Unavailable.into(),
    };
    CallError::new(kind, format!("the connection to the instance broke: {error}"))
}
