//! Nodes and events, in the order in which etcd v2 writes their fields.

use std::time::{Duration, SystemTime};

use portolan::Revision;
use portolan::hprose::{Server, as_go_writes};
use serde::Serialize;

/// A key as it is shown.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Node {
    pub(super) key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) value: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) dir: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) expiration: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ttl: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) nodes: Option<Vec<Self>>,
    #[serde(rename = "modifiedIndex")]
    pub(super) modified: u64,
    #[serde(rename = "createdIndex")]
    pub(super) created: u64,
}

/// What happened to a key, or what was read.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Event {
    pub(super) action: &'static str,
    pub(super) node: Node,
    #[serde(rename = "prevNode", skip_serializing_if = "Option::is_none")]
    pub(super) before: Option<Node>,
}

/// A server that is listed.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) value: String,
    /// Where its writer came to this gateway: when it will be gone.
    pub(super) expires: Option<SystemTime>,
    /// Where its writer came to this gateway: the write the registry must have
    /// told of before it can say that nobody is there.
    pub(super) written: Option<Revision>,
    pub(super) modified: u64,
    pub(super) created: u64,
}

impl Entry {
    /// One that the registry told of.
    pub(super) fn told(value: String) -> Self {
        Self { value, expires: None, written: None, modified: 0, created: 0 }
    }

    /// One that was written here.
    pub(super) fn written(value: String, ttl: Duration, at: Revision) -> Self {
        let expires = Some(wall_clock() + ttl);
        Self { expires, written: Some(at), ..Self::told(value) }
    }

    pub(super) fn node(&self, key: &str) -> Node {
        let left = self.expires.map(|at| at.duration_since(wall_clock()).unwrap_or_default());
        Node {
            key: key.to_owned(),
            value: Some(self.value.clone()),
            expiration: self.expires.map(|at| humantime::format_rfc3339_nanos(at).to_string()),
            ttl: left.map(seconds).filter(|seconds| *seconds > 0),
            modified: self.modified,
            created: self.created,
            ..Node::default()
        }
    }

    /// The same where it is gone.
    pub(super) fn gone(&self, key: &str, index: u64) -> Node {
        let (key, created) = (key.to_owned(), self.created);
        Node { key, modified: index, created, ..Node::default() }
    }
}

/// Whole seconds, begun ones too.
fn seconds(left: Duration) -> u64 {
    left.as_secs() + u64::from(left.subsec_nanos() > 0)
}

/// A server's value as its own peers write it.
pub(super) fn value_of(server: &Server) -> String {
    as_go_writes(&serde_json::to_string(server).unwrap_or_default())
}

/// etcd v2 tells when a key ends, and nobody here decides by that. Its index must
/// not go back when a gateway is started again, which costs a watcher nothing but
/// what it missed.
#[allow(clippy::disallowed_methods)]
pub(super) fn wall_clock() -> SystemTime {
    SystemTime::now()
}
