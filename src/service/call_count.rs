//! Who called.

/// How often somebody called a method.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallCount {
    /// The service that was called.
    pub service: String,
    /// Its method.
    pub method: String,
    /// Who called, like `service:users`; empty where nobody had to say.
    pub caller: String,
    /// How often.
    pub count: u64,
}

impl CallCount {
    /// So many calls of a method.
    pub fn new(service: String, method: String, caller: String, count: u64) -> Self {
        Self { service, method, caller, count }
    }
}
