//! Snapshots: written in parts, and put together again.

use std::collections::HashMap;
use std::sync::Arc;

use registry_api::kernel::Catalogue;
use registry_api::{Era, Presence, Revision, ServiceRecord};

use crate::record::Part;

/// A part is about as long as this, or as long as the one record in it.
const PART: usize = 1 << 20;

/// A snapshot of `catalogue` as it is after the entry `after`.
pub(crate) fn parts(catalogue: &Catalogue, id: u64, after: Option<u64>, base: u64) -> Vec<Part> {
    let empty = Part {
        id,
        after,
        base,
        number: catalogue.revision().number,
        part: 0,
        of: 0,
        services: Vec::new(),
        lives: Vec::new(),
    };
    let mut parts = vec![empty.clone()];
    let mut size = 0;
    let mut room = |parts: &mut Vec<Part>, more: usize| {
        if size > 0 && size + more > PART {
            parts.push(Part { part: parts.len() as u32, ..empty.clone() });
            size = 0;
        }
        size += more;
        parts.len() - 1
    };
    for record in catalogue.services() {
        let place = room(&mut parts, weight(record));
        parts[place].services.push(Arc::clone(record));
    }
    for (presence, generation) in catalogue.lives() {
        let place = room(&mut parts, size_of(presence));
        parts[place].lives.push((Arc::clone(presence), generation));
    }
    let of = parts.len() as u32;
    parts.iter_mut().for_each(|part| part.of = of);
    parts
}

/// About how many bytes a declaration has when it is written down.
fn weight(record: &ServiceRecord) -> usize {
    let spec = &record.spec;
    let includes = spec.idl_includes.iter().map(|(name, text)| name.len() + text.len());
    let routes = spec.routes.iter().map(|route| route.path.len() + route.method.len() + 30);
    let endpoints = spec.endpoints.iter().map(|endpoint| endpoint.name.len() + 120);
    let texts = spec.idl.len() + spec.description.len() + includes.sum::<usize>();
    400 + texts + routes.sum::<usize>() + endpoints.sum::<usize>()
}

fn size_of(presence: &Presence) -> usize {
    presence
        .offers
        .iter()
        .map(|offer| {
            let metadata = offer.metadata.iter().map(|(key, value)| key.len() + value.len() + 6);
            let addresses = offer.addresses.iter().map(|address| address.as_str().len() + 3);
            offer.service.as_str().len() + addresses.sum::<usize>() + metadata.sum::<usize>() + 120
        })
        .sum::<usize>()
        + 200
}

/// Snapshots of which some parts are still to come.
#[derive(Debug, Default)]
pub(crate) struct Drafts(HashMap<u64, Draft>);

#[derive(Debug)]
struct Draft {
    era: Era,
    parts: Vec<Option<Part>>,
    bytes: u64,
}

/// A snapshot that is whole.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) era: Era,
    pub(crate) after: Option<u64>,
    pub(crate) base: u64,
    pub(crate) bytes: u64,
    parts: Vec<Part>,
}

/// A snapshot of more parts is nobody's, and so is what comes while so many are
/// unfinished.
const MOST_PARTS: u32 = 4096;
const MOST_DRAFTS: usize = 64;

impl Drafts {
    /// Takes a part of `bytes`; the snapshot, if this was the last one of it.
    pub(crate) fn take(&mut self, era: Era, part: Part, bytes: u64) -> Option<Snapshot> {
        let id = part.id;
        let known = self.0.contains_key(&id);
        if part.of == 0 || part.of > MOST_PARTS || (!known && self.0.len() >= MOST_DRAFTS) {
            return None;
        }
        let draft = self.0.entry(id).or_insert_with(|| Draft {
            era,
            parts: (0..part.of).map(|_| None).collect(),
            bytes: 0,
        });
        let place = part.part as usize;
        let fits = draft.era == era && draft.parts.len() == part.of as usize;
        match draft.parts.get_mut(place).filter(|_| fits) {
            Some(slot) => *slot = Some(part),
            None => return None,
        }
        draft.bytes += bytes;
        if draft.parts.iter().any(Option::is_none) {
            return None;
        }
        let draft = self.0.remove(&id)?;
        let parts: Vec<_> = draft.parts.into_iter().flatten().collect();
        let (after, base) = parts.first().map(|part| (part.after, part.base))?;
        Some(Snapshot { era, after, base, bytes: draft.bytes, parts })
    }

    /// Forgets drafts: whoever wrote them has given up.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Whether somebody is writing one.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Snapshot {
    /// What it is a snapshot of.
    pub(crate) fn catalogue(self) -> Catalogue {
        let number = self.parts.first().map_or(0, |part| part.number);
        let revision = Revision { era: self.era, number };
        let (mut services, mut lives) = (Vec::new(), Vec::new());
        for part in self.parts {
            services.extend(part.services);
            lives.extend(part.lives);
        }
        Catalogue::resume(revision, services, lives)
    }
}
