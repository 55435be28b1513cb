//! The registry as one would explain it on a napkin: maps, loops, and a clock
//! that is a number. At most 150 lines, so that its correctness can be seen.

use std::collections::{BTreeMap, BTreeSet};

/// Lease terms of the model, in milliseconds.
pub(crate) const TTL: u64 = 30;
pub(crate) const TTD: u64 = 90;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) epoch: u64,
    pub(crate) data: u8,
    pub(crate) services: BTreeSet<u8>,
    pub(crate) last_beat: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Declared {
    pub(crate) owner: u8,
    pub(crate) data: u8,
}

#[derive(Debug, Default)]
pub(crate) struct Naive {
    pub(crate) now: u64,
    pub(crate) members: BTreeMap<u8, Member>,
    pub(crate) services: BTreeMap<u8, Declared>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Beaten {
    Renewed,
    Revived,
    Superseded,
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Create,
    Merge,
    Replace,
}

impl Naive {
    pub(crate) fn advance(&mut self, ms: u64) {
        self.now += ms;
        let now = self.now;
        self.members.retain(|_, member| now - member.last_beat < TTD);
    }

    /// Some(epoch) if it is let in; `chosen` is what the registry chose.
    pub(crate) fn connect(
        &mut self,
        id: u8,
        asked: Option<u64>,
        chosen: Option<u64>,
        data: u8,
        services: &BTreeSet<u8>,
    ) -> Option<u64> {
        let live = self.members.get(&id).map(|member| member.epoch);
        let epoch = match (asked, live) {
            (Some(asked), Some(live)) if asked < live => return None,
            (Some(asked), _) => asked,
            (None, live) => chosen.filter(|chosen| live.is_none_or(|live| live < *chosen))?,
        };
        let member = Member { epoch, data, services: services.clone(), last_beat: self.now };
        self.members.insert(id, member);
        Some(epoch)
    }

    pub(crate) fn beat(&mut self, id: u8, epoch: u64) -> Beaten {
        let now = self.now;
        match self.members.get_mut(&id) {
            Some(member) if epoch < member.epoch => Beaten::Superseded,
            Some(member) if epoch == member.epoch => {
                let offline = now - member.last_beat >= TTL;
                member.last_beat = now;
                if offline { Beaten::Revived } else { Beaten::Renewed }
            }
            Some(_) | None => Beaten::Unknown,
        }
    }

    pub(crate) fn disconnect(&mut self, id: u8, epoch: u64) {
        if self.members.get(&id).is_some_and(|member| member.epoch == epoch) {
            self.members.remove(&id);
        }
    }

    pub(crate) fn register(&mut self, owner: u8, mode: Mode, names: &BTreeMap<u8, u8>) -> bool {
        let owns = |declared: &Declared| declared.owner == owner;
        let taken = names.keys().any(|name| match self.services.get(name) {
            Some(declared) => mode == Mode::Create || !owns(declared),
            None => false,
        });
        if taken || (mode == Mode::Create && self.services.values().any(owns)) {
            return false;
        }
        if mode == Mode::Replace {
            self.services.retain(|_, declared| !owns(declared));
        }
        for (name, data) in names {
            self.services.insert(*name, Declared { owner, data: *data });
        }
        true
    }

    pub(crate) fn deregister(&mut self, owner: u8, name: u8) -> bool {
        match self.services.get(&name) {
            Some(declared) if declared.owner != owner => false,
            Some(_) => self.services.remove(&name).is_some(),
            None => true,
        }
    }

    /// Who is there, with data and whether online.
    pub(crate) fn seen(&self) -> BTreeMap<u8, (u64, u8, BTreeSet<u8>, bool)> {
        let member = |(id, m): (&u8, &Member)| {
            let online = self.now - m.last_beat < TTL;
            (*id, (m.epoch, m.data, m.services.clone(), online))
        };
        self.members.iter().map(member).collect()
    }
}
