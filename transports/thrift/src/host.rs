//! The serving side: answers framed and unframed peers on one port.

use std::fmt::{self, Debug};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use registry_api::call::{Call, CallError, CallErrorKind, Handler, Host, Reply};
use registry_api::{Address, ServiceName};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use crate::idl::Descriptor;
use crate::json;
use crate::wire::{Application, Message, MessageType, read_message, write_message};

/// How a host behaves.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct HostOptions {
    /// A connection that sends nothing for this long is closed.
    pub idle: Duration,
    /// The most connections at a time; more wait in the listener's queue.
    pub connections: usize,
    /// How long calls in flight may take after [`Host::close`].
    pub drain: Duration,
}

impl Default for HostOptions {
    /// 60 s idle, 10,000 connections, 10 s to drain.
    fn default() -> Self {
        Self { idle: Duration::from_secs(60), connections: 10_000, drain: Duration::from_secs(10) }
    }
}

/// A Thrift server for one service. Dropping it ends it at once;
/// [`close`](Host::close) lets calls in flight finish.
#[derive(Debug)]
pub struct ThriftHost {
    local: SocketAddr,
    closing: watch::Sender<bool>,
    task: tokio::sync::Mutex<Option<JoinHandle<()>>>,
    abort: tokio::task::AbortHandle,
}

impl ThriftHost {
    /// Serves `handler` at `address`. Port 0 takes a free one.
    pub async fn serve(
        service: ServiceName,
        address: SocketAddr,
        handler: Arc<dyn Handler>,
        options: HostOptions,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let local = listener.local_addr()?;
        let closing = watch::Sender::new(false);
        let server = Server { service, handler, options, closing: closing.subscribe() };
        let task = tokio::spawn(server.run(listener));
        Ok(Self {
            local,
            closing,
            abort: task.abort_handle(),
            task: tokio::sync::Mutex::new(Some(task)),
        })
    }

    /// The address it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }
}

#[async_trait]
impl Host for ThriftHost {
    fn addresses(&self) -> Vec<Address> {
        let host = self.local.ip().to_string();
        Address::host("thrift", &host, self.local.port()).into_iter().collect()
    }

    async fn close(&self) {
        self.closing.send_replace(true);
        if let Some(task) = self.task.lock().await.take() {
            let _ = task.await; // Only cancelled by a drop, which is an end too.
        }
    }
}

impl Drop for ThriftHost {
    fn drop(&mut self) {
        self.abort.abort();
    }
}

#[derive(Clone)]
struct Server {
    service: ServiceName,
    handler: Arc<dyn Handler>,
    options: HostOptions,
    closing: watch::Receiver<bool>,
}

impl Server {
    async fn run(self, listener: TcpListener) {
        let mut closing = self.closing.clone();
        let mut connections = JoinSet::new();
        loop {
            let room = connections.len() < self.options.connections;
            tokio::select! {
                _ = closing.wait_for(|closing| *closing) => break,
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                stream = accept(&listener), if room => {
                    connections.spawn(self.clone().connection(stream));
                }
            }
        }
        drop(listener);
        let ended = async { while connections.join_next().await.is_some() {} };
        let _ = timeout(self.options.drain, ended).await; // What is left ends with the set.
    }

    async fn connection(self, mut stream: TcpStream) {
        // A peer that breaks the protocol or goes away is its own problem.
        if let Err(error) = self.converse(&mut stream).await {
            tracing::debug!(%error, "thrift connection ended");
        }
    }

    async fn converse(&self, stream: &mut TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut buffer = BytesMut::new();
        let mut closing = self.closing.clone();
        loop {
            let question = tokio::select! {
                biased;
                question = timeout(self.options.idle, read_message(stream, &mut buffer)) => question??,
                _ = closing.wait_for(|closing| *closing) => return Ok(()),
            };
            let Some((framing, question)) = question else {
                return Ok(());
            };
            let question = question.freeze();
            let message = Message::parse(&question).map_err(io::Error::other)?;
            let body = question.slice_ref(message.body);
            let (kind, answer) = self.answer(&message, body).await;
            if message.kind == MessageType::Oneway {
                continue;
            }
            let answer =
                Message { kind, method: message.method, sequence: message.sequence, body: &answer };
            write_message(stream, framing, &answer.write()).await?;
        }
    }

    async fn answer(&self, message: &Message<'_>, body: Bytes) -> (MessageType, Bytes) {
        let exception = |code, reason: String| {
            let body = Application::new(code, reason).write();
            (MessageType::Exception, Bytes::from(body))
        };
        if !matches!(message.kind, MessageType::Call | MessageType::Oneway) {
            let reason = "a call was expected".to_owned();
            return exception(Application::PROTOCOL_ERROR, reason);
        }
        let call = Call::new(self.service.clone(), message.method, body);
        match self.handler.handle(call).await {
            Ok(reply) => (MessageType::Reply, reply.payload),
            Err(error) => match error.kind() {
                CallErrorKind::Application => (MessageType::Reply, error.body().clone()),
                CallErrorKind::UnknownMethod => {
                    let reason = format!("unknown method {}", message.method);
                    exception(Application::UNKNOWN_METHOD, reason)
                }
                _ => exception(Application::INTERNAL_ERROR, error.message().to_owned()),
            },
        }
    }
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            // Out of descriptors, most likely: some will be closed.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// A declared exception, thrown by a [`JsonHandler`]'s function.
#[derive(Clone, Debug)]
pub struct JsonError {
    /// The name of the exception's type.
    pub exception: String,
    /// Its fields.
    pub value: Value,
}

type Function = dyn Fn(&str, Value) -> Result<Value, JsonError> + Send + Sync;

/// Serves a function over JSON values, by an IDL.
pub struct JsonHandler {
    idl: Arc<Descriptor>,
    service: String,
    function: Box<Function>,
}

impl JsonHandler {
    /// A handler for the service of that name in `idl`. `function` gets a method
    /// and its arguments, and returns its result or a declared exception.
    pub fn new(
        idl: Arc<Descriptor>,
        service: impl Into<String>,
        function: impl Fn(&str, Value) -> Result<Value, JsonError> + Send + Sync + 'static,
    ) -> Self {
        Self { idl, service: service.into(), function: Box::new(function) }
    }
}

#[async_trait]
impl Handler for JsonHandler {
    async fn handle(&self, call: Call) -> Result<Reply, CallError> {
        let service = self.idl.service(&self.service);
        let Some(function) = service.and_then(|service| service.function(&call.method)) else {
            return Err(CallError::new(CallErrorKind::UnknownMethod, "unknown method"));
        };
        let broken =
            |error: json::ValueError| CallError::new(CallErrorKind::Framework, error.to_string());
        let arguments = json::read_arguments(&self.idl, function, &call.payload).map_err(broken)?;
        match (self.function)(&function.name, arguments) {
            Ok(result) => {
                let bytes = json::write_result(&self.idl, function, &result).map_err(broken)?;
                Ok(Reply::new(bytes.into()))
            }
            Err(JsonError { exception, value }) => {
                let bytes = json::write_exception(&self.idl, function, &exception, &value);
                Err(CallError::application(exception, bytes.map_err(broken)?.into()))
            }
        }
    }
}

impl Debug for JsonHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonHandler").field("service", &self.service).finish_non_exhaustive()
    }
}
