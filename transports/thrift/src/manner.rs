//! How a peer is spoken to, by the metadata of its offer.
//!
//! | key | value | meaning |
//! |---|---|---|
//! | [`FRAMING`] | `framed`, `buffered`, `ttheader` | how messages are delimited |
//! | [`MULTIPLEX`] | `true` | many calls at a time on one connection, told apart by sequence id |
//! | [`CANCEL`] | `true` | understands the message `portolan.cancel` |
//!
//! What is not said is framed, one call at a time.

use registry_api::Metadata;
use registry_api::call::Peer;

use crate::link::Manner;
use crate::wire::Framing;

/// The key that names the framing.
pub const FRAMING: &str = "thrift.framing";
/// The key that permits multiplexing.
pub const MULTIPLEX: &str = "thrift.multiplex";
/// The key that permits cancellation.
pub const CANCEL: &str = "thrift.cancel";

/// TTHeader as Kitex and Volo send it.
pub(crate) const HEADER: Framing = Framing::Header { framed: true };

impl Manner {
    pub(crate) fn of(peer: Peer<'_>, usual: Framing) -> Self {
        let framing = match peer.fact(FRAMING) {
            "framed" => Framing::Framed,
            "buffered" => Framing::Unframed,
            "ttheader" => HEADER,
            _ => usual,
        };
        let says = |key| peer.fact(key) == "true";
        Self { framing, multiplex: says(MULTIPLEX), cancel: says(CANCEL) }
    }
}

/// What our own host says of itself: everything.
pub(crate) fn of_our_host() -> Metadata {
    let all = [(FRAMING, "ttheader"), (MULTIPLEX, "true"), (CANCEL, "true")];
    Metadata::new(all).unwrap_or_default()
}
