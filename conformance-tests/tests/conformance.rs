//! The suites over every target and every wire of this project.
#![allow(missing_docs)]

mod amqp;
mod etcd;
mod memory;
mod remote;
mod sql;
mod wires;

use std::process::ExitCode;
use std::sync::Arc;

use conformance_tests::Target;
use conformance_tests::calls::Wire;

fn main() -> ExitCode {
    let mut targets: Vec<Arc<dyn Target>> = vec![
        Arc::new(memory::target()),
        Arc::new(sql::SqliteTarget),
        Arc::new(sql::ServerTarget::new(sql::Kind::Postgres)),
        Arc::new(sql::ServerTarget::new(sql::Kind::MySql)),
        Arc::new(etcd::EtcdTarget::single()),
        Arc::new(etcd::EtcdTarget::cluster()),
        Arc::new(etcd::EtcdTarget::current()),
        Arc::new(amqp::AmqpTarget::default()),
    ];
    targets.extend(remote::targets());
    let mut wires: Vec<Arc<dyn Wire>> = vec![Arc::new(wires::in_process::InProcessWire)];
    for manner in wires::thrift::ALL {
        wires.push(Arc::new(manner));
    }
    wires.push(Arc::new(wires::http::HttpWire));
    wires.push(Arc::new(wires::reverse::ReverseWire));
    wires.push(Arc::new(wires::amqp::AmqpWire::default()));
    conformance_tests::main_with_wires(&targets, &wires, include_str!("../gaps.toml"))
}
