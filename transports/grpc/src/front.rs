//! The front door: any gRPC client calls `/pkg.Service/Method` here and reaches
//! whoever serves it.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt, Full, StreamBody};
use registry_api::call::{More, Reply};
use tokio::time::timeout;
use tonic::Status;
use tonic::body::Body;
use tower_service::Service;

use crate::frames::{Frame, Frames, framed};
use crate::incoming::{Dispatch, Incoming};
use crate::metadata;
use crate::reverse::MAX_PAYLOAD;
use crate::reverse::outbox::trailers;
use crate::status::refused;
use crate::timeout as time;

/// Answers calls of every path. A service of `tonic`, for what no other one is
/// there for.
#[derive(Clone, Debug)]
pub struct FrontDoor {
    dispatch: Arc<dyn Dispatch>,
}

impl FrontDoor {
    /// Lets `dispatch` find whom a path means.
    pub fn new(dispatch: Arc<dyn Dispatch>) -> Self {
        Self { dispatch }
    }
}

impl<B> Service<http::Request<B>> for FrontDoor
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: std::fmt::Display,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let dispatch = Arc::clone(&self.dispatch);
        Box::pin(async move {
            if !is_grpc(&request) {
                return Ok(not_grpc());
            }
            let answer = match read(request).await {
                Ok(incoming) => match dispatch.dispatch(incoming).await {
                    Ok(reply) => answered(reply),
                    Err(error) => refused(&error).into_http(),
                },
                Err(status) => status.into_http(),
            };
            Ok(answer)
        })
    }
}

fn is_grpc<B>(request: &http::Request<B>) -> bool {
    let content_type = request.headers().get(header::CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let rest = content_type.strip_prefix("application/grpc");
    let fits = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['+', ';']));
    fits && request.method() == Method::POST
}

fn not_grpc() -> http::Response<Body> {
    let text = "this port speaks gRPC: POST with content-type application/grpc over HTTP/2\n";
    let mut answer = http::Response::new(Body::new(Full::new(Bytes::from_static(text.as_bytes()))));
    *answer.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    answer
}

/// The one message of a call, bounded in size and in time.
async fn read<B>(request: http::Request<B>) -> Result<Incoming, Status>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let (head, body) = request.into_parts();
    let asked = head.headers.get("grpc-timeout").map(|value| {
        let text = value.to_str().ok().and_then(time::read);
        text.ok_or_else(|| Status::invalid_argument("grpc-timeout is not a time"))
    });
    let asked = asked.transpose()?.map(time::bounded);
    let within = asked.unwrap_or(time::MOST);
    let payload = timeout(within, only(Frames::new(body, MAX_PAYLOAD))).await;
    let payload = payload.map_err(|_| Status::deadline_exceeded("the call did not arrive"))??;
    let path = head.uri.path();
    let mut incoming = Incoming::new(path, payload).map_err(Status::invalid_argument)?;
    incoming.headers = metadata::from_outside(&head.headers);
    incoming.timeout = asked;
    Ok(incoming)
}

async fn only<B>(mut frames: Frames<B>) -> Result<Bytes, Status>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let too_large = || Status::resource_exhausted(format!("more than {MAX_PAYLOAD} bytes"));
    let payload = match frames.next().await? {
        Frame::Message(payload) => payload,
        Frame::TooLarge(_) => return Err(too_large()),
        Frame::End(_) => return Err(Status::invalid_argument("a message is due")),
    };
    match frames.next().await? {
        Frame::End(_) => Ok(payload),
        Frame::Message(_) | Frame::TooLarge(_) => Err(Status::unimplemented(
            "a call has one message here; streams of them are not served",
        )),
    }
}

fn answered(reply: Reply) -> http::Response<Body> {
    let first = framed(&reply.payload);
    let body = match reply.more {
        None => {
            let ok = async { Some(Ok(trailers(&Status::ok("")))) };
            Body::new(Full::new(first).with_trailers(ok))
        }
        Some(more) => Body::new(StreamBody::new(results(first, more))),
    };
    let mut answer = http::Response::new(body);
    *answer.headers_mut() = metadata::to_metadata(&reply.headers);
    let grpc = HeaderValue::from_static("application/grpc");
    answer.headers_mut().insert(header::CONTENT_TYPE, grpc);
    answer
}

type Part = Result<http_body::Frame<Bytes>, Infallible>;

/// The results of a stream, and at last how it ended.
fn results(first: Bytes, more: More) -> impl Stream<Item = Part> + Send {
    let first = stream::once(async { Ok(http_body::Frame::data(first)) });
    first.chain(stream::unfold(Some(more), |more| async {
        let mut more = more?;
        Some(match more.next().await {
            Some(Ok(payload)) => (Ok(http_body::Frame::data(framed(&payload))), Some(more)),
            Some(Err(error)) => (Ok(http_body::Frame::trailers(trailers(&refused(&error)))), None),
            None => (Ok(http_body::Frame::trailers(trailers(&Status::ok("")))), None),
        })
    }))
}

/// The status that an answer ends with, wherever it stands.
pub(crate) fn status_of(headers: &HeaderMap, trailers: &HeaderMap) -> Status {
    let told = Status::from_header_map(trailers).or_else(|| Status::from_header_map(headers));
    told.unwrap_or_else(|| Status::unknown("the answer has no grpc-status"))
}
