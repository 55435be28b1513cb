//! The registry over every wire on every backend with servers: longer than a change can
//! wait for, so only `scripts/soak` runs it.
#![allow(missing_docs)]

mod amqp;
mod etcd;
mod remote;
mod sql;

use std::process::ExitCode;
use std::sync::Arc;

use conformance_tests::Target;

fn main() -> ExitCode {
    let backends: [Arc<dyn Target>; 5] = [
        Arc::new(sql::ServerTarget::new(sql::Kind::Postgres)),
        Arc::new(sql::ServerTarget::new(sql::Kind::MySql)),
        Arc::new(etcd::EtcdTarget::single()),
        Arc::new(etcd::EtcdTarget::cluster()),
        Arc::new(amqp::AmqpTarget::default()),
    ];
    conformance_tests::main(&remote::product(&backends), include_str!("../gaps_product.toml"))
}
