//! The suites over every target and every wire of this project.
#![allow(missing_docs)]

mod etcd;
mod memory;
mod sql;
mod thrift;
mod wires;

use std::process::ExitCode;
use std::sync::Arc;

use conformance_tests::Target;
use conformance_tests::calls::Wire;

fn main() -> ExitCode {
    let targets: [Arc<dyn Target>; 9] = [
        Arc::new(memory::target()),
        Arc::new(thrift::ThriftTarget),
        Arc::new(sql::SqliteTarget),
        Arc::new(thrift::SqliteThriftTarget),
        Arc::new(sql::ServerTarget::new(sql::Kind::Postgres)),
        Arc::new(sql::ServerTarget::new(sql::Kind::MySql)),
        Arc::new(etcd::EtcdTarget::single()),
        Arc::new(etcd::EtcdTarget::cluster()),
        Arc::new(etcd::EtcdTarget::current()),
    ];
    let mut wires: Vec<Arc<dyn Wire>> = vec![Arc::new(wires::in_process::InProcessWire)];
    for manner in wires::thrift::ALL {
        wires.push(Arc::new(manner));
    }
    conformance_tests::main_with_wires(&targets, &wires, include_str!("../gaps.toml"))
}
