//! What etcd's errors mean to whoever asked the registry.
//!
//! Texts are those of etcd's `api/v3rpc/rpctypes/error.go`; the codes alone do not
//! tell a missing lease from a missing user.

use etcd_client::Error as Fault;
use registry_api::{Applied, Error, ErrorKind};

/// Why a request failed, for whoever may try again.
#[derive(Debug)]
pub(crate) enum Failed {
    /// No answer, or one that another endpoint may give better.
    Unreachable(Error),
    /// What was asked for is older than what etcd keeps.
    Compacted,
    /// The lease is not there any more.
    NoLease,
    /// An answer.
    Refused(Error),
}

impl From<Failed> for Error {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Unreachable(error) | Failed::Refused(error) => error,
            Failed::Compacted => {
                Self::new(ErrorKind::Compacted, "etcd does not keep this revision any more")
            }
            Failed::NoLease => Self::new(ErrorKind::Unavailable, "a lease ended while it was used"),
        }
    }
}

/// The meaning of an error of the client's. Its own words are the source.
pub(crate) fn failed(fault: Fault) -> Failed {
    let (code, text) = match &fault {
        Fault::GRpcStatus(status) => (Code::of(status.code() as i32), status.message().to_owned()),
        Fault::InvalidArgs(text) => (Code::Invalid, text.clone()),
        Fault::InvalidUri(error) => (Code::Invalid, error.to_string()),
        other => (Code::Broken, other.to_string()),
    };
    if text.contains("required revision has been compacted") {
        return Failed::Compacted;
    }
    // Or the number that was chosen for one is taken: another one will do.
    if text.contains("requested lease not found") || text.contains("lease already exists") {
        return Failed::NoLease;
    }
    let refused = |kind, words: &str| Failed::Refused(Error::new(kind, words));
    let unreachable = |words: &str| {
        // The request may have got there.
        let error = Error::new(ErrorKind::Unavailable, words).applied(Applied::Unknown);
        Failed::Unreachable(error)
    };
    let failed = match code {
        _ if text.contains("database space exceeded") => {
            refused(ErrorKind::Unavailable, "etcd has no room left and takes no writes")
        }
        _ if text.contains("too many requests") => {
            refused(ErrorKind::Overloaded, "etcd has too much to do")
        }
        _ if text.contains("request is too large") || text.contains("too many operations") => {
            refused(ErrorKind::InvalidArgument, "this is more than etcd takes in one transaction")
        }
        _ if text.contains("authentication failed") || text.contains("user name is empty") => {
            refused(ErrorKind::Unauthenticated, "etcd refuses user or password")
        }
        Code::Denied => refused(ErrorKind::PermissionDenied, "the etcd user may not do this"),
        Code::Unauthenticated => {
            refused(ErrorKind::Unauthenticated, "etcd refuses user or password")
        }
        Code::Exhausted => refused(ErrorKind::Overloaded, "etcd has too much to do"),
        Code::Invalid => refused(ErrorKind::InvalidArgument, "etcd refuses the request"),
        Code::Broken => unreachable("etcd cannot be reached"),
        Code::Other => unreachable("etcd failed"),
    };
    match failed {
        Failed::Refused(error) => Failed::Refused(error.because(fault)),
        Failed::Unreachable(error) => Failed::Unreachable(error.because(fault)),
        failed => failed,
    }
}

/// What a request that was not answered in time means.
pub(crate) fn too_late() -> Failed {
    let error = Error::new(ErrorKind::Timeout, "etcd did not answer in time");
    Failed::Unreachable(error.applied(Applied::Unknown))
}

/// What a gRPC code says here.
enum Code {
    Broken,
    Denied,
    Exhausted,
    Invalid,
    Other,
    Unauthenticated,
}

impl Code {
    fn of(code: i32) -> Self {
        match code {
            3 => Self::Invalid,
            7 => Self::Denied,
            8 => Self::Exhausted,
            14 => Self::Broken,
            16 => Self::Unauthenticated,
            _ => Self::Other,
        }
    }
}
