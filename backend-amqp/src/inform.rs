//! What processes tell each other when one of them has heard nothing for a while.
//!
//! Whoever has heard all beats knows when each lease ends. Its answer holds for
//! whoever asks: it has heard everything that was confirmed before the question,
//! and the asker hears what comes after.

use std::time::Duration;

use lapin::message::Delivery;
use registry_api::{Result, Timestamp};
use tokio::time::timeout;

use crate::broker::{Broker, heard, kind};
use crate::pursuit::{End, Pursuit};
use crate::speech::{self, Say, Speech};

/// How long it takes until somebody says that he knows, if anybody does.
const ANYBODY: Duration = Duration::from_millis(150);
/// How long he takes to tell.
const TELLS: Duration = Duration::from_millis(750);

impl Pursuit {
    /// Grants all leases anew, and asks others how much of that is true.
    pub(crate) async fn inform(&mut self, broker: &mut Broker) -> Result<(), End> {
        let granted = self.replica.clock.now();
        self.grant_all(granted);
        if self.clocks.planned.is_none() {
            return Ok(()); // There is no lease.
        }
        let who = self.speak(Say::Who(broker.queue.clone()));
        broker.say(speech::FORMAT, who.1).await?;
        let Some(somebody) = self.listen(broker, granted, ANYBODY).await? else {
            return Ok(());
        };
        let ask = self.speak(Say::Ask(broker.queue.clone()));
        // He may be gone by now; then nobody answers.
        let _ = broker.tell(&somebody, speech::FORMAT, ask.1).await;
        self.listen(broker, granted, TELLS).await?;
        Ok(())
    }

    /// Hears what is said until somebody is there, or has told, or for `long`.
    async fn listen(
        &mut self,
        broker: &mut Broker,
        granted: Timestamp,
        long: Duration,
    ) -> Result<Option<String>, End> {
        let until = self.replica.clock.now() + long;
        loop {
            let left = until.since(self.replica.clock.now());
            let Ok(delivery) = timeout(left, heard(&mut broker.beats)).await else {
                return Ok(None);
            };
            let Some(speech) = self.understand(&delivery?) else { continue };
            match speech.say {
                Say::Beats(beats) => drop(self.hear(&beats)),
                Say::Here(queue) => return Ok(Some(queue)),
                Say::Ends(ends) => {
                    self.adopt(ends, granted);
                    return Ok(None);
                }
                Say::Ask(_) | Say::Beacon | Say::Who(_) => {}
            }
        }
    }

    /// A message's body and its number.
    pub(crate) fn speak(&mut self, say: Say) -> (u64, Vec<u8>) {
        let read = self.log.folding().and_then(|folding| folding.last).map(|last| last.offset);
        let n = self.number();
        (n, speech::write(&Speech { by: self.me, n, read, say }))
    }

    /// What is said in a message of the fanout.
    pub(crate) fn understand(&self, delivery: &Delivery) -> Option<Speech> {
        let speech = speech::read(kind(delivery), &delivery.data);
        if speech.is_none() {
            self.replica.skip(&"the fanout");
        }
        speech
    }
}
