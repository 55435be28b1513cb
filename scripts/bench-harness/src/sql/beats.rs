//! 10,000 instances beat.

use portolan::*;
use tokio::runtime::Runtime;

use super::floor::Floor;
use super::{Place, id, open, spec};
use crate::rounds::Table;

const LIVE: usize = 10_000;
/// Beats of one statement, ours and the floor's.
const WINDOW: usize = 1_000;

pub fn measure(runtime: &Runtime, table: &mut Table, place: &Place) {
    let ids: Vec<String> = (0..LIVE).map(id).collect();
    let registry = runtime.block_on(async {
        let registry = open(place).await;
        let specs: Vec<_> = ids.iter().map(|id| spec(id, 1)).collect();
        for lease in registry.connect(&specs).await.expect("it connects") {
            lease.expect("it connects");
        }
        registry
    });
    let mut floor = runtime.block_on(Floor::open(place, &ids));
    let beat = |id: &String| {
        let id = InstanceId::parse(id).expect("an id");
        Beat { id, epoch: Epoch(1), token: None }
    };
    let beats: Vec<Beat> = ids.iter().map(beat).collect();
    // An operation is a window of beats, of which ten are everybody's.
    let ours = |operations: u64| {
        runtime.block_on(async {
            for beats in beats.chunks(WINDOW).cycle().take(operations as usize) {
                let outcomes = registry.heartbeat(beats).await.expect("it beats");
                assert!(outcomes.iter().all(|outcome| *outcome == BeatOutcome::Renewed));
            }
        });
    };
    let name = format!("{}: 10,000 beats through the handle / 1,000 rows a statement", place.name);
    table.rate(
        &name,
        0.8,
        |operations| {
            runtime.block_on(async {
                for ids in ids.chunks(WINDOW).cycle().take(operations as usize) {
                    floor.beat(ids).await;
                }
            });
        },
        ours,
    );
    let goal = if place.name == "sqlite" { 15.0 } else { 20.0 };
    let name = format!("{}: 10,000 beats through the handle / one row a statement", place.name);
    table.rate(
        &name,
        goal,
        |operations| {
            runtime.block_on(async {
                for id in ids.iter().cycle().take(operations as usize * WINDOW) {
                    floor.beat(std::slice::from_ref(id)).await;
                }
            });
        },
        ours,
    );
}
