//! The order of committed writes, and the order of one instance's lives.

use std::fmt::{self, Display};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// One unbroken history of a registry. Lost history starts another era.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Era(pub u64);

/// The place of a committed write in the history of a registry.
///
/// Numbers grow within an era and everything that commits together shares one.
/// Beats and health have none. Revisions of different eras are not ordered,
/// which is why this type is only [`PartialOrd`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Revision {
    /// The history this revision belongs to.
    pub era: Era,
    /// The place within that history, from 0 (nothing written yet).
    pub number: u64,
}

impl Revision {
    /// The revision of the next committed write.
    #[must_use]
    pub const fn next(self) -> Self {
        Self { era: self.era, number: self.number + 1 }
    }
}

impl PartialOrd for Revision {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        (self.era == other.era).then(|| self.number.cmp(&other.number))
    }
}

impl Display for Revision {
    /// `<era>.<number>`, the form used in JSON and on command lines.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.era.0, self.number)
    }
}

impl FromStr for Revision {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let parse = || {
            let (era, number) = text.split_once('.')?;
            Some(Self { era: Era(era.parse().ok()?), number: number.parse().ok()? })
        };
        parse().ok_or_else(|| Error::invalid("revision", "must be <era>.<number>"))
    }
}

impl TryFrom<String> for Revision {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Revision> for String {
    fn from(revision: Revision) -> Self {
        revision.to_string()
    }
}

/// Which life of an instance id is meant. A newer epoch supersedes an older
/// one; an older one is refused.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revisions_round_trip_and_eras_do_not_compare() {
        let revision: Revision = "7.12".parse().unwrap();
        assert_eq!(revision.to_string(), "7.12");
        let other: Revision = "8.1".parse().unwrap();
        assert_eq!(revision.partial_cmp(&other), None);
        assert!("7".parse::<Revision>().is_err());
    }
}
