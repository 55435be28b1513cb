//! Connections in memory. A cut ends those that are open and refuses new ones.

use conformance_tests::Link;
use tokio::io::{DuplexStream, copy_bidirectional, duplex};
use tokio::sync::mpsc;

/// The dialling end.
#[derive(Clone, Debug)]
pub(crate) struct Pipes {
    accepting: mpsc::UnboundedSender<DuplexStream>,
    link: Link,
}

/// The listening end.
pub(crate) type Listener = mpsc::UnboundedReceiver<DuplexStream>;

const BUFFER: usize = 64 * 1024;

impl Pipes {
    pub(crate) fn new(link: Link) -> (Self, Listener) {
        let (accepting, accepted) = mpsc::unbounded_channel();
        (Self { accepting, link }, accepted)
    }

    /// A new connection; `None` where nobody listens.
    pub(crate) fn connect(&self) -> Option<DuplexStream> {
        if !self.link.is_up() {
            return None;
        }
        let (ours, mut near) = duplex(BUFFER);
        let (mut far, theirs) = duplex(BUFFER);
        self.accepting.send(theirs).ok()?;
        let link = self.link.clone();
        // Ends with either end, or with the cut.
        tokio::spawn(async move {
            tokio::select! {
                _ = copy_bidirectional(&mut near, &mut far) => {}
                () = link.severed() => {}
            }
        });
        Some(ours)
    }
}
