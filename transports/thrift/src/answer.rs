//! Answers as messages, and the one table between kinds of failure and codes of
//! `TApplicationException`.
//!
//! Codes below 20 are Apache Thrift's (`lib/cpp/src/thrift/TApplicationException.h`), 20 is
//! Kitex' (`pkg/remote/trans_errors.go`), those from 1000 are ours: every peer
//! takes an unknown code for an error of the framework.

use bytes::Bytes;
use registry_api::ErrorKind;
use registry_api::call::{CallError, CallErrorKind, Headers, Reply};

use crate::wire::{Application, Message, MessageType, Packet, WireError};

const UNKNOWN_METHOD: i32 = 1;
const INTERNAL_ERROR: i32 = 6;
pub(crate) const PROTOCOL_ERROR: i32 = 7;
const UNKNOWN_SERVICE: i32 = 20;

const CODES: [(i32, CallErrorKind); 16] = [
    (UNKNOWN_METHOD, CallErrorKind::UnknownMethod),
    (UNKNOWN_SERVICE, CallErrorKind::WrongInstance),
    (1000, CallErrorKind::Registry(ErrorKind::Overloaded)),
    (1001, CallErrorKind::Registry(ErrorKind::Timeout)),
    (1002, CallErrorKind::Cancelled),
    (1003, CallErrorKind::Registry(ErrorKind::Unavailable)),
    (1004, CallErrorKind::Registry(ErrorKind::PermissionDenied)),
    (1005, CallErrorKind::Registry(ErrorKind::Unauthenticated)),
    (1006, CallErrorKind::Registry(ErrorKind::InvalidArgument)),
    (1007, CallErrorKind::Registry(ErrorKind::NotFound)),
    (1008, CallErrorKind::Registry(ErrorKind::Unsupported)),
    (1009, CallErrorKind::Registry(ErrorKind::Closed)),
    (1010, CallErrorKind::Registry(ErrorKind::Conflict)),
    (1011, CallErrorKind::Registry(ErrorKind::AlreadyExists)),
    (1012, CallErrorKind::NoInstance),
    (INTERNAL_ERROR, CallErrorKind::Framework),
];

/// The code that says this kind; what has none of its own is an internal error.
fn code(kind: CallErrorKind) -> i32 {
    let found = CODES.iter().find(|(_, known)| *known == kind);
    found.map_or(INTERNAL_ERROR, |(code, _)| *code)
}

fn kind(code: i32) -> CallErrorKind {
    let found = CODES.iter().find(|(known, _)| *known == code);
    found.map_or(CallErrorKind::Framework, |(_, kind)| *kind)
}

/// What a handler's outcome is on the wire.
pub(crate) fn of(outcome: Result<Reply, CallError>) -> (MessageType, Bytes, Headers) {
    match outcome {
        Ok(reply) => (MessageType::Reply, reply.payload, reply.headers),
        Err(error) if error.kind() == CallErrorKind::Application => {
            (MessageType::Reply, error.body().clone(), Headers::new())
        }
        Err(error) => exception(code(error.kind()), error.message()),
    }
}

/// An answer that the application had no part in.
pub(crate) fn exception(code: i32, reason: &str) -> (MessageType, Bytes, Headers) {
    let body = Application::new(code, reason).write();
    (MessageType::Exception, body.into(), Headers::new())
}

/// A message as an answer: whose it is, and what it says.
///
/// The outer error is a peer that does not keep to the protocol.
pub(crate) fn read(packet: &Packet) -> Result<(i32, Result<Reply, CallError>), CallError> {
    let message = Message::parse(&packet.message).map_err(|error| broken(&error))?;
    let answer = match message.kind {
        MessageType::Reply => {
            let mut reply = Reply::new(packet.message.slice_ref(message.body));
            reply.headers = packet.header.headers.clone();
            Ok(reply)
        }
        MessageType::Exception => {
            let exception = Application::parse(message.body).map_err(|error| broken(&error))?;
            Err(CallError::new(kind(exception.code), exception.message))
        }
        MessageType::Call | MessageType::Oneway => {
            return Err(CallError::new(CallErrorKind::Framework, "the answer is a question"));
        }
    };
    Ok((message.sequence, answer))
}

fn broken(error: &WireError) -> CallError {
    CallError::new(CallErrorKind::Framework, format!("the answer is not Thrift: {error}"))
}

/// A call that is too large to be sent.
pub(crate) fn unwritable(error: &WireError) -> CallError {
    CallError::new(ErrorKind::InvalidArgument.into(), format!("the call cannot be sent: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_means_one_kind() {
        for (number, of) in CODES {
            assert_eq!(kind(number), of);
            assert_eq!(code(of), number);
        }
        assert_eq!(kind(4711), CallErrorKind::Framework);
    }
}
