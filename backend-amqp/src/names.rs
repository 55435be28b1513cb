//! What the queues and exchanges of a namespace are called.

use registry_api::Namespace;
use sha2::{Digest, Sha256};

/// The names at the broker.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    /// The stream queue that is the log.
    pub(crate) log: String,
    /// The fanout that carries beats.
    pub(crate) beats: String,
}

/// AMQP has 255 bytes for a name; the rest is for what stands around it.
const LONGEST: usize = 160;

impl Names {
    /// A prefix holds no dot, so that it ends where the namespace begins.
    pub(crate) fn new(prefix: &str, namespace: &Namespace) -> Self {
        let namespace = short(namespace.as_str());
        Self {
            log: format!("{prefix}.{namespace}.log"),
            beats: format!("{prefix}.{namespace}.beats"),
        }
    }
}

/// A long namespace is named by its digest. No namespace contains a slash, so
/// none is called like the digest of another.
fn short(namespace: &str) -> String {
    if namespace.len() <= LONGEST {
        return namespace.to_owned();
    }
    let digest = Sha256::digest(namespace.as_bytes());
    digest.iter().fold("sha256/".to_owned(), |name, byte| format!("{name}{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_and_stay_apart() {
        let names = |text: &str| Names::new("p", &Namespace::parse(text).unwrap());
        assert_eq!(names("a.log").log, "p.a.log.log");
        let long = |last: char| names(&format!("{}{last}", "n".repeat(252)));
        assert!(long('a').beats.len() <= 255 && long('a').log != long('b').log);
    }
}
