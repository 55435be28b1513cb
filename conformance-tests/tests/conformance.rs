//! The suite over every target of this project.
#![allow(missing_docs)]

mod memory;
mod thrift;

use std::process::ExitCode;
use std::sync::Arc;

fn main() -> ExitCode {
    conformance_tests::main(
        &[Arc::new(memory::target()), Arc::new(thrift::ThriftTarget)],
        include_str!("../gaps.toml"),
    )
}
