//! The conformance suite of Portolan: one list of named cases over any target.
//!
//! A backend author implements [`Target`], hands it to [`main`] and runs the
//! same list that proves the backends of this project equal; see
//! `examples/custom_backend.rs`. Every case cites a clause of `docs/SPEC.md`, and
//! the [`mutants`] show that each case can fail.
//!
//! What it is not: a benchmark. Cases assert the bounds the specification
//! states and nothing about speed.

mod asked;
pub mod calls;
mod case;
pub mod cases;
mod clock;
mod ctx;
mod failure;
mod faults;
pub mod fixtures;
pub mod h2_login;
mod link;
pub mod mutants;
pub mod own;
pub mod proxy;
pub mod raw_amqp;
mod report;
mod run;
pub mod servers;
mod target;
mod virtual_target;

pub use crate::case::{Case, Outcome};
pub use crate::clock::ManualClock;
pub use crate::ctx::Ctx;
pub use crate::failure::{Failure, check, check_eq};
pub use crate::faults::{Fault, Faults, Faulty};
pub use crate::link::{Link, Linked};
pub use crate::report::{Gaps, Record, Report};
pub use crate::run::{main, main_with_wires, run_case, run_trials};
pub use crate::target::{Absent, Handles, KeyRing, Machine, Pace, Target, World};
pub use crate::virtual_target::{OpenStore, Store, VirtualTarget};
