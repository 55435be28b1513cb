//! What processes say to each other on the fanout: who is alive, and what they
//! have heard. Nothing of it is kept.

use registry_api::{Epoch, InstanceId};
use serde::{Deserialize, Serialize};

/// The format that is spoken, as a message's type.
pub(crate) const FORMAT: &str = "portolan.beats/1";

/// The largest message that is listened to.
const MOST: usize = 16 << 20;

/// A message, and whose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Speech {
    /// The speaker, by the number it has in the log.
    pub(crate) by: u64,
    /// Which of the speaker's messages it is.
    pub(crate) n: u64,
    /// How far the speaker has read the log.
    pub(crate) read: Option<u64>,
    pub(crate) say: Say,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Say {
    /// Nothing: whoever said it has heard everything before when it comes back.
    Beacon,
    /// These lives were beaten for.
    Beats(Vec<(InstanceId, Epoch)>),
    /// I know nothing of the time before: who does? Answers go to this queue.
    Who(String),
    /// I do; ask me, at this queue.
    Here(String),
    /// Tell me what you know, to this queue.
    Ask(String),
    /// When each life goes offline unless it is renewed, in nanoseconds from now;
    /// negative where it has.
    Ends(Vec<(InstanceId, Epoch, i64)>),
}

/// A message's body.
pub(crate) fn write(speech: &Speech) -> Vec<u8> {
    // Lists, texts and numbers: there is nothing that could fail.
    serde_json::to_vec(speech).unwrap_or_default()
}

/// What was said in a message of type `format`, if it is for us. Another format
/// is not: what it says of leases can wait until it is said in this one.
pub(crate) fn read(format: Option<&str>, body: &[u8]) -> Option<Speech> {
    let ours = format == Some(FORMAT) && body.len() <= MOST;
    ours.then(|| serde_json::from_slice(body).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeches_round_trip_and_noise_is_not_heard() {
        let say = Say::Ends(vec![(InstanceId::parse("i").unwrap(), Epoch(1), -5)]);
        let speech = Speech { by: 1, n: 2, read: Some(3), say };
        let body = write(&speech);
        assert_eq!(read(Some(FORMAT), &body), Some(speech));
        assert_eq!(read(None, &body), None);
        assert_eq!(read(Some("portolan.beats/2"), &body), None);
        assert_eq!(read(Some(FORMAT), b"{\"by\":1}"), None);
    }
}
