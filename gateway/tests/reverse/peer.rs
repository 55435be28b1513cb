//! A service written from the protocol file alone, and a client of any gRPC kind.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, Request, header};
use bytes::{Buf, Bytes, BytesMut};
use futures_util::stream;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use prost::Message;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// One message of the stream, either way.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Said {
    #[prost(message, optional, tag = "1")]
    pub(crate) register: Option<Register>,
    #[prost(message, optional, tag = "2")]
    pub(crate) request: Option<Asked>,
    #[prost(message, optional, tag = "3")]
    pub(crate) response: Option<Answered>,
    #[prost(message, optional, tag = "4")]
    pub(crate) heartbeat: Option<Heartbeat>,
    #[prost(message, optional, tag = "5")]
    pub(crate) status: Option<Status>,
    #[prost(message, optional, tag = "6")]
    pub(crate) event: Option<Event>,
    #[prost(message, optional, tag = "7")]
    pub(crate) subscription: Option<Subscription>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Register {
    #[prost(string, tag = "1")]
    pub(crate) api_key: String,
    #[prost(string, repeated, tag = "2")]
    pub(crate) services: Vec<String>,
    #[prost(string, tag = "3")]
    pub(crate) connection_id: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Asked {
    #[prost(string, tag = "1")]
    pub(crate) request_id: String,
    #[prost(string, tag = "2")]
    pub(crate) method_path: String,
    #[prost(map = "string, string", tag = "3")]
    pub(crate) headers: HashMap<String, String>,
    #[prost(bytes = "vec", tag = "4")]
    pub(crate) payload: Vec<u8>,
    #[prost(int32, tag = "5")]
    pub(crate) timeout_seconds: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Answered {
    #[prost(string, tag = "1")]
    pub(crate) request_id: String,
    #[prost(int32, tag = "2")]
    pub(crate) status_code: i32,
    #[prost(map = "string, string", tag = "3")]
    pub(crate) headers: HashMap<String, String>,
    #[prost(bytes = "vec", tag = "4")]
    pub(crate) payload: Vec<u8>,
    #[prost(string, tag = "5")]
    pub(crate) error_message: String,
    #[prost(message, optional, tag = "7")]
    pub(crate) pieces: Option<Pieces>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Pieces {
    #[prost(bool, tag = "1")]
    pub(crate) is_streamed: bool,
    #[prost(int64, tag = "2")]
    pub(crate) chunk_index: i64,
    #[prost(bool, tag = "3")]
    pub(crate) is_final_chunk: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Heartbeat {
    #[prost(int64, tag = "1")]
    pub(crate) timestamp: i64,
    #[prost(string, tag = "2")]
    pub(crate) connection_id: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Status {
    #[prost(string, tag = "1")]
    pub(crate) connection_id: String,
    #[prost(int32, tag = "2")]
    pub(crate) status: i32,
    #[prost(string, tag = "3")]
    pub(crate) message: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Event {
    #[prost(string, tag = "1")]
    pub(crate) event_id: String,
    #[prost(string, tag = "2")]
    pub(crate) event_type: String,
    #[prost(bytes = "vec", tag = "4")]
    pub(crate) payload: Vec<u8>,
    #[prost(int64, tag = "5")]
    pub(crate) timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Subscription {
    #[prost(int32, tag = "1")]
    pub(crate) action: i32,
    #[prost(string, repeated, tag = "2")]
    pub(crate) event_types: Vec<String>,
}

pub(crate) const CONNECTED: i32 = 0;
pub(crate) const DISCONNECTED: i32 = 1;
pub(crate) const ERROR: i32 = 2;
const ESTABLISH: &str = "/registry.RegistryService/EstablishConnection";
const PATIENCE: Duration = Duration::from_secs(40);

/// A message with the five bytes of gRPC.
pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    let mut out = vec![0];
    out.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    out.extend(message);
    out
}

pub(crate) type Http2 = Client<HttpConnector, Body>;

pub(crate) fn http2() -> Http2 {
    Client::builder(TokioExecutor::new()).http2_only(true).build_http()
}

pub(crate) fn grpc_request(address: SocketAddr, path: &str, body: Body) -> Request<Body> {
    Request::post(format!("http://{address}{path}"))
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .body(body)
        .unwrap()
}

/// How an answer of gRPC ended: code and message.
pub(crate) fn ended(headers: &HeaderMap) -> Option<(i32, String)> {
    let code = headers.get("grpc-status")?.to_str().unwrap().parse().unwrap();
    let message = headers.get("grpc-message").map(|text| text.to_str().unwrap().to_owned());
    let message = message.unwrap_or_default();
    let message = percent_encoding::percent_decode_str(&message).decode_utf8_lossy().into_owned();
    Some((code, message))
}

/// A unary call; the payload of the answer, or code and message.
pub(crate) async fn call(
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    payload: &[u8],
) -> Result<(Bytes, HeaderMap), (i32, String)> {
    let mut request = grpc_request(address, path, Body::from(framed(payload)));
    for (name, value) in headers {
        request
            .headers_mut()
            .insert(axum::http::HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
    }
    let answer = timeout(PATIENCE, http2().request(request)).await.unwrap().unwrap();
    let (head, body) = answer.into_parts();
    if let Some((code, message)) = ended(&head.headers) {
        return Err((code, message));
    }
    let body = timeout(PATIENCE, body.collect()).await.unwrap().unwrap();
    let trailers = body.trailers().cloned().unwrap_or_default();
    let mut bytes = body.to_bytes();
    match ended(&trailers) {
        Some((0, _)) => {
            bytes.advance(5);
            Ok((bytes, head.headers))
        }
        Some(failed) => Err(failed),
        None => panic!("no grpc-status: {head:?}"),
    }
}

/// A service's stream.
pub(crate) struct Peer {
    out: mpsc::UnboundedSender<Bytes>,
    body: Incoming,
    buffer: BytesMut,
    /// How the stream ended, once it did.
    pub(crate) end: Option<(i32, String)>,
}

impl Peer {
    /// Opens a stream and says these bytes first. The error is how it ended.
    pub(crate) async fn open(address: SocketAddr, first: &[u8]) -> Result<Self, (i32, String)> {
        let (out, mut outgoing) = mpsc::unbounded_channel::<Bytes>();
        out.send(Bytes::copy_from_slice(first)).unwrap();
        let body = stream::poll_fn(move |cx| {
            outgoing.poll_recv(cx).map(|bytes| bytes.map(Ok::<_, std::io::Error>))
        });
        let request = grpc_request(address, ESTABLISH, Body::from_stream(body));
        let answer = timeout(PATIENCE, http2().request(request)).await.unwrap();
        let (head, body) = answer.unwrap().into_parts();
        if let Some(ended) = ended(&head.headers) {
            return Err(ended);
        }
        Ok(Self { out, body, buffer: BytesMut::new(), end: None })
    }

    /// Connects as a service. The error is how the stream ended.
    pub(crate) async fn connect(
        address: SocketAddr,
        key: &str,
        services: &[&str],
        id: &str,
    ) -> Result<(Self, String), (i32, String)> {
        let register = Register {
            api_key: key.to_owned(),
            services: services.iter().map(ToString::to_string).collect(),
            connection_id: id.to_owned(),
        };
        let first = Said { register: Some(register), ..Said::default() };
        let mut peer = Self::open(address, &framed(&first.encode_to_vec())).await?;
        let status = peer.hear().await.and_then(|said| said.status).expect("a status");
        assert_eq!(status.status, CONNECTED);
        Ok((peer, status.connection_id))
    }

    pub(crate) fn say(&self, said: &Said) {
        self.say_bytes(&framed(&said.encode_to_vec()));
    }

    /// What is said to a stream that has ended is lost.
    pub(crate) fn say_bytes(&self, bytes: &[u8]) {
        let _ = self.out.send(Bytes::copy_from_slice(bytes));
    }

    pub(crate) fn beat(&self, id: &str) {
        let heartbeat = Some(Heartbeat { timestamp: 1, connection_id: id.to_owned() });
        self.say(&Said { heartbeat, ..Said::default() });
    }

    pub(crate) fn answer(&self, asked: &Asked, status_code: i32, payload: &[u8]) {
        let response = Some(Answered {
            request_id: asked.request_id.clone(),
            status_code,
            payload: payload.to_vec(),
            ..Answered::default()
        });
        self.say(&Said { response, ..Said::default() });
    }

    /// The next message; `None` at the end, which is then known.
    pub(crate) async fn hear(&mut self) -> Option<Said> {
        timeout(PATIENCE, self.next()).await.expect("the gateway says something")
    }

    async fn next(&mut self) -> Option<Said> {
        loop {
            if self.buffer.len() >= 5 {
                let length = u32::from_be_bytes(self.buffer[1..5].try_into().unwrap()) as usize;
                if self.buffer.len() >= 5 + length {
                    self.buffer.advance(5);
                    return Some(Said::decode(self.buffer.split_to(length)).unwrap());
                }
            }
            match self.body.frame().await? {
                Ok(frame) => match frame.into_data() {
                    Ok(data) => self.buffer.extend_from_slice(&data),
                    Err(frame) => self.end = ended(&frame.into_trailers().unwrap()),
                },
                Err(error) => {
                    self.end = Some((-1, error.to_string()));
                    return None;
                }
            }
        }
    }

    /// The next call.
    pub(crate) async fn asked(&mut self) -> Asked {
        loop {
            if let Some(asked) = self.hear().await.expect("the stream goes on").request {
                return asked;
            }
        }
    }

    /// Everything up to the end, and how it ended.
    pub(crate) async fn hear_out(&mut self) -> (Vec<Said>, (i32, String)) {
        let mut heard = Vec::new();
        while let Some(said) = self.hear().await {
            heard.push(said);
        }
        (heard, self.end.clone().expect("it ended with a status"))
    }

    /// Answers every call with its own payload, in a task.
    pub(crate) fn echo(mut self) -> tokio::task::JoinHandle<()> {
        tokio::spawn(async move {
            while let Some(said) = self.next().await {
                if let Some(asked) = said.request {
                    self.answer(&asked, 200, &asked.payload.clone());
                }
            }
        })
    }
}
