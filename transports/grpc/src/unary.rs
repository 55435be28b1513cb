//! A call as an HTTP/2 request of gRPC, and its answer: for services in this
//! process and for those that are dialled.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{FutureExt, stream};
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body_util::Full;
use registry_api::call::{Call, CallError, CallErrorKind, More, Reply};
use tonic::Code;
use tonic::body::Body;

use crate::frames::{Frame, Frames, framed};
use crate::front::status_of;
use crate::reverse::{MAX_PAYLOAD, path_of};
use crate::{metadata, status, timeout};

/// The request. Errors: `UnknownMethod` for a path that is none.
pub(crate) fn request(call: &Call) -> Result<Request<Body>, CallError> {
    let path = path_of(&call.service, &call.method);
    let body = Body::new(Full::new(framed(&call.payload)));
    let request = Request::post(path).body(body);
    let unknown = |_| CallError::new(CallErrorKind::UnknownMethod, "the path is none");
    let mut request = request.map_err(unknown)?;
    let headers = request.headers_mut();
    *headers = metadata::to_metadata(&call.headers);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    if let Some(identity) = &call.identity {
        request.extensions_mut().insert(Arc::clone(identity));
    }
    let headers = request.headers_mut();
    if let Ok(left) = HeaderValue::try_from(timeout::write(call.time_left())) {
        headers.insert("grpc-timeout", left);
    }
    Ok(request)
}

/// An answer: its first message, and those that follow if there are any.
pub(crate) async fn read(answer: Response<Body>) -> Result<Reply, CallError> {
    let (head, body) = answer.into_parts();
    let mut messages = Messages { headers: head.headers, frames: Frames::new(body, MAX_PAYLOAD) };
    let Some(payload) = messages.next().await? else {
        // Well, and without a result: only streams may end so.
        let reason = "the answer is a stream without a result";
        return Err(CallError::new(CallErrorKind::Framework, reason));
    };
    let mut reply = Reply::new(payload);
    reply.headers = metadata::from_outside(&messages.headers);
    // The end of a single answer comes with it; what takes longer is a stream.
    match yielding(messages.next()).await {
        Ok(ended) => match ended? {
            None => {}
            Some(second) => reply.more = Some(messages.more(Some(second))),
        },
        Err(()) => reply.more = Some(messages.more(None)),
    }
    Ok(reply)
}

/// The messages of an answer, up to its status.
struct Messages {
    headers: HeaderMap,
    frames: Frames<Body>,
}

impl Messages {
    /// `None` is an end that went well. Cancel-safe.
    async fn next(&mut self) -> Result<Option<Bytes>, CallError> {
        let framework = |reason: &str| CallError::new(CallErrorKind::Framework, reason);
        match self.frames.next().await {
            Ok(Frame::Message(message)) => Ok(Some(message)),
            Ok(Frame::TooLarge(_)) => Err(framework("the answer is too large")),
            Ok(Frame::End(trailers)) => {
                let told = status_of(&self.headers, &trailers);
                match told.code() {
                    Code::Ok => Ok(None),
                    _ => Err(status::answered(&told)),
                }
            }
            Err(told) => Err(status::failed(told.code(), told.message(), &[])),
        }
    }

    fn more(self, first: Option<Bytes>) -> More {
        More::new(stream::unfold(Some((self, first)), |reading| async {
            let (mut messages, first) = reading?;
            if let Some(first) = first {
                return Some((Ok(first), Some((messages, None))));
            }
            match messages.next().await {
                Ok(Some(message)) => Some((Ok(message), Some((messages, None)))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        }))
    }
}

/// What a future makes within a few turns of the runtime; the error is that it
/// takes longer.
async fn yielding<T>(work: impl Future<Output = T>) -> Result<T, ()> {
    let mut work = std::pin::pin!(work);
    for _ in 0..TURNS {
        if let Some(done) = work.as_mut().now_or_never() {
            return Ok(done);
        }
        tokio::task::yield_now().await;
    }
    Err(())
}

/// Enough for a handler in this process to end after it has answered.
const TURNS: usize = 8;
