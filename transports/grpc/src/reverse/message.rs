//! The one place where messages of the stream become calls and answers, and back.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use registry_api::ServiceName;
use registry_api::call::{Call, CallError, CallErrorKind, Headers, IDENTITY, Reply};
use tonic::Code;

use super::names::{method_of, path_of, split};
use super::wire::streaming_info::StreamType;
use super::wire::{ForwardRequest, ForwardResponse, StreamingInfo};
use crate::incoming::Incoming;
use crate::status::KIND;
use crate::{status, timeout};

/// The name of an application's error, between ends of this crate.
const CODE: &str = "portolan-code";
/// The exact time that is left, as gRPC writes it; the field knows whole seconds.
const TIMEOUT: &str = "grpc-timeout";
/// Headers that begin so are ours, and never somebody else's; but for the identity, which
/// is the call's.
const OWN: &str = "portolan-";
/// The path of a message that takes a call back; between ends of this crate.
pub(crate) const CANCEL: &str = "/portolan/cancel";
/// The path of a message that asks for more of a stream; between ends of this crate.
pub(crate) const WINDOW: &str = "/portolan/window";
/// How many results of a stream may be under way that nobody has read.
pub(crate) const AHEAD: usize = 16;

/// What an end means by "it went well".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Convention {
    /// Codes of gRPC, 0 is OK.
    Grpc,
    /// Statuses of HTTP, 200 is OK: what services in the field test for.
    Http,
}

/// A call as it goes to a service. `exact` where the other end is of this crate.
pub(crate) fn to_request(request_id: String, call: &Call, exact: bool) -> ForwardRequest {
    let headers = call.headers.iter().filter(|(name, _)| !is_own(name));
    let mut headers: BTreeMap<_, _> =
        headers.map(|(name, value)| (name.clone(), value.clone())).collect();
    let millis = call.time_left().as_nanos().div_ceil(1_000_000);
    let seconds = millis.div_ceil(1000).clamp(1, 86_400);
    if exact && seconds * 1000 != millis {
        let left = Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX));
        headers.insert(TIMEOUT.to_owned(), timeout::write(left));
    }
    ForwardRequest {
        request_id,
        method_path: path_of(&call.service, &call.method),
        headers,
        payload: call.payload.clone(),
        timeout_seconds: i32::try_from(seconds).unwrap_or(i32::MAX),
        streaming_info: Some(StreamingInfo { is_stream_end: true, ..StreamingInfo::default() }),
    }
}

/// Takes a call back.
pub(crate) fn cancel(request_id: String) -> ForwardRequest {
    let method_path = CANCEL.to_owned();
    ForwardRequest { request_id, method_path, ..ForwardRequest::default() }
}

/// Asks for so many more results of a stream.
pub(crate) fn window(request_id: String, more: i64) -> ForwardRequest {
    let streaming_info = Some(StreamingInfo { sequence_number: more, ..StreamingInfo::default() });
    let method_path = WINDOW.to_owned();
    ForwardRequest { request_id, method_path, streaming_info, ..ForwardRequest::default() }
}

/// A result of a stream; the last message of one is its end, and no result.
pub(crate) fn of_stream(
    mut response: ForwardResponse,
    sequence: i64,
    last: bool,
) -> ForwardResponse {
    response.streaming_info = Some(StreamingInfo {
        stream_type: StreamType::ServerStreaming.into(),
        is_stream_end: last,
        sequence_number: sequence,
        chunk_size: 0,
    });
    response
}

/// Whether an answer belongs to a stream, and whether it is its end.
pub(crate) fn stream_of(response: &ForwardResponse) -> Option<bool> {
    let info = response.streaming_info.as_ref()?;
    (info.stream_type() == StreamType::ServerStreaming).then_some(info.is_stream_end)
}

/// A request as a call of a service that is known under `service`; `None` where
/// its path is none.
pub(crate) fn to_call(request: ForwardRequest, service: &ServiceName) -> Option<Call> {
    let (interface, _) = split(&request.method_path)?;
    let method = method_of(service, interface, &request.method_path).to_owned();
    let mut call = Call::new(service.clone(), method, request.payload);
    call.timeout = time_left(&request.headers, request.timeout_seconds);
    call.headers = to_headers(request.headers);
    Some(call)
}

/// A request that a service sends up its stream. The error says what is wrong.
pub(crate) fn to_incoming(request: ForwardRequest) -> Result<Incoming, &'static str> {
    let mut incoming = Incoming::new(&request.method_path, request.payload)?;
    incoming.timeout = time_left(&request.headers, request.timeout_seconds);
    incoming.headers = to_headers(request.headers);
    // A service that calls through a gateway is called for by the gateway.
    incoming.headers.retain(|(name, _)| name != IDENTITY);
    Ok(incoming)
}

fn time_left(headers: &BTreeMap<String, String>, seconds: i32) -> Option<Duration> {
    let exact = headers.get(TIMEOUT).and_then(|text| timeout::read(text));
    let seconds = u64::try_from(seconds).ok().filter(|seconds| *seconds > 0);
    exact.or(seconds.map(Duration::from_secs)).map(timeout::bounded)
}

fn to_headers(headers: BTreeMap<String, String>) -> Headers {
    let headers = headers.into_iter().filter(|(name, _)| !is_own(name) && name != TIMEOUT);
    headers.map(|(name, value)| (name.to_ascii_lowercase(), value)).collect()
}

fn is_own(name: &str) -> bool {
    name.get(..OWN.len()).is_some_and(|start| start.eq_ignore_ascii_case(OWN))
        && !name.eq_ignore_ascii_case(IDENTITY)
}

