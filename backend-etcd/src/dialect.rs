//! Key layouts of other systems, read and written beside our own.

use registry_api::{Error, Result};

/// A layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Hertz,
    Hprose,
    Kitex,
}

impl Dialect {
    /// The dialects a text names.
    pub(crate) fn list(text: &str) -> Result<Vec<Self>> {
        let named = text.split(',').map(|name| match name {
            "hertz" => Ok(Self::Hertz),
            "hprose" => Ok(Self::Hprose),
            "kitex" => Ok(Self::Kitex),
            _ => Err(Error::invalid("dialect", "must be hertz, hprose or kitex")),
        });
        named.collect()
    }
}
