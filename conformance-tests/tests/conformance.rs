//! The suite over every target of this project.
#![allow(missing_docs)]

mod memory;

use std::process::ExitCode;
use std::sync::Arc;

fn main() -> ExitCode {
    conformance_tests::main(&[Arc::new(memory::target())], include_str!("../gaps.toml"))
}