/// An outcome as it goes to the asker, in the asker's convention.
pub(crate) fn to_response(
    request_id: String,
    outcome: Result<Reply, CallError>,
    convention: Convention,
    exact: bool,
) -> ForwardResponse {
    let number = |code: Code| match convention {
        Convention::Grpc => i32::from(code),
        Convention::Http => i32::from(status::http(code)),
    };
    let mut response = ForwardResponse { request_id, ..ForwardResponse::default() };
    match outcome {
        Ok(reply) => {
            response.status_code = number(Code::Ok);
            response.headers = reply.headers.into_iter().collect();
            response.payload = reply.payload;
        }
        Err(error) => {
            response.status_code = number(status::code_of(&error));
            response.error_message = error.message().to_owned();
            if exact {
                response.headers.insert(KIND.to_owned(), error.kind().name().to_owned());
                response.headers.insert(CODE.to_owned(), error.code().to_owned());
                response.payload = error.body().clone();
            }
        }
    }
    response
}

/// An answer as what the caller gets.
pub(crate) fn to_outcome(mut response: ForwardResponse) -> Result<Reply, CallError> {
    let told = response.headers.remove(KIND);
    let code = response.headers.remove(CODE).unwrap_or_default();
    let message = response.error_message;
    if let Some(kind) = told.as_deref().and_then(CallErrorKind::named) {
        return Err(match kind {
            CallErrorKind::Application => CallError::application(code, response.payload),
            kind => CallError::new(kind, message),
        });
    }
    match status::of_number(response.status_code) {
        Code::Ok => {
            let mut reply = Reply::new(response.payload);
            reply.headers = to_headers(response.headers);
            Ok(reply)
        }
        code => Err(status::failed(code, &message, &[])),
    }
}

/// The convention of who answered so; `None` if that says nothing.
pub(crate) fn convention_of(response: &ForwardResponse) -> Option<Convention> {
    match response.status_code {
        0..=16 => Some(Convention::Grpc),
        200..=599 => Some(Convention::Http),
        _ => None,
    }
}

/// The id of a request or an answer of which only the beginning is there: the
/// first field of the first field.
pub(crate) fn id_of_beginning(begun: &Bytes) -> Option<(bool, String)> {
    let mut left = &**begun;
    let is_request = match prost::encoding::decode_varint(&mut left).ok()? {
        0x12 => true,
        0x1a => false,
        _ => return None,
    };
    prost::encoding::decode_varint(&mut left).ok()?;
    (prost::encoding::decode_varint(&mut left).ok()? == 0x0a).then_some(())?;
    let length = usize::try_from(prost::encoding::decode_varint(&mut left).ok()?).ok()?;
    Some((is_request, std::str::from_utf8(left.get(..length)?).ok()?.to_owned()))
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::super::wire::ConnectionMessage;
    use super::super::wire::connection_message::MessageType;
    use super::*;

    fn service() -> ServiceName {
        ServiceName::parse("a.B").unwrap()
    }

    #[test]
    fn a_call_arrives_as_it_was_made() {
        let call = Call::new(service(), "M", Bytes::from_static(b"x"))
            .with_timeout(Duration::from_millis(1700))
            .with_header("traceparent", "t")
            .with_header("portolan-kind", "framework");
        let request = to_request("7".to_owned(), &call, true);
        assert_eq!((request.method_path.as_str(), request.timeout_seconds), ("/a.B/M", 2));
        let seen = to_call(request, &service()).unwrap();
        assert_eq!((seen.method.as_str(), seen.timeout), ("M", call.timeout));
        assert_eq!(seen.headers, [("traceparent".to_owned(), "t".to_owned())]);
        let foreign = to_request("7".to_owned(), &call, false);
        assert!(!foreign.headers.contains_key(TIMEOUT));
    }

    #[test]
    fn every_kind_arrives_between_ends_of_ours_and_statuses_among_others() {
        for kind in CallErrorKind::all() {
            let error = match kind {
                CallErrorKind::Application => {
                    CallError::application("Sad", Bytes::from_static(b"b"))
                }
                kind => CallError::new(kind, "no"),
            };
            let response = to_response(String::new(), Err(error), Convention::Http, true);
            assert!(response.status_code >= 400);
            let seen = to_outcome(response).unwrap_err();
            assert_eq!(seen.kind(), kind);
            assert_eq!(seen.code() == "Sad", kind == CallErrorKind::Application);
        }
        let answered =
            |status_code| to_outcome(ForwardResponse { status_code, ..ForwardResponse::default() });
        assert!(answered(0).is_ok() && answered(200).is_ok());
        assert_eq!(answered(404).unwrap_err().code(), "NOT_FOUND");
        assert_eq!(answered(5).unwrap_err().code(), "NOT_FOUND");
        assert_eq!(answered(501).unwrap_err().kind(), CallErrorKind::UnknownMethod);
    }

    #[test]
    fn whose_a_message_is_can_be_seen_from_its_beginning() {
        let response = ForwardResponse {
            request_id: "42".to_owned(),
            payload: vec![0; 5000].into(),
            ..ForwardResponse::default()
        };
        let message = ConnectionMessage { message_type: Some(MessageType::Response(response)) };
        let begun = Bytes::from(message.encode_to_vec()).slice(..100);
        assert_eq!(id_of_beginning(&begun), Some((false, "42".to_owned())));
        assert_eq!(id_of_beginning(&Bytes::from_static(b"\x1a\xff\xff")), None);
        assert_eq!(id_of_beginning(&Bytes::new()), None);
    }
}
