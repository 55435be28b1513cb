//! All rows on one private broker.

mod bare;
mod pings;

use std::sync::Arc;

use async_trait::async_trait;
use conformance_tests::servers::{RabbitMq, Recipe, rabbitmq};
use futures_util::future::try_join_all;
use portolan::call::*;
use portolan::h2::*;
use portolan::*;
use tokio::runtime::Runtime;

use self::bare::Bare;
use crate::rounds::Table;

const SERVICE: &str = "com.hailocab.service.bench";

pub fn measure(runtime: &Runtime, table: &mut Table) {
    let broker = rabbitmq(&Recipe::default()).unwrap_or_else(|absent| panic!("{absent:?}"));
    let bare = runtime.block_on(Bare::open(&broker.address().to_string()));
    let calling = runtime.block_on(Calling::open(&broker));
    for at_once in [1, 64] {
        let name = format!("h2: a call, {at_once} at a time / a bare request and its answer");
        let floor = |operations| runtime.block_on(loops(operations, at_once, || bare.call()));
        table.rate(&name, 0.9, floor, |operations| {
            runtime.block_on(loops(operations, at_once, || calling.call()));
        });
    }
    pings::measure(runtime, table, &broker, &calling);
}

/// Answers with what it was asked.
#[derive(Debug)]
struct Echo;

#[async_trait]
impl Handler for Echo {
    async fn handle(&self, call: Call) -> Result<Reply, CallError> {
        Ok(Reply::new(call.payload))
    }
}

/// Our host, and our caller to it.
pub struct Calling {
    caller: AmqpCaller,
    service: ServiceName,
    address: Address,
    body: bytes::Bytes,
    _host: AmqpHost,
}

impl Calling {
    async fn open(broker: &RabbitMq) -> Self {
        let service = ServiceName::parse(SERVICE).expect("a literal");
        let options = HostOptions::default();
        let host = AmqpHost::serve(service.clone(), at(broker), Arc::new(Echo), options).await;
        let host = host.expect("it serves");
        let address = host.offers()[0].addresses[0].clone();
        let caller = AmqpCaller::new(at(broker), CallerOptions::default());
        Self { caller, service, address, body: bytes::Bytes::from(vec![7; 100]), _host: host }
    }

    pub async fn call(&self) {
        let call = Call::new(self.service.clone(), "echo", self.body.clone());
        let reply = self.caller.call(Peer::at(&self.address), call).await.expect("an answer");
        assert_eq!(reply.payload.len(), self.body.len());
    }
}

fn at(broker: &RabbitMq) -> Broker {
    Broker::parse(&format!("amqp://guest:guest@{}/", broker.address())).expect("a URL")
}

/// Runs `operations` in closed loops, so many of them at a time.
pub async fn loops<F: Future<Output = ()>>(operations: u64, at_once: u64, run: impl Fn() -> F) {
    let run = &run;
    let one = |number: u64| async move {
        let share = operations / at_once + u64::from(number < operations % at_once);
        for _ in 0..share {
            run().await;
        }
        Ok::<_, std::convert::Infallible>(())
    };
    let Ok(_) = try_join_all((0..at_once).map(one)).await;
}
