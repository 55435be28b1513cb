//! Ordinary `tonic` services as a handler of calls.

use std::fmt::{self, Debug};
use std::pin::Pin;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderValue, Request, header};
use http_body_util::Full;
use registry_api::call::{Call, CallError, CallErrorKind, Handler, Reply};
use tonic::Code;
use tonic::body::Body;
use tonic::service::Routes;
use tower_service::Service;

use crate::frames::{Frame, Frames, framed};
use crate::front::status_of;
use crate::reverse::{MAX_MESSAGE, path_of};
use crate::{metadata, status, timeout};

/// Answers calls by services as `tonic` generates them.
#[derive(Clone)]
pub struct RoutesHandler(Routes);

impl RoutesHandler {
    /// Answers by these services.
    pub fn new(routes: Routes) -> Self {
        Self(routes.prepare())
    }
}

#[async_trait]
impl Handler for RoutesHandler {
    async fn handle(&self, call: Call) -> Result<Reply, CallError> {
        let path = path_of(&call.service, &call.method);
        let unknown = || CallError::new(CallErrorKind::UnknownMethod, "the path is none");
        let body = Body::new(Full::new(framed(&call.payload)));
        let mut request = Request::post(path).body(body).map_err(|_| unknown())?;
        let headers = request.headers_mut();
        *headers = metadata::to_metadata(&call.headers);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        if let Ok(left) = HeaderValue::try_from(timeout::write(call.time_left())) {
            headers.insert("grpc-timeout", left);
        }
        let mut routes = self.0.clone();
        let broken = |error: &dyn fmt::Display| {
            CallError::new(CallErrorKind::Framework, format!("the service broke: {error}"))
        };
        std::future::poll_fn(|cx| Service::<Request<Body>>::poll_ready(&mut routes, cx))
            .await
            .map_err(|error| broken(&error))?;
        let answer = routes.call(request).await.map_err(|error| broken(&error))?;
        read(answer).await
    }
}

/// The one message of an answer, and how it ended.
async fn read(answer: http::Response<Body>) -> Result<Reply, CallError> {
    let (head, body) = answer.into_parts();
    let framework = |reason: &str| CallError::new(CallErrorKind::Framework, reason);
    let mut frames = Frames::new(Box::pin(body) as Pin<Box<Body>>, MAX_MESSAGE);
    let mut payload = None;
    let trailers = loop {
        match frames.next().await.map_err(|status| framework(status.message()))? {
            Frame::Message(message) if payload.is_none() => payload = Some(message),
            Frame::Message(_) => return Err(framework("a stream of answers is not served here")),
            Frame::TooLarge(_) => return Err(framework("the answer is too large")),
            Frame::End(trailers) => break trailers,
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

impl Debug for RoutesHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RoutesHandler")
    }
}
