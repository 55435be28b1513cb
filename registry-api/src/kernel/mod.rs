//! What the words of the contract mean, decided once.
//!
//! Deterministic and std only: time is passed in, nothing is awaited, nothing
//! is spawned. Time never enters the fold: [`Catalogue`] knows who is there and
//! nothing of clocks, [`LeaseTable`] knows clocks and only proposes. A read is
//! both of them at `now`. A backend composes these parts and re-decides none.
//!
//! What is not here: storage, wires, tasks. Exempt from semantic versioning
//! until 1.0.

mod backoff;
mod bucket;
mod catalogue;
mod change;
mod command;
mod compact;
mod cow_map;
mod cursor;
mod declare;
mod follow;
mod history;
mod hold;
mod hub;
mod lease_table;
mod reconnect;
mod replica;
mod session;
mod state;

pub use self::backoff::Backoff;
pub use self::bucket::Bucket;
pub use self::catalogue::Catalogue;
pub use self::change::{Change, Edit, HealthChange};
pub use self::command::{Command, Delist, Outcome};
pub use self::cow_map::CowMap;
pub use self::cursor::Cursor;
pub use self::follow::Follow;
pub use self::history::{Entry, History};
pub use self::hold::{Evidence, Hold};
pub use self::hub::{Hub, Ticket};
pub use self::lease_table::{Judgement, LeaseTable, Sweep, Transition};
pub use self::reconnect::Reconnect;
pub use self::replica::Replica;
pub use self::session::{Session, SessionState, Step};
pub use self::state::{State, Stored};
