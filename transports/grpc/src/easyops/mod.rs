//! go-easyops: its registry and its authentication service, for servers and clients
//! that know nothing of Portolan, and calls to such servers.
//!
//! Facts: yacloud-software/go-easyops at 57e4de23, registry at 1e4b61e3, auth-service at
//! 1580ce7c. Between peers there is TLS without names: certificates are everybody's, and
//! who calls is said by what is signed with the key of the authentication service.

mod auth;
mod dial;
mod identity;
mod probe;
mod record;
mod registry;
mod standalone;
mod upstream;

use std::net::SocketAddr;

pub use self::auth::EasyopsAuth;
pub(crate) use self::dial::Dial;
pub use self::identity::Identity;
pub use self::probe::PROBED_EVERY;
pub use self::registry::{EasyopsRegistry, Here};
pub use self::standalone::STANDALONE;
pub use self::upstream::Upstreams;
pub(crate) use crate::generated::easyops::registry as wire;
pub(crate) use crate::generated::easyops::{auth as wire_auth, common, goeasyops};

/// What an address of such a server begins with: `easyops://host:port`.
pub(crate) const SCHEME: &str = "easyops";
/// In which metadata who calls is said.
pub(crate) const CONTEXT: &str = "goeasyops_meta_v2";

/// The two ends of a connection. Whoever serves the routes says so in each request's
/// extensions: an instance of go-easyops is where its connection comes from.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    /// Who connected.
    pub remote: SocketAddr,
    /// Where.
    pub local: SocketAddr,
}
