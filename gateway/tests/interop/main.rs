//! The main job on real input: peers that are not ours, unmodified and from
//! their own registries, in every framing they speak.
//!
//! A peer is built once under `target/interop`. Where its tool is missing the
//! cell is `absent`; `PORTOLAN_REQUIRE` with `all` or the peer's name makes that
//! a failure. The matrix is printed at the end.
#![allow(missing_docs, clippy::unwrap_used)]

mod easyops;
mod h2;
mod hprose;
mod kitex;
mod matrix;
mod peer;
mod python;
mod reverse;
#[path = "../support/mod.rs"]
mod support;
mod users;
mod volo;

use std::process::ExitCode;

use matrix::Matrix;

fn main() -> ExitCode {
    let mut matrix = Matrix::default();
    python::cells(&mut matrix);
    kitex::cells(&mut matrix);
    volo::cells(&mut matrix);
    hprose::cells(&mut matrix);
    reverse::cells(&mut matrix);
    h2::cells(&mut matrix);
    easyops::cells(&mut matrix);
    matrix.run()
}
