//! Snapshots: written in parts, and put together again.

use std::collections::HashMap;
use std::sync::Arc;

use registry_api::kernel::Catalogue;
use registry_api::{Era, Presence, Revision, ServiceRecord};

use crate::record::{Part, Records};

/// A part is about as long as this, or as long as the one record in it.
const PART: usize = 1 << 20;

/// A snapshot of `catalogue` as it is after the entry `after`.
pub(crate) fn parts(
    catalogue: &Catalogue,
    id: u64,
    after: Option<u64>,
    base: u64,
) -> Vec<(Part, Records)> {
    let mut pages = vec![Records::default()];
    let mut size = 0;
    let mut page = |pages: &mut Vec<Records>, more: usize| {
        if size > 0 && size + more > PART {
            pages.push(Records::default());
            size = 0;
        }
        size += more;
        pages.len() - 1
    };
    for record in catalogue.services() {
        let place = page(&mut pages, weight(record));
        pages[place].services.push(Arc::clone(record));
    }
    for (presence, generation) in catalogue.lives() {
        let place = page(&mut pages, size_of(presence));
        pages[place].lives.push((Arc::clone(presence), generation));
    }
    let (number, of) = (catalogue.revision().number, pages.len() as u32);
    let part = |part| Part { id, after, base, number, part, of };
    pages.into_iter().enumerate().map(|(place, page)| (part(place as u32), page)).collect()
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
    number: u64,
    pages: Vec<Option<Records>>,
    bytes: u64,
}

/// A snapshot that is whole.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) era: Era,
    pub(crate) after: Option<u64>,
    pub(crate) base: u64,
    pub(crate) bytes: u64,
    number: u64,
    pages: Vec<Records>,
}

/// A snapshot of more parts is nobody's, and so is what comes while so many are
/// unfinished.
const MOST_PARTS: u32 = 4096;
const MOST_DRAFTS: usize = 64;

impl Drafts {
    /// Takes a part of `bytes`, and what stands behind it; the snapshot, if this was
    /// the last part of it.
    pub(crate) fn take(
        &mut self,
        era: Era,
        part: &Part,
        page: Records,
        bytes: u64,
    ) -> Option<Snapshot> {
        let known = self.0.contains_key(&part.id);
        if part.of == 0 || part.of > MOST_PARTS || (!known && self.0.len() >= MOST_DRAFTS) {
            return None;
        }
        let draft = self.0.entry(part.id).or_insert_with(|| Draft {
            era,
            number: part.number,
            pages: (0..part.of).map(|_| None).collect(),
            bytes: 0,
        });
        let fits = draft.era == era && draft.pages.len() == part.of as usize;
        let slot = draft.pages.get_mut(part.part as usize).filter(|_| fits)?;
        *slot = Some(page);
        draft.bytes += bytes;
        if draft.pages.iter().any(Option::is_none) {
            return None;
        }
        let Draft { era, number, pages, bytes } = self.0.remove(&part.id)?;
        let pages = pages.into_iter().flatten().collect();
        Some(Snapshot { era, after: part.after, base: part.base, number, bytes, pages })
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
        let revision = Revision { era: self.era, number: self.number };
        let (mut services, mut lives) = (Vec::new(), Vec::new());
        for page in self.pages {
            services.extend(page.services);
            lives.extend(page.lives);
        }
        Catalogue::resume(revision, services, lives)
    }
}
