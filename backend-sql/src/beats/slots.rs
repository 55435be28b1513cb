//! Which row of the lease table a life has, as this process last saw it.

use std::collections::HashMap;

use registry_api::{Epoch, InstanceId};

use super::Life;

/// With more than these they are all read anew.
const MOST: usize = 1_000_000;

/// What was read of each instance that beats here.
#[derive(Default)]
pub(super) struct Slots(HashMap<InstanceId, (Epoch, i64)>);

impl Slots {
    /// The slot of a life, unless another life of the id was seen last.
    pub(super) fn get(&self, (id, epoch): &Life) -> Option<i64> {
        let (known, slot) = self.0.get(id)?;
        (known == epoch).then_some(*slot)
    }

    pub(super) fn put(&mut self, (id, epoch): &Life, slot: i64) {
        if self.0.len() >= MOST {
            self.0.clear();
        }
        self.0.insert(id.clone(), (*epoch, slot));
    }

    pub(super) fn remove(&mut self, (id, _): &Life) {
        self.0.remove(id);
    }
}
