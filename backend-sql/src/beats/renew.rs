//! One statement for those who are online; a second one says who is not.

use std::collections::HashMap;

use registry_api::kernel::Judgement;
use registry_api::{BeatOutcome, Epoch, Error, ErrorKind, Result};

use super::Life;
use super::slots::Slots;
use crate::record;
use crate::retry::Tries;
use crate::session::Session;
use crate::statement::Value;
use crate::statements::JUDGE;
use crate::store::Store;

/// How well a lease must be to be renewed, as the statement counts it.
#[derive(Clone, Copy)]
enum Least {
    Online = 0,
    Listed = 1,
}

/// Renews the leases of these lives: one outcome each, in order.
pub(super) async fn renew(
    store: &Store,
    session: &mut Session,
    slots: &mut Slots,
    lives: &[Life],
) -> Result<Vec<BeatOutcome>> {
    let known: Vec<i64> = lives.iter().filter_map(|life| slots.get(life)).collect();
    let all_known = known.len() == lives.len();
    if write(store, session, known, Least::Online).await? && all_known {
        return Ok(vec![BeatOutcome::Renewed; lives.len()]);
    }
    // Somebody may come or go between two statements: look once more then.
    for _ in 0..5 {
        let Some(judged) = judge(store, session, lives).await? else {
            continue; // The clock jumped, so nobody of them is gone.
        };
        let mut found = Vec::with_capacity(lives.len());
        let mut outcomes = Vec::with_capacity(lives.len());
        for life in lives {
            let (judgement, slot) = judged.of(life);
            match judgement {
                Judgement::Present(_) => {
                    slots.put(life, slot);
                    found.push(slot);
                }
                Judgement::Gone | Judgement::OtherEpoch(_) => slots.remove(life),
            }
            outcomes.push(judgement.answer(life.1));
        }
        if write(store, session, found, Least::Listed).await? {
            return Ok(outcomes);
        }
    }
    Err(Error::new(ErrorKind::Overloaded, "the leases change faster than they can be read"))
}

/// Renews those of these leases that are at least this well; whether all are.
async fn write(
    store: &Store,
    session: &mut Session,
    mut slots: Vec<i64>,
    least: Least,
) -> Result<bool> {
    // A life that is named twice beats once.
    slots.sort_unstable();
    slots.dedup();
    if slots.is_empty() {
        return Ok(true);
    }
    let count = slots.len() as u64;
    let values = [Value::Ints(slots), (least as i64).into()];
    let _turn = store.turn().await;
    let mut tries = Tries::new();
    loop {
        match session.run(store.dialect.beat(), &values).await {
            Ok(renewed) => return Ok(renewed == count),
            Err(failed) => tries.again(failed).await?,
        }
    }
}

/// By id: which life holds the lease, how it is, and its slot.
struct Judged(HashMap<String, (Epoch, Judgement, i64)>);

impl Judged {
    fn of(&self, (id, asked): &Life) -> (Judgement, i64) {
        match self.0.get(id.as_str()) {
            Some((_, Judgement::Gone, _)) | None => (Judgement::Gone, 0),
            Some((live, judgement, slot)) if live == asked => (*judgement, *slot),
            Some((live, ..)) => (Judgement::OtherEpoch(*live), 0),
        }
    }
}

/// What the database's clock says of the lives with these ids; `None` if it
/// cannot be believed.
async fn judge(store: &Store, session: &mut Session, lives: &[Life]) -> Result<Option<Judged>> {
    let ids = Value::texts(lives.iter().map(|(id, _)| id));
    let asked = store.clock.now();
    let rows = session.rows(JUDGE, &[store.ns.into(), ids]).await?;
    let mut judged = Judged(HashMap::with_capacity(rows.len()));
    for row in &rows {
        let (Some(now), Some(term)) = (row.int(3), row.int(4)) else { continue };
        if judged.0.is_empty() && !store.believes(asked, now, term).await? {
            return Ok(None);
        }
        let read = (row.text(0), row.int(1), row.int(2), row.int(5));
        if let (Some(id), Some(epoch), Some(state), Some(slot)) = read {
            let lease = (Epoch(epoch as u64), record::judgement(state), slot);
            judged.0.insert(id.to_owned(), lease);
        }
    }
    Ok(Some(judged))
}
