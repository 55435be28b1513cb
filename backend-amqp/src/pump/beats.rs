//! Our own beats: what becomes of them when they have come back.

use registry_api::InstanceRef;
use registry_api::kernel::Outcome;

use super::Pump;
use crate::pending::{Batch, Waiter, is_kept};
use crate::pursuit::PATIENCE;
use crate::record::Entry;

impl Pump<'_> {
    /// What we said has come back: all that was confirmed before we said it has
    /// been heard.
    pub(super) fn hear_own(&mut self, n: u64) {
        let Some(saying) = self.said.returned(n) else { return };
        let at = saying.at;
        self.pursuit.replica.has_heard(at);
        let Some(batch) = &mut saying.batch else { return };
        let leases = &self.pursuit.replica.leases;
        let contested =
            |(_, (id, epoch)): &(usize, &(_, _))| leases.is_contested(id, *epoch, PATIENCE, at);
        let places = batch.beats.iter().enumerate().filter(contested).map(|(place, _)| place);
        batch.contested = places.collect();
        batch.outcomes = self.pursuit.hear_own(&batch.beats, at);
        let Batch { contested, outcomes, .. } = batch;
        contested.retain(|place| is_kept(outcomes[*place]));
    }

    /// Beats that everybody has: their outcome is known, unless the log has a say.
    pub(super) fn through(&mut self, batch: Batch) {
        if batch.contested.is_empty() && batch.unknown().next().is_none() {
            return batch.answer();
        }
        let life = |place: &usize| {
            let (id, epoch) = batch.beats[*place].clone();
            InstanceRef { id, epoch }
        };
        let lives: Vec<_> = batch.contested.iter().map(life).collect();
        let entry = match lives.is_empty() {
            true => Entry::Barrier,
            false => Entry::Renew(lives),
        };
        let (n, body) = self.pursuit.entry(entry);
        self.append(n, body, Waiter::Beats(batch));
    }

    /// The log has decided who is still there, and tells of those it had not told
    /// of before.
    pub(super) fn decided(&mut self, mut batch: Batch, outcome: Option<Outcome>) {
        let unknown: Vec<_> = batch.unknown().collect();
        for place in unknown {
            let beat = batch.beats[place].clone();
            batch.outcomes[place] = self.pursuit.hear(&[beat])[0];
        }
        if let Some(Outcome::Renewed(answers)) = outcome {
            for (place, answer) in batch.contested.iter().zip(answers) {
                if let Err(lost) = answer {
                    batch.outcomes[*place] = lost;
                }
            }
        }
        batch.answer();
    }
}
