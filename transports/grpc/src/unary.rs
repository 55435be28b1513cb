//! A call as an HTTP/2 request of gRPC, and its answer: for services in this
//! process and for those that are dialled.

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::Full;
use registry_api::call::{Call, CallError, CallErrorKind, Reply};
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
    if let Ok(left) = HeaderValue::try_from(timeout::write(call.time_left())) {
        headers.insert("grpc-timeout", left);
    }
    Ok(request)
}

/// The one message of an answer, and how it ended.
pub(crate) async fn read(answer: Response<Body>) -> Result<Reply, CallError> {
    let (head, body) = answer.into_parts();
    let framework = |reason: &str| CallError::new(CallErrorKind::Framework, reason);
    let mut frames = Frames::new(body, MAX_PAYLOAD);
    let mut payload = None;
    let trailers = loop {
        match frames.next().await {
            Ok(Frame::Message(message)) if payload.is_none() => payload = Some(message),
            Ok(Frame::Message(_)) => {
                return Err(framework("a stream of answers is not served here"));
            }
            Ok(Frame::TooLarge(_)) => return Err(framework("the answer is too large")),
            Ok(Frame::End(trailers)) => break trailers,
            Err(told) => return Err(status::failed(told.code(), told.message(), &[])),
        }
    };
    let told = status_of(&head.headers, &trailers);
    match told.code() {
        Code::Ok => {
            let mut reply = Reply::new(payload.unwrap_or_else(Bytes::new));
            reply.headers = metadata::from_outside(&head.headers);
            Ok(reply)
        }
        code => Err(status::failed(code, told.message(), told.details())),
    }
}
